//! From complaints to a profile: the rules that violations ask for, each with what speaks for it.
//!
//! Pure but for [`profile`], which reads what a profile includes. A record becomes a rule ([`derive`]), its
//! path is made general where that is known to be needed ([`generalise`]), rules are joined and those that
//! the profile has are left out ([`plan`]), and what is left is written down ([`render`]).

mod abstractions;
mod collect;
#[cfg(test)]
mod coverage_tests;
mod derive;
mod generalise;
mod glob;
#[cfg(test)]
mod granted;
mod plan;
mod profile;
mod render;
mod review;
mod rule;
mod session;
mod text;

/// Reads `text` as a profile that includes nothing, and says how many rules it grants; for the fuzzers.
#[doc(hidden)]
pub fn read_profile(text: &str) -> usize {
    let source = profile::read(text, &profile::Folders(Vec::new()));
    source.profiles.iter().map(|profile| profile.rules.len()).sum()
}

pub use self::collect::{Collection, Only};
pub use self::generalise::Level;
pub use self::plan::ExecChoice;
pub use self::session::{Answer, Format, Request, suggest};
pub use self::text::Abi;
pub use crate::output::history::{Evidence, Seen};
