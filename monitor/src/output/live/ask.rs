//! What can be asked over the socket.

use serde::{Deserialize, Serialize};
use wildmatch::WildMatch;

use super::told::Marks;

/// The version of the protocol. A server answers no other one.
pub const VERSION: u32 = 1;

/// One line from a client.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Question {
    /// [`VERSION`].
    pub version: u32,
    /// What is wanted.
    #[serde(flatten)]
    pub ask: Ask,
}

/// What is wanted.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "lowercase")]
pub enum Ask {
    /// Events: the last ones, and those to come.
    Tail {
        /// How many of the past.
        last: usize,
        /// Whether to wait for more.
        follow: bool,
        /// Which ones.
        filter: Filter,
    },
    /// Profiles and containers.
    Status,
    /// Every kind of violation that is remembered.
    Evidence,
}

/// Which events are sent: those that have one of the words of each list that is not empty.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Filter {
    /// Verdicts, and [`SILENT`](crate::output::SILENT).
    pub verdict: Vec<String>,
    /// Classes.
    pub class: Vec<String>,
    /// Profiles, with `*` and `?`.
    pub profile: Vec<String>,
    /// Kubernetes namespaces, with `*` and `?`.
    pub namespace: Vec<String>,
    /// Pods, with `*` and `?`.
    pub pod: Vec<String>,
}

impl Filter {
    pub(super) fn passes(&self, marks: &Marks) -> bool {
        let word = |words: &[String], own: &str| words.is_empty() || words.iter().any(|word| word == own);
        let like = |words: &[String], own: &str| {
            words.is_empty() || words.iter().any(|word| WildMatch::new(word).matches(own))
        };
        word(&self.verdict, marks.verdict)
            && word(&self.class, marks.class.as_str())
            && like(&self.profile, &marks.profile)
            && like(&self.namespace, &marks.namespace)
            && like(&self.pod, &marks.pod)
    }
}
