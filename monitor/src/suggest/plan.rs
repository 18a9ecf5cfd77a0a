//! From evidence to the smallest set of rules that covers it, profile by profile.

use std::collections::{BTreeMap, BTreeSet};

use bstr::ByteSlice as _;

use super::abstractions::Abstractions;
use super::derive::{Need, need};
use super::generalise::{self, Level, Step};
use super::glob::Variables;
use super::profile::{Profile, Source, Written, builtin};
use super::review::review;
use super::rule::{Pattern, Rule, Words};
use super::text::Abi;
use crate::output::history::evidence::{Evidence, Seen};
use crate::record::Class;

/// What to do about a program that the profile has no rule to execute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ExecChoice {
    /// It runs under the same profile
    #[default]
    Ix,
    /// It gets a child profile
    Cx,
    /// It gets a profile of its own
    Px,
}

impl ExecChoice {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ix => "ix",
            Self::Cx => "Cx",
            Self::Px => "Px",
        }
    }
}

/// How to suggest.
#[derive(Debug, Default)]
pub(crate) struct Wishes {
    pub(crate) abi: Abi,
    pub(crate) level: Level,
    pub(crate) exec: ExecChoice,
    /// Rules that fewer violations speak for are left out.
    pub(crate) min_count: u64,
    /// What there is already.
    pub(crate) existing: Option<Source>,
    pub(crate) abstractions: Abstractions,
    /// Whether an abstraction takes the place of the rules that it covers, rather than being named beside.
    pub(crate) use_abstractions: bool,
}

/// A suggested rule and what speaks for it.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) rule: Rule,
    pub(crate) seen: Seen,
    /// What was made more general.
    pub(crate) steps: BTreeSet<Step>,
    /// Why to look twice.
    pub(crate) review: Option<&'static str>,
    /// The abstraction that says this too.
    pub(crate) abstraction: Option<String>,
    /// The ABI has no word for it.
    pub(crate) unwritable: bool,
    /// What was seen, one rule for each name.
    pub(crate) samples: Vec<Rule>,
}

/// What one profile still misses.
#[derive(Clone, Debug, Default)]
pub(crate) struct Suggestion {
    /// Its name, without that of its parent.
    pub(crate) name: String,
    pub(crate) hat: bool,
    /// Its policy namespace, when it is not the root one.
    pub(crate) namespace: Option<String>,
    pub(crate) lines: Vec<Line>,
    /// Abstractions that stand for lines.
    pub(crate) includes: BTreeSet<String>,
    /// Flags that it needs.
    pub(crate) flags: BTreeMap<&'static str, Seen>,
    /// What an explicit `deny` forbids, and the rule that says so: no other rule would help.
    pub(crate) denied: Vec<(Line, String)>,
    /// What no rule can say, by why.
    pub(crate) notes: BTreeMap<&'static str, u64>,
    /// Some of it was seen in learning profiles (`//null-`) whose programs have no rule yet. The kernel asks
    /// such a profile about files and capabilities, and passes over sockets, signals and mounts in silence
    /// (`PROFILE_MEDIATES` of security/apparmor: its policy has no classes), so that another round is needed.
    pub(crate) half_seen: bool,
    /// How many kinds of violations what there is already covers.
    pub(crate) covered: u64,
    /// The profile itself is not in the file that was given.
    pub(crate) missing: bool,
    pub(crate) children: Vec<Suggestion>,
}

impl Suggestion {
    /// Whether anything has to be added to the profile.
    pub(crate) fn is_missing(&self) -> bool {
        !self.lines.is_empty()
            || !self.includes.is_empty()
            || !self.flags.is_empty()
            || self.children.iter().any(|child| child.missing || child.is_missing())
    }

    /// All that was seen.
    pub(crate) fn seen(&self) -> Seen {
        let mut all = Seen::default();
        let children: Vec<_> = self.children.iter().map(Self::seen).collect();
        let lines = self.lines.iter().map(|line| &line.seen);
        for seen in lines.chain(self.flags.values()).chain(&children) {
            all.add(seen);
        }
        all
    }
}

/// Where evidence belongs: namespace, profile, and the child or hat of it.
type Key = (Option<String>, Vec<String>);

/// What one profile needs, before anything is joined.
#[derive(Default)]
struct Pile {
    rules: Vec<(Rule, Seen)>,
    flags: BTreeMap<&'static str, Seen>,
    notes: BTreeMap<&'static str, u64>,
    hat: bool,
    /// Something is of a learning profile.
    learning: bool,
}

/// Suggests what the profiles that `evidence` names still miss.
pub(crate) fn plan(evidence: &[Evidence], wishes: &Wishes) -> Vec<Suggestion> {
    let hats = hats(evidence);
    let mut piles: BTreeMap<Key, Pile> = BTreeMap::new();
    for one in evidence {
        let sorted = one.with(|violation| {
            let key = key(violation.namespace, violation.profile.unwrap_or_default(), wishes.exec, &hats);
            let learning = violation.profile.is_some_and(|name| name.contains_str(LEARNING));
            let mut need = need(violation, one.seen.owner, wishes.exec.as_str());
            if let Need::Rule(rule) = &mut need {
                fold_peers(rule, &key.1, wishes.exec, &hats);
            }
            (key, need, learning)
        });
        let Some((key, need, learning)) = sorted else { continue };
        // A hat is entered from its parent, but its block stands in the parent's.
        if let Need::Hat(name) = &need {
            let parent = key.1.iter().take(1).cloned().chain([name.clone()]).collect();
            piles.entry((key.0.clone(), parent)).or_default().hat = true;
            continue;
        }
        let hat = key.1.get(1).is_some_and(|child| hats.contains(child));
        let pile = piles.entry(key).or_default();
        pile.hat |= hat;
        pile.learning |= learning;
        match need {
            Need::Rule(rule) => pile.rules.push((coarse(rule, wishes.abi), one.seen.clone())),
            Need::Flag(flag, rule) => {
                pile.flags.entry(flag).or_default().add(&one.seen);
                pile.rules.extend(rule.map(|rule| (rule, one.seen.clone())));
            }
            Need::Nothing(why) => *pile.notes.entry(why).or_default() += one.seen.count,
            Need::Hat(_) => {}
        }
    }
    gather(piles, wishes)
}

/// The names of hats that were asked for and are not there: complain mode enters a learning profile for them.
fn hats(evidence: &[Evidence]) -> BTreeSet<String> {
    let hat = |one: &Evidence| {
        one.with(|v| {
            let asked = v.class == Class::ChangeProfile && v.operation == b"change_hat";
            v.name.filter(|_| asked).map(|name| String::from_utf8_lossy(name).into_owned())
        })
    };
    evidence.iter().filter_map(hat).flatten().collect()
}

/// How a learning profile's name begins behind its parent's.
const LEARNING: &str = "//null-";

/// The profile that a record belongs to once its learning profiles are folded as `exec` says.
fn key(namespace: Option<&[u8]>, profile: &[u8], exec: ExecChoice, hats: &BTreeSet<String>) -> Key {
    let namespace = namespace.map(|namespace| String::from_utf8_lossy(namespace).into_owned());
    (
        namespace.filter(|name| !name.is_empty() && name != "root"),
        fold(&String::from_utf8_lossy(profile), exec, hats),
    )
}

fn fold(profile: &str, exec: ExecChoice, hats: &BTreeSet<String>) -> Vec<String> {
    let (base, learning) = match profile.split_once(LEARNING) {
        Some((base, rest)) => (base, Some(rest)),
        None => (profile, None),
    };
    // A stack is not a parent and its child.
    let mut names: Vec<String> = match base.split_once("//").filter(|(_, child)| !child.starts_with('&')) {
        Some((parent, child)) => vec![parent.to_owned(), child.to_owned()],
        None => vec![base.to_owned()],
    };
    let Some(learning) = learning else { return names };
    let first = learning.split(LEARNING).next().unwrap_or(learning).to_owned();
    if hats.contains(&first) {
        names.truncate(1);
        names.push(first);
    } else if first.starts_with('/') {
        match exec {
            // A child profile has no children of its own.
            ExecChoice::Cx if names.len() == 1 => names.push(first),
            ExecChoice::Ix | ExecChoice::Cx => {}
            ExecChoice::Px => names = vec![first],
        }
    }
    names
}

/// A peer is written as what it will be called, and the profile itself by the variable, so that it can be
/// loaded under another name.
fn fold_peers(rule: &mut Rule, own: &[String], exec: ExecChoice, hats: &BTreeSet<String>) {
    let (Rule::Signal { peer: Some(peer), .. }
    | Rule::Ptrace { peer: Some(peer), .. }
    | Rule::Unix { peer: Some(peer), .. }
    | Rule::IoUring { label: Some(peer), .. }) = rule
    else {
        return;
    };
    let Some(name) = peer.name.as_ref().map(|name| String::from_utf8_lossy(name).into_owned()) else {
        return;
    };
    let folded = fold(&name, exec, hats);
    if folded == own {
        peer.name = Some(folded.join("//").into_bytes());
        peer.text = "@{profile_name}".to_owned();
    } else if name.contains(LEARNING) {
        *peer = Pattern::literal(folded.join("//").as_bytes());
    }
}

/// A rule in the words that the ABI has.
fn coarse(rule: Rule, abi: Abi) -> Rule {
    match rule {
        Rule::Network { family, kind, .. } if abi == Abi::V3 => {
            Rule::Network { access: Words::new(), family, kind }
        }
        rule => rule,
    }
}

fn gather(piles: BTreeMap<Key, Pile>, wishes: &Wishes) -> Vec<Suggestion> {
    let mut all: Vec<Suggestion> = Vec::new();
    for ((namespace, names), pile) in piles {
        let mut names = names.into_iter();
        let (Some(parent), child) = (names.next(), names.next()) else { continue };
        let written =
            wishes.existing.as_ref().and_then(|source| source.profiles.iter().find(|p| p.name == parent));
        let at = all.iter().position(|one| one.name == parent && one.namespace == namespace);
        let at = at.unwrap_or_else(|| {
            let missing = written.is_none();
            all.push(Suggestion { name: parent, namespace, missing, ..Suggestion::default() });
            all.len() - 1
        });
        let Some(suggestion) = all.get_mut(at) else { continue };
        match child {
            None => suggest(suggestion, pile, written, wishes),
            Some(name) => {
                let written = written.and_then(|parent| parent.child(&name));
                let hat = pile.hat || written.is_some_and(|written| written.hat);
                let mut child = Suggestion { name, hat, missing: written.is_none(), ..Suggestion::default() };
                suggest(&mut child, pile, written, wishes);
                suggestion.children.push(child);
            }
        }
    }
    all
}

/// Whether `rules` grant all of `need` together; else what is left of it.
fn left_of(need: &Rule, rules: &[Written]) -> Option<Rule> {
    let grants = || rules.iter().filter(|written| !written.deny);
    let Rule::File { path, owner, perms, exec } = need else {
        return grants().all(|written| !written.rule.covers(need)).then(|| need.clone());
    };
    let mut left: BTreeSet<char> = perms.iter().copied().chain(exec.is_some().then_some('x')).collect();
    for lacks in grants().filter_map(|written| written.rule.lacks(need)) {
        left = left.intersection(&lacks).copied().collect();
    }
    let exec = exec.clone().filter(|_| left.remove(&'x'));
    (!left.is_empty() || exec.is_some()).then(|| Rule::File {
        path: path.clone(),
        owner: *owner,
        perms: left,
        exec,
    })
}

/// The explicit `deny` that forbids some of `need`.
fn denied_by<'p>(need: &Rule, rules: &'p [Written]) -> Option<&'p Written> {
    rules.iter().filter(|written| written.deny).find(|written| match (&written.rule, need) {
        (Rule::File { perms, exec, .. }, Rule::File { perms: asked, exec: asked_exec, .. }) => {
            let everything = Rule::File {
                path: match need {
                    Rule::File { path, .. } => path.clone(),
                    _ => return false,
                },
                owner: true,
                perms: BTreeSet::new(),
                exec: None,
            };
            let same_file = written.rule.lacks(&everything).is_some();
            same_file
                && (asked.iter().any(|letter| perms.contains(letter))
                    || exec.is_some() && asked_exec.is_some())
        }
        (rule, need) => rule.covers(need),
    })
}

fn suggest(into: &mut Suggestion, pile: Pile, written: Option<&Profile>, wishes: &Wishes) {
    let rules = written.map(|profile| profile.rules.as_slice()).unwrap_or_default();
    let flags = written.map(|profile| profile.flags.as_slice()).unwrap_or_default();
    let defaults;
    let variables = match &wishes.existing {
        Some(source) => &source.variables,
        None => {
            defaults = builtin();
            &defaults
        }
    };
    into.notes = pile.notes;
    into.flags = pile.flags;
    into.flags.retain(|flag, _| !flags.iter().any(|own| own == flag));
    let mut lines: Vec<Line> = Vec::new();
    let mut denied: Vec<(Line, String)> = Vec::new();
    for (need, seen) in pile.rules {
        let Some(left) = left_of(&need, rules) else {
            into.covered += 1;
            continue;
        };
        let line = Line::of(left, seen);
        match denied_by(&need, rules) {
            Some(deny) => {
                let text = match deny.from.as_str() {
                    "" => deny.text.clone(),
                    from => format!("{} of <{from}>", deny.text),
                };
                let known = denied.iter_mut().find(|(_, known)| *known == text);
                if !known.is_some_and(|(known, _)| known.take_in(&line)) {
                    denied.push((line, text));
                }
            }
            None => lines.push(line),
        }
    }
    into.denied = denied;
    let lines = join(lines);
    let lines = join(generalised(lines, wishes.level, variables));
    let mut lines = smallest(lines);
    lines.retain(|line| line.seen.count >= wishes.min_count);
    let samples: Vec<_> = lines.iter().map(|line| line.samples.clone()).collect();
    let included = written.map(|profile| profile.includes.as_slice()).unwrap_or_default();
    let offers = wishes.abstractions.offer(&samples, included);
    for (line, offer) in lines.iter_mut().zip(offers) {
        line.review = review(&line.rule);
        line.unwritable = !wishes.abi.has(&line.rule);
        line.abstraction = offer;
    }
    if wishes.use_abstractions {
        into.includes = lines.iter().filter_map(|line| line.abstraction.clone()).collect();
        lines.retain(|line| line.abstraction.is_none());
    }
    lines.sort_by(|a, b| a.rule.cmp(&b.rule));
    let executes = |line: &Line| matches!(line.rule, Rule::File { exec: Some(_), .. });
    into.half_seen = pile.learning && (written.is_none() || lines.iter().any(executes));
    into.lines = lines;
}

impl Line {
    fn of(rule: Rule, seen: Seen) -> Self {
        Self {
            samples: vec![rule.clone()],
            rule,
            seen,
            steps: BTreeSet::new(),
            review: None,
            abstraction: None,
            unwritable: false,
        }
    }

    fn take_in(&mut self, other: &Self) -> bool {
        if !self.rule.join(&other.rule) {
            return false;
        }
        self.add(other);
        true
    }

    fn add(&mut self, other: &Self) {
        self.seen.add(&other.seen);
        self.steps.extend(other.steps.iter().cloned());
        self.samples.extend(other.samples.iter().cloned());
    }
}

/// Joins what one rule can say, until nothing changes: what was joined may join more.
fn join(mut lines: Vec<Line>) -> Vec<Line> {
    loop {
        let before = lines.len();
        let mut joined: Vec<Line> = Vec::with_capacity(before);
        lines.sort_by(|a, b| a.rule.cmp(&b.rule));
        for line in lines {
            // Sorted by kind and path, so that what can be joined is near; signals and such are few.
            let file = matches!(line.rule, Rule::File { .. });
            let near = if file { 8 } else { usize::MAX };
            if !joined.iter_mut().rev().take(near).any(|known| known.take_in(&line)) {
                joined.push(line);
            }
        }
        if joined.len() == before {
            return joined;
        }
        lines = joined;
    }
}

fn generalised(mut lines: Vec<Line>, level: Level, variables: &Variables) -> Vec<Line> {
    let set = |line: &mut Line, text: &str, steps: Vec<Step>| {
        if let Rule::File { path, .. } | Rule::Link { link: path, .. } = &mut line.rule
            && path.text != text
        {
            *path = Pattern::glob(text, variables);
            line.steps.extend(steps);
        }
    };
    for line in &mut lines {
        if let Rule::File { path: Pattern { name: Some(name), .. }, .. }
        | Rule::Link { link: Pattern { name: Some(name), .. }, .. } = &line.rule
        {
            let (text, steps) = generalise::path(name, level);
            set(line, &text, steps);
        }
    }
    let lines = join(lines);
    // Only rules that grant the same may be said together.
    let mut groups: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for (at, line) in lines.iter().enumerate() {
        if let Rule::File { owner, perms, exec, .. } = &line.rule {
            groups.entry((*owner, perms.clone(), exec.clone())).or_default().push(at);
        }
    }
    let mut changes: Vec<(usize, String, Step)> = Vec::new();
    for group in groups.values() {
        let texts: Vec<&str> = group
            .iter()
            .filter_map(|at| match &lines.get(*at)?.rule {
                Rule::File { path, .. } => Some(path.text.as_str()),
                _ => None,
            })
            .collect();
        for (text, step, members) in generalise::together(&texts, level) {
            changes.extend(
                members.iter().filter_map(|member| Some((*group.get(*member)?, text.clone(), step.clone()))),
            );
        }
    }
    let mut lines = lines;
    for (at, text, step) in changes {
        if let Some(line) = lines.get_mut(at) {
            set(line, &text, vec![step]);
        }
    }
    lines
}

/// Drops the lines of which another grants all that was seen.
fn smallest(mut lines: Vec<Line>) -> Vec<Line> {
    let mut at = 0;
    while let Some(line) = lines.get(at) {
        let wider = lines.iter().enumerate().position(|(other, wide)| {
            other != at && line.samples.iter().all(|sample| wide.rule.covers(sample))
        });
        match wider {
            Some(wider) => {
                let line = lines.remove(at);
                let wider = if wider > at { wider - 1 } else { wider };
                if let Some(wide) = lines.get_mut(wider) {
                    wide.add(&line);
                }
            }
            None => at += 1,
        }
    }
    lines
}

#[cfg(test)]
#[path = "plan_tests.rs"]
pub(super) mod tests;
