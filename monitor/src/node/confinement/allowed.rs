//! Which profiles pods may ask for, as somebody has decided. This tells; it admits and refuses nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};
use wildmatch::WildMatch;

use super::requested::Requested;

/// More than a list for people has.
const PATTERNS_LIMIT: usize = 1024;

/// Patterns by namespace.
///
/// Written as `runtime/default, localhost/web-*, kube-system=*`: patterns for all namespaces, and after
/// `NAMESPACE=` those for one, which then has only its own.
#[derive(Clone, Debug, Default)]
pub struct Allowed {
    text: String,
    /// The empty namespace has those for all.
    patterns: BTreeMap<Box<str>, Vec<WildMatch>>,
}

impl Allowed {
    /// Whether a container in `namespace` may ask for this. Who asks for nothing is taken as asking for what
    /// it gets; a reference without meaning is on no list.
    pub fn allows(&self, namespace: &str, requested: &Requested, privileged: bool) -> bool {
        let Some(patterns) = self.patterns.get(namespace).or_else(|| self.patterns.get("")) else {
            return true;
        };
        let effective = match requested {
            Requested::Nothing if privileged => &Requested::Unconfined,
            Requested::Nothing => &Requested::RuntimeDefault,
            Requested::Invalid(_) => return false,
            requested => requested,
        };
        let label = effective.as_label();
        patterns.iter().any(|pattern| pattern.matches(&label))
    }
}

impl PartialEq for Allowed {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Allowed {}

impl FromStr for Allowed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut allowed = Self { text: text.to_owned(), ..Self::default() };
        let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
        for (number, word) in words.enumerate() {
            if number >= PATTERNS_LIMIT {
                return Err(format!("more than {PATTERNS_LIMIT} patterns"));
            }
            let (namespace, pattern) = word.split_once('=').unwrap_or(("", word));
            let (namespace, pattern) = (namespace.trim(), pattern.trim());
            let known = pattern == "*"
                || ["runtime/", "localhost/", "unconfined", "*"]
                    .iter()
                    .any(|start| pattern.starts_with(start));
            if !known {
                return Err(format!(
                    "{pattern:?} can match nothing: write runtime/default, unconfined, localhost/<pattern> or *, \
                     each after NAMESPACE= if it is for one namespace only"
                ));
            }
            allowed.patterns.entry(namespace.into()).or_default().push(WildMatch::new(pattern));
        }
        Ok(allowed)
    }
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Allowed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::super::requested::Invalid;
    use super::*;

    #[test]
    fn a_namespace_with_a_list_of_its_own_has_only_that() {
        let allowed: Allowed =
            "runtime/default, localhost/web-*, kube-system=*, strict = localhost/one".parse().unwrap();
        let localhost = |name: &str| Requested::Localhost(name.into());
        for (name, namespace, requested, privileged, want) in [
            ("default", "shop", Requested::RuntimeDefault, false, true),
            ("on the list", "shop", localhost("web-1"), false, true),
            ("off the list", "shop", localhost("db"), false, false),
            ("unconfined", "shop", Requested::Unconfined, false, false),
            ("nothing is the default", "shop", Requested::Nothing, false, true),
            ("privileged is unconfined", "shop", Requested::Nothing, true, false),
            ("invalid", "shop", Requested::Invalid(Invalid::NoName), false, false),
            ("anything", "kube-system", Requested::Unconfined, true, true),
            ("its own list", "strict", localhost("one"), false, true),
            ("not the others'", "strict", Requested::RuntimeDefault, false, false),
        ] {
            assert_eq!(allowed.allows(namespace, &requested, privileged), want, "{name}");
        }
    }

    #[test]
    fn without_a_list_for_it_a_namespace_may_ask_for_anything() {
        for list in ["", "shop=localhost/web"] {
            let allowed: Allowed = list.parse().unwrap();
            assert!(allowed.allows("other", &Requested::Unconfined, false), "{list:?}");
        }
    }

    #[test]
    fn a_pattern_that_can_match_nothing_is_a_mistake() {
        for text in ["web", "shop=web-*", "Localhost/web", "localhost/a, =b", "shop="] {
            assert!(text.parse::<Allowed>().is_err(), "{text}");
        }
    }
}
