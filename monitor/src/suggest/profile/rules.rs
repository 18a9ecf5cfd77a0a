//! The text of a rule to a [`Rule`].

use std::collections::BTreeSet;

use super::super::glob::Variables;
use super::super::rule::{Exec, MountKind, Pattern, Rule, Words};
use super::Profile;

/// A word of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Item {
    Word(String),
    /// `key=value` or `key=(value value)`.
    Pair(String, Vec<String>),
    /// `(word word)`.
    Group(Vec<String>),
}

/// Splits a rule into its words. Quotes are taken off; escapes stay, because patterns have a use for them.
fn items(text: &str) -> Vec<Item> {
    let mut items = Vec::new();
    let mut words: Option<Vec<String>> = None;
    let mut key: Option<String> = None;
    let (mut word, mut quoted, mut braces) = (String::new(), false, 0_usize);
    let mut had_quotes = false;
    let mut characters = text.chars().chain(std::iter::once(' ')).peekable();
    while let Some(character) = characters.next() {
        let ends = !quoted
            && (character.is_whitespace()
                || braces == 0 && (character == ',' || words.is_some() && character == ')'));
        if ends {
            if !word.is_empty() || had_quotes {
                let word = std::mem::take(&mut word);
                match (&mut words, key.take()) {
                    (Some(words), None) => words.push(word),
                    (Some(words), Some(key)) => words.push(format!("{key}={word}")),
                    (None, Some(key)) => items.push(Item::Pair(key, vec![word])),
                    (None, None) => items.push(Item::Word(word)),
                }
                had_quotes = false;
            }
            if character == ')' {
                let group = words.take().unwrap_or_default();
                match items.pop() {
                    Some(Item::Pair(key, mut values)) if values.is_empty() => {
                        values.extend(group);
                        items.push(Item::Pair(key, values));
                    }
                    last => {
                        items.extend(last);
                        items.push(Item::Group(group));
                    }
                }
            }
            continue;
        }
        match character {
            '\\' => {
                word.push('\\');
                word.extend(characters.next());
            }
            '"' => {
                quoted = !quoted;
                had_quotes = true;
            }
            // A comment between the lines of a rule.
            '#' if !quoted && word.is_empty() => while characters.next_if(|c| *c != '\n').is_some() {},
            '(' if !quoted && word.is_empty() && words.is_none() => {
                if let Some(key) = key.take() {
                    items.push(Item::Pair(key, Vec::new()));
                }
                words = Some(Vec::new());
            }
            '=' if !quoted && key.is_none() && is_key(&word) => {
                key = Some(std::mem::take(&mut word));
                // `set = (..)`, `peer= (..)`.
                while characters.next_if(|c| c.is_whitespace()).is_some() {}
            }
            '{' if !quoted => {
                braces += 1;
                word.push('{');
            }
            '}' if !quoted => {
                braces = braces.saturating_sub(1);
                word.push('}');
            }
            character => word.push(character),
        }
    }
    items
}

fn is_key(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

/// The head of a block; None for `if` and `else`, and for what is no profile.
pub(super) fn header(text: &str) -> Option<Profile> {
    let mut profile = Profile::default();
    let mut words = Vec::new();
    for item in items(text) {
        match item {
            Item::Word(word) => words.push(word),
            Item::Pair(key, values) if key == "flags" => profile.flags = values,
            Item::Pair(..) => {}
            // `/bin/x (complain) {`, as it was written long ago.
            Item::Group(values) => profile.flags = values,
        }
    }
    let mut words = words.into_iter();
    let first = words.next()?;
    profile.name = match first.as_str() {
        "if" | "else" => return None,
        "profile" => words.next()?,
        "hat" => {
            profile.hat = true;
            words.next()?
        }
        hat if hat.starts_with('^') => {
            profile.hat = true;
            hat.get(1..)?.to_owned()
        }
        path if path.starts_with(['/', '@', ':']) => path.to_owned(),
        _ => return None,
    };
    Some(profile)
}

/// Reads one rule with the builtin variables; for tests.
#[cfg(test)]
pub(crate) fn rule_of(text: &str) -> Option<Rule> {
    rules(text, &super::builtin()).and_then(|(_, rules)| rules.into_iter().next())
}

/// What a rule says: whether it denies, and the rules, because one can name several capabilities. None when
/// it is not understood.
pub(super) fn rules(text: &str, variables: &Variables) -> Option<(bool, Vec<Rule>)> {
    let mut items = items(text);
    let (mut deny, mut owner) = (false, false);
    loop {
        match items.first()? {
            Item::Word(word) if word == "deny" => deny = true,
            Item::Word(word) if word == "owner" => owner = true,
            Item::Word(word) if matches!(word.as_str(), "allow" | "audit" | "quiet" | "file") => {}
            Item::Pair(key, _) if key == "priority" => {}
            // Asks the user; grants nothing by itself.
            Item::Word(word) if matches!(word.as_str(), "prompt" | "other") => return None,
            _ => break,
        }
        let was_file = matches!(items.first(), Some(Item::Word(word)) if word == "file");
        items.remove(0);
        if was_file && items.is_empty() {
            let path = Pattern::glob("/{,**}", variables);
            let perms = BTreeSet::from(['r', 'w', 'a', 'k', 'l', 'm']);
            let exec = Some(Exec { how: "ix".to_owned(), target: None });
            return Some((deny, vec![Rule::File { path, owner, perms, exec }]));
        }
    }
    let Some(Item::Word(first)) = items.first().cloned() else { return None };
    let parts = Parts { rest: items.split_off(1), variables };
    let rule = match first.as_str() {
        "capability" => {
            let names = parts.words();
            let rules = names.into_iter().map(|name| Rule::Capability { name: Some(name) });
            let rules: Vec<_> = rules.collect();
            return Some((
                deny,
                if rules.is_empty() { vec![Rule::Capability { name: None }] } else { rules },
            ));
        }
        "network" => {
            if parts.pair("ip").is_some() || parts.pair("port").is_some() || parts.pair("peer").is_some() {
                return None;
            }
            let mut words = parts.words().into_iter();
            let (family, kind) = match words.next() {
                Some(kind) if matches!(kind.as_str(), "tcp" | "udp" | "icmp") => return None,
                family => (family, words.next()),
            };
            let kind = match kind.as_deref() {
                Some("tcp") => Some("stream".to_owned()),
                Some("udp") => Some("dgram".to_owned()),
                _ => kind,
            };
            Rule::Network { access: parts.access(), family, kind }
        }
        "unix" => Rule::Unix {
            access: parts.access(),
            kind: parts.pair("type").and_then(|values| values.first().cloned()),
            addr: parts.label("addr"),
            peer: parts.of_peer("label"),
            peer_addr: parts.of_peer("addr"),
        },
        "signal" => Rule::Signal {
            access: parts.access(),
            set: parts.pair("set").unwrap_or_default().iter().cloned().collect(),
            peer: parts.label("peer"),
        },
        "ptrace" => Rule::Ptrace { access: parts.access(), peer: parts.label("peer") },
        "mount" | "remount" | "umount" | "unmount" => parts.mount(&first)?,
        "pivot_root" => {
            let new = parts.words().first().map(|path| Pattern::glob(path, variables));
            let old = parts.pair("oldroot").and_then(|values| values.first());
            let old = old.map(|path| Pattern::glob(path, variables));
            Rule::PivotRoot { old, new }
        }
        "set" => parts.rlimit()?,
        "dbus" => parts.dbus(),
        "mqueue" => Rule::Mqueue {
            access: parts.access(),
            kind: parts.pair("type").and_then(|values| values.first().cloned()),
            name: parts
                .words()
                .iter()
                .find(|word| word.starts_with('/'))
                .map(|name| Pattern::glob(name, variables)),
        },
        "userns" => Rule::Userns,
        "io_uring" => Rule::IoUring { access: parts.access_words(), label: parts.label("label") },
        "change_profile" => {
            let words = parts.words();
            // With a condition on the program it is not known whether it holds.
            match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
                [] => Rule::ChangeProfile { target: None },
                ["->", target] => Rule::ChangeProfile { target: Some(Pattern::label(target, variables)) },
                _ => return None,
            }
        }
        "all" => Rule::All,
        "link" => {
            let words: Vec<_> = parts.words().into_iter().filter(|word| word != "subset").collect();
            let (link, rest) = words.split_first()?;
            let target = rest.get(1).map(|target| Pattern::glob(target, variables));
            Rule::Link { owner, link: Pattern::glob(link, variables), target }
        }
        _ => return Some((deny, file(owner, deny, &first, &parts)?)),
    };
    Some((deny, vec![rule]))
}

/// `PATH PERMS [-> TARGET]` or `PERMS PATH`.
fn file(owner: bool, deny: bool, first: &str, parts: &Parts<'_>) -> Option<Vec<Rule>> {
    let words = parts.words();
    let is_path = |word: &str| word.starts_with(['/', '@']);
    let second = words.first()?;
    let (path, perms) = if is_path(first) { (first, second.as_str()) } else { (second.as_str(), first) };
    if !is_path(path) {
        return None;
    }
    let target = match words.get(1).map(String::as_str) {
        Some("->") => Some(words.get(2)?.clone()),
        _ => None,
    };
    let plain: BTreeSet<char> = perms.chars().filter(|letter| "rwaklm".contains(*letter)).collect();
    let how: String = perms.chars().filter(|letter| "piucxPCUIX".contains(*letter)).collect();
    if perms.chars().any(|letter| !"rwaklmpiucxPCUIX".contains(letter)) {
        return None;
    }
    let path = Pattern::glob(path, parts.variables);
    if perms == "l" && target.is_some() {
        let target = target.map(|target| Pattern::glob(&target, parts.variables));
        return Some(vec![Rule::Link { owner, link: path, target }]);
    }
    // `deny /x x` has no way to execute it to name.
    let exec = how.ends_with(['x', 'X']).then_some(Exec { how: how.clone(), target });
    if exec.is_some() && how.len() < 2 && !deny {
        return None;
    }
    Some(vec![Rule::File { path, owner, perms: plain, exec }])
}

/// What follows a rule's first word.
struct Parts<'v> {
    rest: Vec<Item>,
    variables: &'v Variables,
}

impl Parts<'_> {
    fn words(&self) -> Vec<String> {
        let word = |item: &Item| if let Item::Word(word) = item { Some(word.clone()) } else { None };
        self.rest.iter().filter_map(word).collect()
    }

    /// The words that say what is done, in parentheses or bare.
    fn access(&self) -> Words {
        let mut access = Words::new();
        for item in &self.rest {
            match item {
                Item::Group(words) => access.extend(words.iter().cloned()),
                Item::Word(word) if ACCESS.contains(&word.as_str()) => drop(access.insert(word.clone())),
                _ => {}
            }
        }
        let access: Words = access
            .into_iter()
            .map(|word| match word.as_str() {
                "r" => "read".to_owned(),
                "w" => "write".to_owned(),
                _ => word,
            })
            .collect();
        // `rw` and `read write` of signals, unix sockets and D-Bus.
        let mut plain = Words::new();
        for word in access {
            match word.as_str() {
                "rw" => plain.extend([
                    "read".to_owned(),
                    "write".to_owned(),
                    "send".to_owned(),
                    "receive".to_owned(),
                ]),
                "read" => plain.extend([word, "receive".to_owned()]),
                "write" => plain.extend([word, "send".to_owned()]),
                _ => drop(plain.insert(word)),
            }
        }
        plain
    }

    fn access_words(&self) -> Words {
        let mut access = self.access();
        access.extend(self.words());
        access
    }

    fn pair(&self, key: &str) -> Option<&[String]> {
        self.rest.iter().find_map(|item| match item {
            Item::Pair(own, values) if own == key => Some(values.as_slice()),
            _ => None,
        })
    }

    fn label(&self, key: &str) -> Option<Pattern> {
        self.pair(key)?.first().map(|text| Pattern::label(text, self.variables))
    }

    fn of_peer(&self, key: &str) -> Option<Pattern> {
        let value = self.pair("peer")?.iter().find_map(|word| {
            let (own, value) = word.split_once('=')?;
            (own == key).then_some(value)
        })?;
        Some(Pattern::label(value, self.variables))
    }

    fn mount(&self, word: &str) -> Option<Rule> {
        let words = self.words();
        // `options in (..)` and `fstype in (..)` grant many combinations.
        if words.iter().any(|word| word == "in") || self.pair("vfstype").is_some() {
            return None;
        }
        let options: Words =
            self.pair("options").or(self.pair("option")).unwrap_or_default().iter().cloned().collect();
        let fstype = match self.pair("fstype") {
            None => None,
            Some([one]) => Some(Pattern::glob(one, self.variables)),
            Some(several) => Some(Pattern::glob(&format!("{{{}}}", several.join(",")), self.variables)),
        };
        let pattern = |word: Option<&String>| word.map(|word| Pattern::glob(word, self.variables));
        let arrow = words.iter().position(|word| word == "->");
        let (how, source, target) = match (word, arrow) {
            ("mount", Some(arrow)) => (
                MountKind::Mount,
                pattern(words.first().filter(|_| arrow > 0)),
                pattern(words.get(arrow + 1)),
            ),
            ("mount", None) => (MountKind::Mount, pattern(words.first()), None),
            ("remount", _) => (MountKind::Remount, None, pattern(words.last())),
            _ => (MountKind::Umount, None, pattern(words.last())),
        };
        Some(Rule::Mount { how, fstype, options, source, target })
    }

    fn rlimit(&self) -> Option<Rule> {
        let words = self.words();
        let [_, name, _, value, ..] = words.as_slice() else { return None };
        if value == "infinity" {
            return Some(Rule::Rlimit { name: name.clone(), value: None });
        }
        let unit = value.trim_start_matches(|c: char| c.is_ascii_digit() || c == '-');
        let number: i64 = value.strip_suffix(unit)?.parse().ok()?;
        let value = match (name.as_str(), unit) {
            ("nice", "") => u64::try_from(20 - number).ok()?,
            (_, "" | "B") => u64::try_from(number).ok()?,
            (_, "K" | "KB") => u64::try_from(number).ok()?.checked_mul(1 << 10)?,
            (_, "M" | "MB") => u64::try_from(number).ok()?.checked_mul(1 << 20)?,
            (_, "G" | "GB") => u64::try_from(number).ok()?.checked_mul(1 << 30)?,
            _ => return None,
        };
        Some(Rule::Rlimit { name: name.clone(), value: Some(value) })
    }

    fn dbus(&self) -> Rule {
        let pairs = |words: &mut dyn Iterator<Item = (String, String)>| -> Vec<(String, Pattern)> {
            words.map(|(key, value)| (key, Pattern::glob(&value, self.variables))).collect()
        };
        let mut own = self.rest.iter().filter_map(|item| match item {
            Item::Pair(key, values) if key != "peer" => Some((key.clone(), values.first()?.clone())),
            _ => None,
        });
        let mut peer = self.pair("peer").unwrap_or_default().iter().filter_map(|word| {
            let (key, value) = word.split_once('=')?;
            Some((key.to_owned(), value.to_owned()))
        });
        Rule::Dbus { access: self.access(), conditions: pairs(&mut own), peer: pairs(&mut peer) }
    }
}

/// Words of access that may stand without parentheses.
const ACCESS: [&str; 25] = [
    "send",
    "receive",
    "r",
    "w",
    "rw",
    "read",
    "write",
    "trace",
    "tracedby",
    "readby",
    "create",
    "bind",
    "listen",
    "accept",
    "connect",
    "shutdown",
    "getattr",
    "setattr",
    "getopt",
    "setopt",
    "eavesdrop",
    "open",
    "delete",
    "sqpoll",
    "override_creds",
];
