//! Denials without a record: whose they were.
//!
//! They come as counts, a second late at most, and each with the cgroup that the kernel named. A container is known
//! for longer than that after its end.

use std::time::Instant;

use super::Identity;
use super::naming::Naming;
use super::resolver::Resolver;
use crate::capture::SilentDenial;

/// For how many readings a name is waited for; a second each.
const READINGS: u8 = 3;

/// Denials without a record, and whose they were.
#[derive(Clone, Copy, Debug)]
pub struct Unrecorded<'a> {
    /// What was refused, how often since the last reading, and why it has no record.
    pub denial: &'a SilentDenial,
    /// Whose they were.
    pub subject: &'a Identity,
}

/// Those that wait for their container's name: no more than are read in [`READINGS`] readings, each of which the
/// kernel's map bounds.
#[derive(Debug, Default)]
pub struct Unnamed(Vec<(SilentDenial, Identity, u8)>);

impl Unnamed {
    /// Takes in a reading, and tells `output` of those that have a name, need none, or have waited for long enough.
    pub fn read<T>(
        &mut self,
        read: Vec<SilentDenial>,
        resolver: &mut Resolver,
        naming: &mut Naming<T>,
        output: &mut dyn FnMut(&Unrecorded<'_>),
        now: Instant,
    ) {
        let Self(waiting) = self;
        // At once: whose a cgroup was is forgotten some day.
        waiting.extend(read.into_iter().map(|denial| {
            let subject = resolver.of_cgroup(denial.cgroup_id, now);
            (denial, subject, 0)
        }));
        waiting.retain_mut(|(denial, subject, readings)| {
            *readings += 1;
            if *readings <= READINGS && naming.awaits(subject) {
                return true;
            }
            naming.name(subject, None, now);
            output(&Unrecorded { denial, subject });
            false
        });
    }

    /// Tells of those that still wait, by the names that are known now.
    pub fn drain<T>(
        &mut self,
        naming: &mut Naming<T>,
        output: &mut dyn FnMut(&Unrecorded<'_>),
        now: Instant,
    ) {
        for (denial, mut subject, _) in std::mem::take(&mut self.0) {
            naming.name(&mut subject, None, now);
            output(&Unrecorded { denial: &denial, subject: &subject });
        }
    }
}
