//! Events as they are kept: rendered only when somebody reads them, because mostly nobody does.

use std::io;

use bumpalo::Bump;

use super::told::{Marks, Told};
use crate::identity::unrecorded::Unrecorded;
use crate::identity::{Container, Identity, Pod};
use crate::merge::{Event, SeenBy};
use crate::record::Packed;

/// What a reader can be told.
#[derive(Debug)]
pub(super) enum Kept {
    /// An event.
    Event(KeptEvent),
    /// Denials without a record. They come as sums, once a second, so rendering each costs little.
    Unrecorded(Told),
}

/// All that the line of an event says.
#[derive(Debug)]
pub(super) struct KeptEvent {
    violation: Packed,
    seen_by: SeenBy,
    subject: Identity,
    peer: Option<Identity>,
}

impl Kept {
    /// Keeps `event`.
    pub(super) fn event(event: &Event<'_>) -> Self {
        let Event { violation, seen_by, subject, peer } = *event;
        let violation = Packed::of(violation);
        Self::Event(KeptEvent { violation, seen_by, subject: subject.clone(), peer: peer.cloned() })
    }

    /// Keeps denials without a record.
    pub(super) fn unrecorded(unrecorded: &Unrecorded<'_>) -> io::Result<Self> {
        Told::unrecorded(unrecorded).map(Self::Unrecorded)
    }

    /// Whether `passes` lets what it is filtered by pass.
    pub(super) fn passes(&self, passes: impl FnOnce(&Marks) -> bool) -> bool {
        match self {
            Self::Event(kept) => kept.with(|event| passes(&Marks::of(event))),
            Self::Unrecorded(told) => passes(told.marks()),
        }
    }

    /// The line of an answer, without the newline.
    pub(super) fn line(&self) -> io::Result<Vec<u8>> {
        match self {
            Self::Event(kept) => Ok(kept.with(Told::event)?.line()),
            Self::Unrecorded(told) => Ok(told.line()),
        }
    }

    /// How much memory it takes.
    pub(super) fn size(&self) -> usize {
        let beside = match self {
            Self::Event(kept) => kept.beside(),
            Self::Unrecorded(told) => told.beside(),
        };
        size_of::<Self>() + beside
    }
}

impl KeptEvent {
    fn with<T>(&self, read: impl FnOnce(&Event<'_>) -> T) -> T {
        let Self { violation, seen_by, subject, peer } = self;
        let arena = Bump::new();
        let violation = violation.unpack(&arena);
        read(&Event { violation: &violation, seen_by: *seen_by, subject, peer: peer.as_ref() })
    }

    /// The memory of what it points to. A container that runs is shared with the index of them; one that is
    /// gone is not, so each counts as if it was kept for this event alone.
    fn beside(&self) -> usize {
        let Self { violation, seen_by: _, subject, peer } = self;
        violation.beside() + [Some(subject), peer.as_ref()].into_iter().flatten().map(beside).sum::<usize>()
    }
}

fn beside(identity: &Identity) -> usize {
    let Some(container) = identity.container.as_deref() else { return 0 };
    let Container { id, name, image, pod } = container;
    let pod = pod.as_deref().map_or(0, |pod| {
        let Pod { uid, namespace, name, workload_kind, workload } = pod;
        size_of::<Pod>()
            + [uid, namespace, name, workload_kind, workload].map(|text| text.len()).iter().sum::<usize>()
    });
    size_of::<Container>() + id.len() + name.len() + image.len() + pod
}
