//! What the pipeline leaves to the next agent, and what it makes up for from logs.

use std::time::Instant;

use bumpalo::Bump;

use super::{Pipeline, audit_stamp, wall_minus_boot};
use crate::capture::backlog::{Backlog, Entry};
use crate::identity::resolver::Who;
use crate::ledger::{Loss, StateFailure};
use crate::merge::{Event, SeenBy};
use crate::record::{self, AuditId, ParseError, Violation};
use crate::state::{Checkpoint, Whose};

impl<O: FnMut(&Event<'_>)> Pipeline<O> {
    /// Counts what logs hold of the time after the agent before, each once.
    pub(super) fn recover(&mut self, arena: &mut Bump) {
        let backlog = std::mem::take(&mut self.backlog);
        let wall_minus_boot = wall_minus_boot();
        for (log, Backlog { origin, path, entries, cut }) in backlog.into_iter().enumerate() {
            let (mut recovered, mut in_doubt, mut suppressed, mut cut) = (0_u64, 0, 0, cut);
            for entry in entries {
                arena.reset();
                let record = match entry {
                    Entry::Suppressed(number) => {
                        suppressed += number;
                        continue;
                    }
                    Entry::Record(record) => record,
                };
                let violation = match record::parse_line(&record, origin, &self.senders, arena) {
                    Ok(violation) => violation,
                    Err(ParseError::NotAppArmor) => continue,
                    Err(ParseError::Untrusted) => {
                        self.ledger.lose(Loss::AuditUntrusted, 1);
                        continue;
                    }
                    Err(error) => {
                        tracing::debug!(%error, record = %record.escape_ascii(), "{path}: does not parse");
                        self.ledger.lose(Loss::LogMalformed, 1);
                        continue;
                    }
                };
                match self.whose(violation.audit_id) {
                    Whose::Theirs => {
                        // So is what the log lacks in front of it.
                        (suppressed, cut) = (0, 0);
                    }
                    Whose::InDoubt => in_doubt += u64::from(self.recovered.is_new(violation, log)),
                    Whose::Ours => {
                        if self.recovered.is_new(violation, log) {
                            self.tell_recovered(violation, wall_minus_boot);
                            recovered += 1;
                        }
                    }
                }
            }
            self.ledger.lose(Loss::LogSuppressed, suppressed);
            self.ledger.lose(Loss::LogCut, cut);
            self.ledger.lose(Loss::LogInDoubt, in_doubt);
            tracing::info!(recovered, in_doubt, suppressed, cut, "{path}: read since the agent before");
        }
        self.recovered.read(Instant::now());
        self.finish();
    }

    fn tell_recovered(&mut self, violation: &Violation<'_>, wall_minus_boot: u64) {
        let Who { mut subject, mut peer } = self.resolver.resolve(violation, wall_minus_boot, Instant::now());
        self.naming.name(&mut subject, peer.as_mut(), Instant::now());
        self.begin(violation.audit_id);
        self.ledger.identity().count(&subject);
        self.ledger.recover();
        (self.output)(&Event { violation, seen_by: SeenBy::LOG, subject: &subject, peer: peer.as_ref() });
    }

    /// Whose a record is that can be older than this agent: the kernel's audit thread can lag, and bring what the
    /// agent before has counted when its programs saw it.
    pub(super) fn whose(&self, stamp: Option<AuditId>) -> Whose {
        match (self.since, stamp) {
            (Some(since), Some(stamp)) => since.whose(stamp),
            _ => Whose::Ours,
        }
    }

    /// Notes that the violations with these stamps are about to be told to the output.
    pub(super) fn begin(&mut self, stamps: impl IntoIterator<Item = AuditId>) {
        let since = self.since;
        let ours = |stamp: &AuditId| since.is_none_or(|since| since.whose(*stamp) == Whose::Ours);
        self.note(|checkpoint| checkpoint.begin(stamps.into_iter().filter(ours)));
    }

    /// Notes that all which was begun has been told, but for what waits for eBPF's sighting.
    pub(super) fn finish(&mut self) {
        let waiting = self.merger.oldest_parked().and_then(|parked| audit_stamp(&parked.record));
        self.note(|checkpoint| checkpoint.finish(waiting));
    }

    fn note(&mut self, note: impl FnOnce(&mut Checkpoint) -> std::io::Result<()>) {
        let Some(checkpoint) = &mut self.checkpoint else { return };
        if let Err(error) = note(checkpoint) {
            self.ledger.state_failed(StateFailure::Checkpoint);
            tracing::warn!(%error, "cannot note what is counted: after a restart without pins, some may count twice");
            self.checkpoint = None;
        }
    }
}
