use std::collections::BTreeMap;

use super::*;

/// Included files by name.
struct Given(BTreeMap<&'static str, &'static str>);

impl Files for Given {
    fn load(&self, name: &str, _: bool) -> io::Result<Vec<(String, String)>> {
        let text = self.0.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(vec![(name.to_owned(), (*text).to_owned())])
    }
}

fn given(text: &str) -> Source {
    let files = Given(BTreeMap::from([
        ("tunables/global", "@{ROOT}=/srv /data/\n@{ROOT} += \"/more\" # and\n"),
        ("abstractions/base", "abi <abi/4.0>,\n/etc/locale r,\ninclude <abstractions/more>\n"),
        ("abstractions/more", "  owner /home/** rw,\n  #include <abstractions/base>\n"),
    ]));
    read(text, &files)
}

/// Rules as they read once understood.
fn rules(profile: &Profile) -> Vec<String> {
    let deny = |written: &Written| if written.deny { "deny " } else { "" };
    profile.rules.iter().map(|written| format!("{}{}", deny(written), written.rule)).collect()
}

#[test]
fn a_profile_is_read_with_what_it_includes() {
    let source = given(
        r#"
# a comment, with a brace {
abi <abi/3.0>,
include <tunables/global>
alias /a -> /b,

profile web /usr/sbin/{nginx,httpd} flags=(attach_disconnected, complain) {
  #include <abstractions/base>
  include if exists <local/web>
  @{ROOT}/** r, # trailing, comment
  deny @{ROOT}/secret/** rwx,
  audit owner /var/log/*.log w,
  capability chown setuid,
  signal (send) set=(term, kill) peer=x,
  /bin/{sh,dash} mrix,
  /bin/cat Px -> other,
  rw /odd,
  ^h { /h r, }
  profile kid /bin/kid { /k r }
  if $x { /maybe r, }
}
/bin/old (complain) { /o r, }
"#,
    );
    let [web, old] = source.profiles.as_slice() else { panic!("{source:?}") };
    assert_eq!((web.name.as_str(), old.name.as_str()), ("web", "/bin/old"));
    assert_eq!(web.flags, ["attach_disconnected", "complain"]);
    assert_eq!(old.flags, ["complain"]);
    assert_eq!(source.abi.as_deref(), Some("abi/3.0"));
    let got = rules(web);
    for want in [
        "/etc/locale r,",
        "owner /home/** rw,",
        "@{ROOT}/** r,",
        "deny @{ROOT}/secret/** rwx,",
        "owner /var/log/*.log w,",
        "capability chown,",
        "capability setuid,",
        "signal (send) set=(kill term) peer=x,",
        "/bin/{sh,dash} mrix,",
        "/bin/cat Px -> other,",
        "/odd rw,",
    ] {
        assert!(got.iter().any(|rule| rule == want), "{want} in {got:?}");
    }
    let children: Vec<_> = web.children.iter().map(|child| (child.name.as_str(), child.hat)).collect();
    assert_eq!(children, [("h", true), ("kid", false)]);
    assert_eq!(rules(&web.children[0]), ["/h r,"]);
    assert_eq!(rules(&web.children[1]), ["/k r,"]);
    assert!(!got.iter().any(|rule| rule.contains("maybe")), "{got:?}");
    let passed_over = source.passed_over.join("\n");
    assert!(passed_over.contains("/maybe r: under a condition"), "{passed_over}");
    assert!(passed_over.contains("it goes in a circle"), "{passed_over}");
    assert!(passed_over.contains("alias"), "{passed_over}");
}

#[test]
fn a_rule_covers_what_it_grants() {
    for (has, asks, want) in [
        ("/etc/** r", "/etc/a/b r", true),
        ("/etc/** r", "/etc/a/b rw", false),
        ("owner /etc/** r", "/etc/a r", false),
        ("owner /etc/** r", "owner /etc/a r", true),
        ("/etc/** r", "owner /etc/a r", true),
        ("/x w", "/x a", true),
        ("/x a", "/x w", false),
        ("/x ix", "/x Px", true),
        ("/x r", "/x ix", false),
        ("file", "/any/thing rwk", true),
        ("capability", "capability chown", true),
        ("network", "network inet stream", true),
        ("network inet", "network (create) inet stream", true),
        ("network inet stream", "network inet dgram", false),
        ("network unix", "unix (create) type=stream", true),
        ("unix (create) type=stream", "unix (connect) type=stream", false),
        ("unix", "unix (connect) type=stream peer=(label=x)", true),
        ("unix peer=(label=y)", "unix (connect) type=stream peer=(label=x)", false),
        ("signal", "signal (send) set=(term) peer=x", true),
        ("signal (receive)", "signal (send) set=(term) peer=x", false),
        ("signal peer=p///bin/sh", "signal (send) set=(term) peer=p///bin/sh", true),
        ("signal peer=p///bin/sh", "signal (send) set=(term) peer=p/bin/sh", false),
        ("signal send set=term peer=x", "signal (send) set=(term) peer=x", true),
        ("ptrace (read) peer=/bin/*", "ptrace (read) peer=/bin/ps", true),
        ("ptrace (read) peer=/bin/*", "ptrace (trace) peer=/bin/ps", false),
        ("mount", "mount options=(rw, bind) /a/ -> /b/", true),
        ("mount options=(rw, bind)", "mount options=(rw, bind) /a/ -> /b/", true),
        ("mount options=(ro, bind)", "mount options=(rw, bind) /a/ -> /b/", false),
        ("mount fstype={tmpfs,ext4}", "mount fstype=tmpfs x -> /b/", true),
        ("umount /a/**", "umount /a/b/", true),
        ("umount /a/**", "remount /a/b/", false),
        ("set rlimit nofile <= 4096", "set rlimit nofile <= 2048", true),
        ("set rlimit nofile <= 1K", "set rlimit nofile <= 2048", false),
        ("dbus bus=system", "dbus (send) bus=system path=/a", true),
        ("dbus (send) bus=system path=/b", "dbus (send) bus=system path=/a", false),
        ("change_profile", "change_profile -> x", true),
        ("change_profile -> x", "change_profile -> y", false),
        ("userns", "userns create", true),
        ("userns create", "capability chown", false),
        ("all", "mount", true),
    ] {
        let (own, other) = (rule_of(has), rule_of(asks));
        let (own, mut other) =
            (own.unwrap_or_else(|| panic!("{has}")), other.unwrap_or_else(|| panic!("{asks}")));
        name(&mut other);
        assert_eq!(own.covers(&other), want, "{has} covers {asks}");
    }
}

/// What is asked for is always a name, not a pattern.
fn name(rule: &mut Rule) {
    let literal =
        |pattern: &mut crate::suggest::rule::Pattern| pattern.name = Some(pattern.text.clone().into_bytes());
    match rule {
        Rule::File { path, .. } => literal(path),
        Rule::Unix { addr, peer, peer_addr, .. } => {
            [addr, peer, peer_addr].into_iter().flatten().for_each(literal);
        }
        Rule::Signal { peer, .. } | Rule::Ptrace { peer, .. } => peer.iter_mut().for_each(literal),
        Rule::Mount { fstype, source, target, .. } => {
            [fstype, source, target].into_iter().flatten().for_each(literal);
        }
        Rule::ChangeProfile { target } => target.iter_mut().for_each(literal),
        Rule::Dbus { conditions, peer, .. } => {
            conditions.iter_mut().chain(peer).for_each(|(_, value)| literal(value));
        }
        _ => {}
    }
}

#[test]
fn no_text_is_too_odd() {
    for text in [
        "",
        "}",
        "{",
        "profile",
        "profile {",
        "/x {",
        "profile x { profile y { ",
        "@{X}",
        "include",
        "include <",
        "a \\",
        "profile x { signal (send set=(a peer=((, }",
        "\"",
        "/\u{e9} r,",
        "profile x { /a \\\u{e9} r, }",
    ] {
        drop(given(text));
    }
    let nested = "profile x { ".repeat(10_000);
    assert!(given(&nested).passed_over.iter().any(|what| what.contains("nested")));
}
