//! What a scenario has measured, for the host to put beside what is promised.

use crate::agent::keep;

/// Hands a number to the host: `figures.txt` has a line `name value` for each.
pub(crate) fn tell(name: &str, value: f64) {
    keep("figures.txt", &format!("{name} {value}"));
}
