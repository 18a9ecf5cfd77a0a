//! What the text of a suggested profile grants, for tests: read and matched without anything of what wrote it
//! (`rule`, `glob`, `profile`), because a mistake that both sides share would not be seen.

use std::collections::BTreeSet;

use crate::record::{Class, Violation};

/// A profile, child or hat.
#[derive(Debug, Default)]
pub(super) struct Block {
    pub(super) name: String,
    flags: String,
    rules: Vec<String>,
    children: Vec<Block>,
}

/// Reads what `render` wrote: a rule a line.
pub(super) fn blocks(text: &str) -> Vec<Block> {
    let mut open = vec![Block::default()];
    for line in text.lines() {
        let mut words = split(line, ' ');
        if let Some(comment) = words.iter().position(|word| word.starts_with('#')) {
            words.truncate(comment);
        }
        match words.as_slice() {
            ["}"] => {
                let block = open.pop().unwrap();
                open.last_mut().unwrap().children.push(block);
            }
            [head @ .., "{"] => {
                let name = head.iter().find(|word| **word != "profile").unwrap();
                let name = plain(name.trim_start_matches('^'));
                let flags = head.iter().find_map(|word| word.strip_prefix("flags=")).unwrap_or_default();
                open.push(Block { name, flags: flags.to_owned(), ..Block::default() });
            }
            [] | ["abi" | "include", ..] => {}
            rule => {
                let rule = rule.join(" ");
                open.last_mut().unwrap().rules.push(rule.strip_suffix(',').unwrap().to_owned());
            }
        }
    }
    assert_eq!(open.len(), 1, "every block is closed: {text}");
    open.remove(0).children
}

impl Block {
    /// The block of a profile, or of its child.
    pub(super) fn of<'a>(blocks: &'a [Self], path: &[String]) -> Option<&'a Self> {
        let (first, rest) = path.split_first()?;
        let block = blocks.iter().find(|block| block.name == *first)?;
        if rest.is_empty() { Some(block) } else { Self::of(&block.children, rest) }
    }

    /// Whether it lets `asked` happen; `owner` is whether the file was the process's own each time, `own` what
    /// the profile is called with its parent, `peer` what the peer is called.
    pub(super) fn grants(&self, asked: &Violation<'_>, owner: bool, own: &str, peer: Option<&str>) -> bool {
        let mut name = asked.name.unwrap_or_default().to_vec();
        match asked.info {
            Some(b"Failed name lookup - deleted entry") => return self.flags.contains("mediate_deleted"),
            Some(b"Failed name lookup - disconnected path")
                if !self.flags.contains("attach_disconnected") =>
            {
                return false;
            }
            _ if !name.starts_with(b"/") => name.insert(0, b'/'),
            _ => {}
        }
        if matches!(asked.class, Class::File | Class::Exec) {
            let granted: BTreeSet<u8> =
                self.rules.iter().flat_map(|rule| letters(rule, &name, owner, own)).collect();
            return needed(asked)
                .iter()
                .all(|letter| granted.contains(letter) || *letter == b'a' && granted.contains(&b'w'));
        }
        self.rules.iter().any(|rule| grants(rule, asked, &name, owner, own, peer))
    }
}

/// The letters that a rule about this file grants.
fn letters(rule: &str, name: &[u8], owner: bool, own: &str) -> Vec<u8> {
    match split(rule.strip_prefix("owner ").unwrap_or(rule), ' ').as_slice() {
        [path, letters]
            if (owner || !rule.starts_with("owner "))
                && path.starts_with(['/', '@', '"'])
                && is(path, name, own) =>
        {
            letters.bytes().collect()
        }
        _ => Vec::new(),
    }
}

fn needed(asked: &Violation<'_>) -> BTreeSet<u8> {
    let letters = asked.denied_mask.or(asked.requested_mask).unwrap_or_default();
    letters.iter().map(|letter| if b"cd".contains(letter) { b'w' } else { *letter }).collect()
}

fn grants(
    rule: &str,
    asked: &Violation<'_>,
    name: &[u8],
    owner: bool,
    own: &str,
    peer: Option<&str>,
) -> bool {
    let bare = rule.strip_prefix("owner ").unwrap_or(rule);
    if bare != rule && !owner {
        return false;
    }
    let words = split(bare, ' ');
    let Some((kind, rest)) = words.split_first() else { return false };
    let word = |value: Option<&[u8]>, word: &str| value == Some(word.as_bytes());
    let access: BTreeSet<&str> = list(rest.iter().find(|word| word.starts_with('(')).unwrap_or(&""));
    let asks = text(asked.denied_mask.or(asked.requested_mask).unwrap_or_default());
    let all = access.is_empty() || list(&asks).is_subset(&access);
    // A condition that is not there lets any value through, one that is there has to be met.
    let condition = |words: &[&str], key: &str, value: Option<&[u8]>| {
        let found = words.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
        found.is_none_or(|pattern| value.is_some_and(|value| is(pattern, value, own)))
    };
    let peer = peer.map(str::as_bytes);
    let other = |key: &[u8]| asked.others.iter().find(|(other, _)| *other == key).map(|(_, value)| *value);
    match (asked.class, *kind, rest) {
        (Class::Link, "link", [link, "->", target]) => {
            is(link, name, own) && asked.target.is_some_and(|name| is(target, name, own))
        }
        (Class::Link, ..) => letters(rule, name, owner, own).contains(&b'l'),
        (Class::Capability, "capability", [capability]) => word(asked.capname, capability),
        (Class::Network, "network", [.., family, kind]) => {
            all && word(asked.family, family) && word(asked.sock_type, kind)
        }
        (Class::Unix, "unix", rest) => {
            let found = rest.iter().find_map(|word| word.strip_prefix("peer=("));
            let of_peer = split(found.unwrap_or_default().trim_end_matches(')'), ' ');
            all && condition(rest, "type", asked.sock_type)
                && condition(rest, "addr", other(b"addr"))
                && condition(&of_peer, "label", peer)
                && condition(&of_peer, "addr", other(b"peer_addr"))
        }
        (Class::Signal, "signal", rest) => {
            let set = list(rest.iter().find_map(|word| word.strip_prefix("set=")).unwrap_or_default());
            let signal = text(asked.signal.unwrap_or_default());
            all && (set.is_empty() || set.contains(signal.as_str())) && condition(rest, "peer", peer)
        }
        (Class::Ptrace, "ptrace", rest) => all && condition(rest, "peer", peer),
        (Class::Mount, "pivot_root", rest) => {
            asked.operation == b"pivotroot"
                && condition(rest, "oldroot", asked.srcname)
                && rest.last().is_some_and(|new| is(new, name, own))
        }
        (Class::Mount, "umount", [target]) => asked.operation == b"umount" && is(target, name, own),
        (Class::Mount, "mount" | "remount", [.., target]) => {
            let flags = text(asked.flags.unwrap_or_default());
            let mut flags = list(&flags);
            let how = if flags.contains("remount") && !flags.contains("bind") { "remount" } else { "mount" };
            if how == "remount" {
                flags.remove("remount");
            }
            let options =
                list(rest.iter().find_map(|word| word.strip_prefix("options=")).unwrap_or_default());
            let fstype = rest.iter().find_map(|word| word.strip_prefix("fstype="));
            let source =
                rest.iter().position(|word| *word == "->").and_then(|at| rest.get(at.checked_sub(1)?));
            let source = source.filter(|word| !word.contains("=("));
            asked.operation == b"mount"
                && *kind == how
                && is(target, name, own)
                && options == flags
                && fstype.is_none_or(|fstype| {
                    asked.fstype.is_some_and(|asked| list(fstype).contains(text(asked).as_str()))
                })
                && source.is_none_or(|source| asked.srcname.is_some_and(|name| is(source, name, own)))
        }
        (Class::Rlimit, "set", ["rlimit", limit, "<=", most]) => {
            let enough = asked.value.is_some_and(|value| most.parse().is_ok_and(|most: u64| most >= value));
            word(asked.rlimit, limit) && (*most == "infinity" || enough)
        }
        (Class::ChangeProfile, "change_profile", ["->", target]) => {
            is(target, asked.target.or(asked.name).unwrap_or_default(), own)
        }
        (Class::Userns, "userns", ["create"]) => true,
        (Class::IoUring, "io_uring", rest) => all && condition(rest, "label", peer),
        _ => false,
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The words of `(a b)`, `(a, b)` or `a b`.
fn list(words: &str) -> BTreeSet<&str> {
    words.split(['(', ')', ' ', ',']).filter(|word| !word.is_empty()).collect()
}

/// Words of a line, quotes and parentheses being kept together.
fn split(line: &str, at: char) -> Vec<&str> {
    let (mut words, mut start, mut depth, mut quoted, mut escaped) = (Vec::new(), 0, 0_usize, false, false);
    for (index, letter) in line.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => depth = depth.saturating_sub(1),
            letter if letter == at && !quoted && depth == 0 => {
                words.push(&line[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    words.push(&line[start..]);
    words.retain(|word| !word.is_empty());
    words
}

fn plain(word: &str) -> String {
    word.trim_matches('"').to_owned()
}

/// Whether a pattern as it stands in a profile matches `name`; `own` is the profile's name.
fn is(pattern: &str, name: &[u8], own: &str) -> bool {
    let inside = pattern.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    matches(inside.unwrap_or(pattern).as_bytes(), name, own)
}

/// By trying everything (apparmor.d(5), "Globbing").
fn matches(pattern: &[u8], name: &[u8], own: &str) -> bool {
    let one = |rest: &[u8], takes: &dyn Fn(u8) -> bool| {
        name.split_first().is_some_and(|(first, after)| takes(*first) && matches(rest, after, own))
    };
    let many = |rest: &[u8], least: usize, takes: &dyn Fn(u8) -> bool| {
        let most = name.iter().take_while(|byte| takes(**byte)).count();
        (least..=most).any(|length| matches(rest, &name[length..], own))
    };
    // Without a zero before it.
    let numbers = |rest: &[u8], least: u8, digits: usize| {
        let most = name.iter().take_while(|byte| byte.is_ascii_digit()).count().min(digits);
        (1..=most).any(|length| {
            let first = name[0] - b'0';
            first >= if length == 1 { least } else { 1 } && matches(rest, &name[length..], own)
        })
    };
    match pattern {
        [] => name.is_empty(),
        [b'\\', b'x', high, low, rest @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
            let code = u8::from_str_radix(str::from_utf8(&[*high, *low]).unwrap(), 16).unwrap();
            one(rest, &|byte| byte == code)
        }
        [b'\\', letter, rest @ ..] => one(rest, &|byte| byte == *letter),
        [b'*', b'*', rest @ ..] => many(rest, 0, &|_| true),
        [b'*', rest @ ..] => many(rest, 0, &|byte| byte != b'/'),
        [b'?', rest @ ..] => one(rest, &|byte| byte != b'/'),
        [b'[', rest @ ..] => {
            let end = rest.iter().position(|byte| *byte == b']').unwrap();
            let class = &rest[..end];
            let in_range = |byte: u8| class.windows(3).any(|r| r[1] == b'-' && (r[0]..=r[2]).contains(&byte));
            one(&rest[end + 1..], &|byte| in_range(byte) || byte != b'-' && class.contains(&byte))
        }
        [b'@', b'{', rest @ ..] => {
            let end = rest.iter().position(|byte| *byte == b'}').unwrap();
            let (variable, rest) = (&rest[..end], &rest[end + 1..]);
            match variable {
                b"pid" | b"tid" => numbers(rest, 1, 7),
                b"uid" => numbers(rest, 0, 10),
                b"PROC" => matches(&[b"/proc", rest].concat(), name, own),
                b"HOME" => {
                    [&b"/home/*"[..], b"/root"].iter().any(|home| matches(&[home, rest].concat(), name, own))
                }
                b"profile_name" => {
                    name.strip_prefix(own.as_bytes()).is_some_and(|after| matches(rest, after, own))
                }
                other => panic!("no variable {}", text(other)),
            }
        }
        [letter, rest @ ..] => one(rest, &|byte| byte == *letter),
    }
}
