//! What a container is made of: an OCI bundle with `provoke` in it.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// A container of one process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bundle<'a> {
    /// Its path in the cgroup tree.
    pub(crate) cgroup: &'a str,
    /// What its process runs under; or `unconfined`.
    pub(crate) profile: &'a str,
    /// What `provoke` is to do.
    pub(crate) arguments: &'a [&'a str],
    /// A file in it that is not for everyone.
    pub(crate) secret: Option<&'a str>,
}

impl Bundle<'_> {
    /// Writes it to a folder, for `runc` or `crun`.
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        let root = folder.join("rootfs");
        for within in ["proc", "dev", "bin"] {
            fs::create_dir_all(root.join(within))?;
        }
        fs::copy("/bin/provoke", root.join("bin/provoke")).context("copying provoke")?;
        if let Some(secret) = self.secret {
            let path = root.join(secret.trim_start_matches('/'));
            fs::create_dir_all(path.parent().unwrap_or(&root))?;
            fs::write(&path, "not for everyone\n").with_context(|| format!("writing {}", path.display()))?;
        }
        fs::write(folder.join("config.json"), self.config().to_string()).context("writing config.json")
    }

    fn config(&self) -> Value {
        let arguments = [&["/bin/provoke"], self.arguments].concat();
        let mut process = json!({
            "user": { "uid": 0, "gid": 0 },
            "args": arguments,
            "env": ["PATH=/bin"],
            "cwd": "/",
            "noNewPrivileges": false,
        });
        if let Some(process) = process.as_object_mut()
            && self.profile != "unconfined"
        {
            process.insert("apparmorProfile".to_owned(), self.profile.into());
        }
        json!({
            "ociVersion": "1.0.2",
            "process": process,
            "root": { "path": "rootfs" },
            "mounts": [{ "destination": "/proc", "type": "proc", "source": "proc" }],
            "linux": {
                "cgroupsPath": self.cgroup,
                "namespaces": [{ "type": "pid" }, { "type": "mount" }, { "type": "ipc" }, { "type": "uts" }],
            },
        })
    }
}
