//! One line of a log, or one message of the audit socket, to a [`Violation`]: framing, fields, trust.

use bstr::ByteSlice as _;
use bumpalo::Bump;
use bumpalo::collections::Vec as ArenaVec;

use super::framing::{Framed, Kind, Writer, unframe};
use super::parse::{ParseError, Reason, parse_body, split_stamp};
use super::sender::{Sender, Senders};
use super::violation::{Origin, Violation};

/// Reads one line in any framing; an entry of the journal's export format counts as one.
pub fn parse_line<'a>(
    line: &'a [u8],
    origin: Origin,
    senders: &Senders,
    arena: &'a Bump,
) -> Result<&'a Violation<'a>, ParseError> {
    read(&unframe(line, arena)?, origin, senders, arena)
}

/// Reads one message of the audit netlink socket: its type and its payload.
pub fn parse_message<'a>(
    message_type: u16,
    payload: &'a [u8],
    origin: Origin,
    senders: &Senders,
    arena: &'a Bump,
) -> Result<&'a Violation<'a>, ParseError> {
    let kind = Kind::from_number(message_type);
    if !kind.reports() {
        return Err(ParseError::NotAppArmor);
    }
    let (stamp, body) = split_stamp(payload).ok_or(ParseError::Malformed(Reason::NoStamp))?;
    let framed = Framed { kind, stamp: Some(stamp), time: None, node: None, writer: Writer::Kernel, body };
    read(&framed, origin, senders, arena)
}

/// Reads a record out of its framing.
pub(crate) fn read<'a>(
    framed: &Framed<'a>,
    origin: Origin,
    senders: &Senders,
    arena: &'a Bump,
) -> Result<&'a Violation<'a>, ParseError> {
    let (violation, sender) = match framed.kind {
        Kind::Avc => (parse_body(framed.body, None, origin, arena)?, None),
        Kind::Old(verdict) => (old(framed.body, verdict, origin, arena)?, None),
        Kind::UserAvc => nested(framed.body, origin, arena)?,
        _ => return Err(ParseError::NotAppArmor),
    };
    let sender = match framed.writer {
        Writer::Kernel => sender,
        Writer::Program { name, pid, uid } => Some(Sender { program: Some(name), pid, uid, subject: None }),
        Writer::Forger => return Err(ParseError::Untrusted),
    };
    if let Some(sender) = sender {
        if !senders.believe(&sender, violation.class) {
            return Err(ParseError::Untrusted);
        }
        violation.sender = Some(arena.alloc(sender));
    }
    violation.audit_id = framed.stamp;
    violation.time = framed.stamp.and_then(|stamp| stamp.millis.checked_mul(1_000_000)).or(framed.time);
    violation.node = framed.node;
    Ok(violation)
}

fn old<'a>(
    body: &'a [u8],
    type_says: Option<super::Verdict>,
    origin: Origin,
    arena: &'a Bump,
) -> Result<&'a mut Violation<'a>, ParseError> {
    const SENTENCES: [&[u8]; 4] = [b"REJECTING", b"PERMITTING", b"AUDITING", b"LOGPROF-HINT"];
    let body = body.trim_ascii_start();
    if SENTENCES.iter().any(|start| body.starts_with(start)) {
        return Err(ParseError::Malformed(Reason::Sentence));
    }
    parse_body(body, type_says, origin, arena)
}

/// Reads `pid=363 uid=102 auid=4294967295 ses=4294967295 subj=unconfined msg='apparmor="DENIED" ...'`: before
/// `msg=` the kernel says who sent it, in it the sender says what it likes.
fn nested<'a>(
    body: &'a [u8],
    origin: Origin,
    arena: &'a Bump,
) -> Result<(&'a mut Violation<'a>, Option<Sender<'a>>), ParseError> {
    let (outer, inner) = body.split_once_str(b" msg='").ok_or(ParseError::NotAppArmor)?;
    let inner = inner.rsplit_once_str(b"'").map_or(inner, |(inner, _)| inner);
    let violation = parse_body(inner, None, origin, arena)?;
    // What libaudit adds about the sender is told as the sender.
    let program = violation.others.iter().find(|(key, _)| *key == b"exe").map(|&(_, value)| value);
    let others = violation.others.iter().copied().filter(|(key, _)| !matches!(*key, b"exe" | b"sauid"));
    violation.others = ArenaVec::from_iter_in(others, arena).into_bump_slice();
    let sender = Sender { program, ..Sender::read(outer, arena) };
    Ok((violation, Some(sender)))
}
