//! A violation in memory of its own, for what outlives the record that it was read from.

use bumpalo::Bump;
use bumpalo::collections::Vec as ArenaVec;
use bytemuck::Pod;

use super::companions::Companions;
use super::sender::Sender;
use super::violation::{AuditId, Class, Origin, Task, Verdict, Violation};

/// In the place of a length: there is no value.
const NONE: u8 = 255;
/// In the place of a length: it follows in eight bytes.
const LONG: u8 = 254;
/// Most records have room in so much; one that has not costs an allocation more.
const USUAL: usize = 384;

/// A [`Violation`] that borrows nothing: a byte for each value that it may have, and those that it has.
#[derive(Debug)]
pub(crate) struct Packed {
    verdict: Verdict,
    class: Class,
    origin: Origin,
    truncated: bool,
    audit_id: Option<AuditId>,
    time: Option<u64>,
    task: Option<Task>,
    /// All others, in the order in which [`Self::of`] writes and [`Self::unpack`] reads them.
    values: Box<[u8]>,
}

impl Packed {
    /// Keeps all of `violation`.
    pub(crate) fn of(violation: &Violation<'_>) -> Self {
        // In full, so that a field that is added cannot be forgotten here.
        let Violation {
            verdict,
            class,
            origin,
            audit_id,
            time,
            operation,
            profile,
            namespace,
            name,
            target,
            peer,
            comm,
            pid,
            info,
            error,
            requested_mask,
            denied_mask,
            fsuid,
            ouid,
            capability,
            capname,
            family,
            sock_type,
            protocol,
            laddr,
            lport,
            faddr,
            fport,
            signal,
            fstype,
            srcname,
            flags,
            rlimit,
            value,
            others,
            truncated,
            task,
            sender,
            companions,
            node,
        } = violation;
        let mut out = Writer(Vec::with_capacity(USUAL));
        out.bytes(Some(operation));
        for bytes in [profile, namespace, name, target, peer, comm, info, requested_mask, denied_mask] {
            out.bytes(*bytes);
        }
        for bytes in [capname, family, sock_type, laddr, faddr, signal, fstype, srcname, flags, rlimit, node]
        {
            out.bytes(*bytes);
        }
        for number in [pid, fsuid, ouid, capability] {
            out.number(*number);
        }
        for number in [error, protocol] {
            out.number(*number);
        }
        for number in [lport, fport] {
            out.number(*number);
        }
        out.number(*value);
        out.sender(*sender);
        out.companions(*companions);
        for (key, value) in *others {
            out.bytes(Some(key));
            out.bytes(Some(value));
        }
        Self {
            verdict: *verdict,
            class: *class,
            origin: *origin,
            truncated: *truncated,
            audit_id: *audit_id,
            time: *time,
            task: *task,
            values: out.0.into_boxed_slice(),
        }
    }

    /// The violation, as it was.
    pub(crate) fn unpack<'a>(&'a self, arena: &'a Bump) -> Violation<'a> {
        let mut values = Reader(&self.values);
        let operation = values.bytes().unwrap_or_default();
        let mut v = Violation::new(self.verdict, self.class, self.origin, operation);
        v.truncated = self.truncated;
        v.audit_id = self.audit_id;
        v.time = self.time;
        v.task = self.task;
        for bytes in [
            &mut v.profile,
            &mut v.namespace,
            &mut v.name,
            &mut v.target,
            &mut v.peer,
            &mut v.comm,
            &mut v.info,
            &mut v.requested_mask,
            &mut v.denied_mask,
            &mut v.capname,
            &mut v.family,
            &mut v.sock_type,
            &mut v.laddr,
            &mut v.faddr,
            &mut v.signal,
            &mut v.fstype,
            &mut v.srcname,
            &mut v.flags,
            &mut v.rlimit,
            &mut v.node,
        ] {
            *bytes = values.bytes();
        }
        for number in [&mut v.pid, &mut v.fsuid, &mut v.ouid, &mut v.capability] {
            *number = values.number();
        }
        for number in [&mut v.error, &mut v.protocol] {
            *number = values.number();
        }
        for number in [&mut v.lport, &mut v.fport] {
            *number = values.number();
        }
        v.value = values.number();
        v.sender = values.sender().map(|sender| &*arena.alloc(sender));
        v.companions = values.companions().map(|companions| &*arena.alloc(companions));
        let mut others = ArenaVec::new_in(arena);
        while let Some(pair) = values.bytes().zip(values.bytes()) {
            others.push(pair);
        }
        v.others = others.into_bump_slice();
        v
    }

    /// The memory of what it points to.
    pub(crate) fn beside(&self) -> usize {
        self.values.len()
    }
}

struct Writer(Vec<u8>);

impl Writer {
    fn bytes(&mut self, value: Option<&[u8]>) {
        let Some(value) = value else { return self.0.push(NONE) };
        match u8::try_from(value.len()) {
            Ok(length) if length < LONG => self.0.push(length),
            _ => {
                self.0.push(LONG);
                self.0.extend_from_slice(&value.len().to_ne_bytes());
            }
        }
        self.0.extend_from_slice(value);
    }

    fn number<T: Pod>(&mut self, value: Option<T>) {
        self.bytes(value.as_ref().map(bytemuck::bytes_of));
    }

    fn sender(&mut self, sender: Option<&Sender<'_>>) {
        self.number(sender.map(|_| 1_u8));
        if let Some(Sender { program, pid, uid, subject }) = sender {
            self.bytes(*program);
            self.number(*pid);
            self.number(*uid);
            self.bytes(*subject);
        }
    }

    fn companions(&mut self, companions: Option<&Companions<'_>>) {
        self.number(companions.map(|_| 1_u8));
        if let Some(Companions { exe, syscall, exit, cwd, proctitle }) = companions {
            self.bytes(*exe);
            self.number(*syscall);
            self.number(*exit);
            self.bytes(*cwd);
            self.bytes(*proctitle);
        }
    }
}

/// Reads what a [`Writer`] wrote, so nothing is cut short but at the end.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// None where there is no value, and at the end.
    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = match self.0.split_off_first()? {
            &NONE => return None,
            &LONG => usize::from_ne_bytes(*self.0.split_off(..size_of::<usize>())?.as_array()?),
            length => usize::from(*length),
        };
        self.0.split_off(..length)
    }

    fn number<T: Pod>(&mut self) -> Option<T> {
        self.bytes().map(bytemuck::pod_read_unaligned)
    }

    fn sender(&mut self) -> Option<Sender<'a>> {
        self.number::<u8>()?;
        Some(Sender { program: self.bytes(), pid: self.number(), uid: self.number(), subject: self.bytes() })
    }

    fn companions(&mut self) -> Option<Companions<'a>> {
        self.number::<u8>()?;
        Some(Companions {
            exe: self.bytes(),
            syscall: self.number(),
            exit: self.number(),
            cwd: self.bytes(),
            proctitle: self.bytes(),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::violation::Target;
    use super::super::{Log, Senders};
    use super::*;

    fn check(violation: &Violation<'_>) {
        let (packed, arena) = (Packed::of(violation), Bump::new());
        assert_eq!(&packed.unpack(&arena), violation);
    }

    #[test]
    fn recorded_violations_are_kept_as_they_are() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/records");
        let mut kept = 0;
        for file in std::fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "log") {
                let mut each = |_: &[u8], result: Result<&Violation<'_>, _>| {
                    if let Ok(violation) = result {
                        kept += 1;
                        check(violation);
                    }
                };
                let mut log = Log::new(Origin::File, Senders::by_program());
                log.feed(&std::fs::read(path).unwrap(), &mut each);
                log.finish(&mut each);
            }
        }
        assert!(kept > 100, "the corpus is there: {kept}");
    }

    proptest! {
        /// Each value is there or not, of any length around those where another form of it begins.
        #[test]
        fn any_violation_is_kept_as_it_is(
            texts in prop::collection::vec(prop::option::of(prop::collection::vec(any::<u8>(), 0..300)), 32),
            numbers in prop::collection::vec(prop::option::of(any::<u64>()), 16),
        ) {
            let text = |at: usize| texts[at].as_deref();
            let number = |at: usize| numbers[at];
            let short = |at: usize| number(at).map(|number| number as u32);
            let signed = |at: usize| number(at).map(|number| number as i32);
            let port = |at: usize| number(at).map(|number| number as u16);
            let others: Vec<_> = (20..26).filter_map(|at| text(at).zip(text(at + 1))).collect();
            let sender = Sender { program: text(26), pid: short(9), uid: short(10), subject: text(27) };
            let companions = Companions {
                exe: text(28),
                syscall: short(11),
                exit: number(12).map(u64::cast_signed),
                cwd: text(29),
                proctitle: text(30),
            };
            let target = Target { pid: 1, cgroup_id: 2, start_boottime: 3 };
            check(&Violation {
                verdict: Verdict::Killed,
                class: Class::Dbus,
                origin: Origin::Kmsg,
                audit_id: number(0).map(|millis| AuditId { millis, serial: 7 }),
                time: number(1),
                operation: text(31).unwrap_or_default(),
                profile: text(0),
                namespace: text(1),
                name: text(2),
                target: text(3),
                peer: text(4),
                comm: text(5),
                pid: short(2),
                info: text(6),
                error: signed(3),
                requested_mask: text(7),
                denied_mask: text(8),
                fsuid: short(4),
                ouid: short(5),
                capability: short(6),
                capname: text(9),
                family: text(10),
                sock_type: text(11),
                protocol: signed(7),
                laddr: text(12),
                lport: port(8),
                faddr: text(13),
                fport: port(9),
                signal: text(14),
                fstype: text(15),
                srcname: text(16),
                flags: text(17),
                rlimit: text(18),
                value: number(13),
                others: &others,
                truncated: number(14).is_some(),
                task: number(15).map(|id| Task { cgroup_id: id, tid: 4, start_boottime: 5, target: Some(target) }),
                sender: number(14).map(|_| &sender),
                companions: number(13).map(|_| &companions),
                node: text(19),
            });
        }
    }
}
