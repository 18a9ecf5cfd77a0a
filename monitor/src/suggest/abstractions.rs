//! Abstractions that say what several suggested rules say.

use super::profile::{self, Files};
use super::rule::Rule;

/// Those worth offering: of a purpose that a program has or has not. The order decides between equals, from
/// the narrow to the wide.
const OFFERED: [&str; 16] = [
    "ssl_certs",
    "openssl",
    "p11-kit",
    "consoles",
    "wutmp",
    "hosts_access",
    "mysql",
    "perl",
    "php",
    "python",
    "ruby",
    "fonts",
    "bash",
    "nameservice",
    "authentication",
    "base",
];

/// An abstraction must save this many rules: what it lets in besides has to be worth it.
const AT_LEAST: usize = 2;

/// What each abstraction grants.
#[derive(Debug, Default)]
pub(crate) struct Abstractions(Vec<(String, Vec<Rule>)>);

impl Abstractions {
    /// Reads those that are there.
    pub(crate) fn read(files: &dyn Files) -> Self {
        let grants = |name: &&str| {
            let name = format!("abstractions/{name}");
            let text =
                format!("include if exists <tunables/global>\nprofile x {{ include if exists <{name}> }}");
            let source = profile::read(&text, files);
            let rules = source.profiles.into_iter().next()?.rules;
            let rules: Vec<_> = rules.into_iter().filter(|rule| !rule.deny).map(|rule| rule.rule).collect();
            (!rules.is_empty()).then_some((name, rules))
        };
        Self(OFFERED.iter().filter_map(grants).collect())
    }

    /// Which abstraction could stand for each line, if any. A line is what was seen for it; `included` are
    /// those that the profile has.
    pub(crate) fn offer(&self, lines: &[Vec<Rule>], included: &[String]) -> Vec<Option<String>> {
        let mut offers = vec![None; lines.len()];
        loop {
            let covered = |rules: &[Rule]| -> Vec<usize> {
                let open =
                    lines.iter().enumerate().filter(|(at, _)| offers.get(*at).is_some_and(Option::is_none));
                let covered = open
                    .filter(|(_, seen)| seen.iter().all(|need| rules.iter().any(|rule| rule.covers(need))));
                covered.map(|(at, _)| at).collect()
            };
            let candidates = self.0.iter().filter(|(name, _)| !included.contains(name));
            let best = candidates
                .map(|(name, rules)| (name, covered(rules)))
                .rev()
                .max_by_key(|(_, covered)| covered.len())
                .filter(|(_, covered)| covered.len() >= AT_LEAST);
            let Some((name, covered)) = best else { return offers };
            for at in covered {
                if let Some(offer) = offers.get_mut(at) {
                    *offer = Some(name.clone());
                }
            }
        }
    }
}
