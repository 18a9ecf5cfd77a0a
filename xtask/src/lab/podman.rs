//! What the guest of the suite `image` has: podman, the image as `cargo xtask dist` wrote it, and the commands by
//! which docs/install.md tells to run it.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::cpio::{Archive, Node};
use super::image::add_module;
use super::userland::{Userland, add_file};
use crate::{dist, place};

const PAGE: &str = "docs/install.md";
const HEADING: &str = "## A container host";

const PROGRAMS: [&str; 3] = ["usr/bin/conmon", "usr/bin/podman", "usr/lib/podman/netavark"];
/// What it is configured by, as Debian has it.
const TREES: [&str; 2] = ["etc/containers", "usr/share/containers"];
/// Of busybox: what the page's commands need.
const APPLETS: [&str; 1] = ["mkdir"];

/// Adds all of it; the image is built when it is older than the code.
pub(super) fn furnish(archive: &mut Archive, modules: Option<&Path>) -> Result<()> {
    let shipped = dist::amd64()?;
    let name = shipped.image.file_name().context("the image's archive has no name")?.to_string_lossy();
    add_file(archive, &shipped.image, &format!("lab/install/{name}"))?;
    let page = place::workspace().join(PAGE);
    let page = fs::read_to_string(&page).with_context(|| format!("reading {}", page.display()))?;
    let commands =
        commands(&page, HEADING).with_context(|| format!("{PAGE} has no commands below {HEADING}"))?;
    archive.put("lab/install/commands", Node::File { mode: 0o644, content: commands.into() });

    let podman = Userland::podman()?;
    for program in PROGRAMS {
        podman.add(archive, program, program)?;
    }
    for tree in TREES {
        podman.add_tree(archive, tree)?;
    }
    // The libraries' own loader, should they be newer than the lab's.
    podman.add_loader(archive)?;
    for applet in APPLETS {
        archive.put(&format!("bin/{applet}"), Node::Link("busybox".into()));
    }
    for (path, content) in [("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"), ("etc/group", "root:x:0:\n")] {
        archive.put(path, Node::File { mode: 0o644, content: content.into() });
    }
    // Podman's storage is a host's usual one. A kernel that has it built in has no such file.
    modules.map_or(Ok(()), |folder| add_module(archive, folder, "fs/overlayfs/overlay", 90))
}

/// What root is told to type in the first block of commands below a heading, as a script.
fn commands(page: &str, heading: &str) -> Option<String> {
    let below = page.split_once(&format!("\n{heading}\n"))?.1;
    let section = below.split_once("\n## ").map_or(below, |(section, _)| section);
    let block = section.split_once("```console\n")?.1.split_once("```")?.0;
    let mut script = String::new();
    let mut goes_on = false;
    for line in block.lines() {
        let command = line.strip_prefix("# ").or_else(|| goes_on.then_some(line));
        if let Some(command) = command {
            script.push_str(command);
            script.push('\n');
        }
        goes_on = command.is_some_and(|command| command.ends_with('\\'));
    }
    (!script.is_empty()).then_some(script)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{HEADING, PAGE, commands};
    use crate::place;

    #[test]
    fn the_page_tells_to_run_this_version() {
        let page = fs::read_to_string(place::workspace().join(PAGE)).unwrap();
        let commands = commands(&page, HEADING).unwrap();
        let image = format!("localhost/aa-monitor:{}\n", env!("CARGO_PKG_VERSION"));
        for part in ["podman load --input ", "podman run ", &image] {
            assert!(commands.contains(part), "no {part:?} in\n{commands}");
        }
    }

    #[test]
    fn the_commands_are_those_of_the_section() {
        let page = "# Page\n\n## First\n\n```console\n# not this\n```\n\n## Here\n\nText.\n\n```console\n# one \\\n    \
                    --more\nwhat it says\n# two\n$ not root's\n```\n\n```console\n# later\n```\n\n## Next\n";
        for (name, page, heading, want) in [
            ("both, and what goes on", page, "## Here", Some("one \\\n    --more\ntwo\n")),
            ("no such heading", page, "## There", None),
            ("a section without commands", page, "## Next", None),
            (
                "commands of the next section alone",
                "\n## Here\n\n## Next\n```console\n# x\n```\n",
                "## Here",
                None,
            ),
        ] {
            assert_eq!(commands(page, heading).as_deref(), want, "{name}");
        }
    }
}
