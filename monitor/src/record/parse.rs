//! From the text of a record to a [`Violation`], in one pass.

use bumpalo::Bump;
use bumpalo::collections::Vec as ArenaVec;
use thiserror::Error;

use super::class::{changes_policy, classify};
use super::fields::{Field, Scanner, Value, Word, word};
use super::hex;
use super::violation::{AuditId, Class, Origin, Verdict, Violation};

/// Why a text is not a violation.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum ParseError {
    /// A record of another kind: SELinux, a login, an audit rule. Nothing is wrong with it.
    #[error("not an AppArmor record")]
    NotAppArmor,
    /// An AppArmor record from a process that is not believed: from one that is not among the
    /// [`Senders`](super::Senders), or out of place, as a user process's words in the kernel's log.
    #[error("AppArmor record from a process that is not believed")]
    Untrusted,
    /// An AppArmor record that cannot be used.
    #[error("malformed AppArmor record: {0}")]
    Malformed(Reason),
}

/// What is wrong with a malformed record.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Reason {
    /// It does not begin with `audit(seconds.millis:serial):`.
    #[error("it does not begin with audit(seconds.millis:serial):")]
    NoStamp,
    /// It says APPARMOR and has no fields: kernels before 2.6.24 wrote sentences.
    #[error("it is a sentence, as kernels before 2.6.24 wrote them")]
    Sentence,
    /// A line without an end in sight.
    #[error("it is longer than a record can be")]
    TooLong,
    /// It should be a journal entry.
    #[error("it is not the JSON object that it begins as")]
    NotJson,
    /// It has an operation and no verdict.
    #[error("it has no apparmor= (is /sys/module/apparmor/parameters/audit_header off?)")]
    NoVerdict,
    /// Its verdict is none that AppArmor gives.
    #[error("its apparmor= is none of AUDIT, ALLOWED, DENIED, HINT, STATUS, ERROR, KILLED")]
    UnknownVerdict,
}

/// How many fields without a place of their own one violation keeps. The most that a kernel or a bus daemon
/// writes is a dozen; a forged line can hold thousands.
const MAX_OTHERS: usize = 48;

/// Takes `audit(1795450134.756:4):` off the front: the stamp and what follows it.
pub(crate) fn split_stamp(text: &[u8]) -> Option<(AuditId, &[u8])> {
    let rest = text.strip_prefix(b"audit(")?;
    let (seconds, rest) = split_number(rest)?;
    let (millis, rest) = split_number(rest.strip_prefix(b".")?)?;
    let (serial, rest) = split_number(rest.strip_prefix(b":")?)?;
    let rest = rest.strip_prefix(b"):")?;
    if millis > 999 {
        return None;
    }
    let millis = seconds.checked_mul(1000)?.checked_add(millis)?;
    Some((AuditId { millis, serial }, rest))
}

/// Takes a decimal number off the front.
#[inline]
pub(crate) fn split_number(text: &[u8]) -> Option<(u64, &[u8])> {
    let Some((eight, rest)) = text.split_first_chunk() else {
        return split_digits(0, text, text);
    };
    match leading_digits(*eight) {
        (0, _) => None,
        (8, value) => split_digits(value, rest, text),
        (digits, value) => Some((value, text.get(digits..)?)),
    }
}

/// Takes the digits off the front of `rest`, whose number begins in `text` and is `value` up to there.
fn split_digits<'a>(mut value: u64, mut rest: &'a [u8], text: &'a [u8]) -> Option<(u64, &'a [u8])> {
    while let [digit @ b'0'..=b'9', tail @ ..] = rest {
        value = value.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
        rest = tail;
    }
    match text.len() - rest.len() {
        0 => None,
        // 19 digits always fit.
        1..=19 => Some((value, rest)),
        digits => Some((std::str::from_utf8(text.get(..digits)?).ok()?.parse().ok()?, rest)),
    }
}

/// How many digits eight bytes begin with, and the number that they make: pairs, fours and all eight are summed
/// side by side in one word.
fn leading_digits(text: [u8; 8]) -> (usize, u64) {
    const EACH: u64 = u64::MAX / 255;
    const HIGH: u64 = EACH * 0x80;
    let digits = u64::from_le_bytes(text) ^ (EACH * 0x30);
    // What is more than 9 reaches the high bit of its byte when 0x76 is added, or has it set.
    let others = (((digits & !HIGH) + EACH * 0x76) | digits) & HIGH;
    let length = others.trailing_zeros() / u8::BITS;
    // With zeros in front for those that are none.
    let digits = digits.checked_shl(u64::BITS - length * u8::BITS).unwrap_or(0);
    let pairs = (digits * 10 + (digits >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs * 100 + (pairs >> 16)) & 0x0000_ffff_0000_ffff;
    (length as usize, (fours * 10_000 + (fours >> 32)) & 0xffff_ffff)
}

/// A decimal number and nothing else; None when it is too large.
pub(crate) fn number(text: &[u8]) -> Option<u64> {
    match split_number(text)? {
        (value, []) => Some(value),
        _ => None,
    }
}

/// Reads the fields of a record. `type_says` is the verdict that an old record type carries instead of
/// `apparmor=` (`type=APPARMOR_DENIED`).
pub(crate) fn parse_body<'a>(
    body: &'a [u8],
    type_says: Option<Verdict>,
    origin: Origin,
    arena: &'a Bump,
) -> Result<&'a mut Violation<'a>, ParseError> {
    let mut reader = Reader {
        // Made where it stays: it is too large to be handed from function to function.
        violation: arena.alloc_with(|| Violation::new(Verdict::Error, Class::Other, origin, b"")),
        verdict: None,
        operation: None,
        class: None,
        others: ArenaVec::new_in(arena),
        arena,
    };
    let mut scanner = Scanner::new(trim_end(body));
    for field in scanner.by_ref() {
        reader.take(field);
    }
    reader.violation.truncated |= scanner.cut;
    reader.finish(type_says)
}

/// Without what a socket, a C string or a line may leave at the end.
fn trim_end(mut text: &[u8]) -> &[u8] {
    while let [rest @ .., b'\0' | b'\n' | b'\r' | b' '] = text {
        text = rest;
    }
    text
}

/// A violation that is being read. Of a key that comes twice the first counts: what a task can smuggle into
/// a record comes after what the kernel wrote.
struct Reader<'a> {
    violation: &'a mut Violation<'a>,
    verdict: Option<&'a [u8]>,
    operation: Option<&'a [u8]>,
    class: Option<&'a [u8]>,
    others: ArenaVec<'a, (&'a [u8], &'a [u8])>,
    arena: &'a Bump,
}

/// The keys that have a field of their own, as [`word`]s.
mod keys {
    use super::{Word, word};

    macro_rules! words {
        ($($name:ident = $key:literal;)*) => { $(pub(super) const $name: Word = word($key);)* };
    }

    words! {
        APPARMOR = b"apparmor";
        CAPABILITY = b"capability";
        CAPNAME = b"capname";
        CLASS = b"class";
        COMM = b"comm";
        DENIED = b"denied";
        DENIED_MASK = b"denied_mask";
        ERROR = b"error";
        EXE = b"exe";
        FADDR = b"faddr";
        FAMILY = b"family";
        FLAGS = b"flags";
        FPORT = b"fport";
        FSTYPE = b"fstype";
        FSUID = b"fsuid";
        INFO = b"info";
        LABEL = b"label";
        LADDR = b"laddr";
        LPORT = b"lport";
        NAME = b"name";
        NAME2 = b"name2";
        NAMESPACE = b"namespace";
        OCOMM = b"ocomm";
        OPERATION = b"operation";
        OPTIONS = b"options";
        OUID = b"ouid";
        PATH = b"path";
        PEER = b"peer";
        PEER_LABEL = b"peer_label";
        PEER_PROFILE = b"peer_profile";
        PID = b"pid";
        PROFILE = b"profile";
        PROTOCOL = b"protocol";
        REQUESTED = b"requested";
        REQUESTED_MASK = b"requested_mask";
        RLIMIT = b"rlimit";
        SIGNAL = b"signal";
        SOCK_TYPE = b"sock_type";
        SRCNAME = b"srcname";
        TARGET = b"target";
        TCONTEXT = b"tcontext";
        TRANS = b"trans";
        VALUE = b"value";
    }
}

impl<'a> Reader<'a> {
    fn take(&mut self, field: Field<'a>) {
        let arena = self.arena;
        let v = &mut *self.violation;
        let (text, quoted) = match field.value {
            Value::Quoted(text) => (text, true),
            Value::Cut(text) => {
                v.truncated = true;
                (text, true)
            }
            // How a missing value is printed by kernels that do not leave such keys out, and by libaudit.
            Value::Bare(b"(null)" | b"?") => return,
            Value::Bare(text) => (text, false),
        };
        // One of the strings that the kernel writes in hex when they hold odd bytes.
        let string = || {
            if quoted { text } else { hex::decode(text, arena).unwrap_or(text) }
        };
        let taken = match field.word {
            keys::APPARMOR => first(&mut self.verdict, text),
            keys::OPERATION => first(&mut self.operation, text),
            keys::CLASS => first(&mut self.class, text),
            keys::INFO => first(&mut v.info, text),
            // A bus daemon says whom it is about by label alone; so does the kernel when that is no profile.
            keys::PROFILE | keys::LABEL => first(&mut v.profile, string()),
            keys::NAMESPACE => first(&mut v.namespace, string()),
            keys::NAME => first(&mut v.name, string()),
            keys::TARGET | keys::NAME2 => first(&mut v.target, string()),
            keys::PEER | keys::PEER_LABEL | keys::PEER_PROFILE | keys::TCONTEXT => {
                first(&mut v.peer, string())
            }
            keys::COMM => first(&mut v.comm, string()),
            keys::PID => first_number(&mut v.pid, text),
            keys::ERROR => first_signed(&mut v.error, text),
            keys::REQUESTED_MASK | keys::REQUESTED => first(&mut v.requested_mask, text),
            keys::DENIED_MASK | keys::DENIED => first(&mut v.denied_mask, text),
            keys::FSUID => first_uid(&mut v.fsuid, text),
            keys::OUID => first_uid(&mut v.ouid, text),
            keys::CAPABILITY => first_number(&mut v.capability, text),
            keys::CAPNAME => first(&mut v.capname, string()),
            keys::FAMILY => first(&mut v.family, text),
            keys::SOCK_TYPE => first(&mut v.sock_type, text),
            keys::PROTOCOL => first_signed(&mut v.protocol, text),
            keys::LADDR => first(&mut v.laddr, text),
            keys::LPORT => first_number(&mut v.lport, text),
            keys::FADDR => first(&mut v.faddr, text),
            keys::FPORT => first_number(&mut v.fport, text),
            keys::SIGNAL => first(&mut v.signal, text),
            keys::FSTYPE => first(&mut v.fstype, string()),
            keys::SRCNAME => first(&mut v.srcname, string()),
            keys::FLAGS => first(&mut v.flags, text),
            keys::RLIMIT => first(&mut v.rlimit, text),
            keys::VALUE => first_number(&mut v.value, text),
            keys::TRANS | keys::OPTIONS | keys::OCOMM | keys::EXE | keys::PATH => {
                return self.keep(field.key, string());
            }
            // What auditd adds has such keys (`FSUID="otis"`); its separator is lost when a log is copied about.
            _ if field.key.first().is_some_and(u8::is_ascii_uppercase) => true,
            _ => false,
        };
        if !taken {
            self.keep(field.key, text);
        }
    }

    /// Keeps a field that has no place of its own, or whose value does not fit the place it has.
    fn keep(&mut self, key: &'a [u8], value: &'a [u8]) {
        if self.others.iter().any(|&(known, _)| known == key) {
            return;
        }
        if self.others.len() < MAX_OTHERS {
            self.others.push((key, value));
        } else {
            self.violation.truncated = true;
        }
    }

    fn finish(self, type_says: Option<Verdict>) -> Result<&'a mut Violation<'a>, ParseError> {
        let Self { violation, verdict, operation, class, others, arena: _ } = self;
        violation.verdict = match (verdict, type_says) {
            (Some(word), _) => verdict_of(word).ok_or(ParseError::Malformed(Reason::UnknownVerdict))?,
            (None, Some(verdict)) => verdict,
            (None, None) if operation.is_some() => return Err(ParseError::Malformed(Reason::NoVerdict)),
            (None, None) => return Err(ParseError::NotAppArmor),
        };
        violation.operation = operation.unwrap_or_default();
        violation.class = classify(class, violation);
        if violation.class == Class::Capability && violation.capname.is_none() {
            // Before 2.6.35 a capability was named where files are.
            violation.capname = violation.name.take();
        }
        violation.others = others.into_bump_slice();
        let change = changes_policy(violation.operation);
        if violation.verdict == Verdict::Status && change && refused(violation.error) {
            violation.verdict = Verdict::Denied;
        }
        Ok(violation)
    }
}

/// Whether a status with this error is a policy change that AppArmor refused (`aa_may_manage_policy`,
/// security/apparmor/policy.c: EACCES; `replacement_allowed`: EPERM) and not one that failed by itself, as a
/// profile that does not unpack does.
fn refused(error: Option<i32>) -> bool {
    const EPERM: i32 = -1;
    const EACCES: i32 = -13;
    matches!(error, Some(EPERM | EACCES))
}

fn verdict_of(word: &[u8]) -> Option<Verdict> {
    let verdict = match word {
        b"DENIED" => Verdict::Denied,
        b"ALLOWED" => Verdict::Allowed,
        b"AUDIT" => Verdict::Audit,
        b"STATUS" => Verdict::Status,
        b"KILLED" => Verdict::Killed,
        b"HINT" => Verdict::Hint,
        b"ERROR" => Verdict::Error,
        _ => return None,
    };
    Some(verdict)
}

/// A value of a key that the kernel may write in hex.
pub(crate) fn text_of<'a>(value: Value<'a>, arena: &'a Bump) -> &'a [u8] {
    match value {
        Value::Quoted(text) | Value::Cut(text) => text,
        Value::Bare(text) => hex::decode(text, arena).unwrap_or(text),
    }
}

/// Fills `slot` unless it is filled. The value was understood in either case, hence true.
fn first<T>(slot: &mut Option<T>, value: T) -> bool {
    if slot.is_none() {
        *slot = Some(value);
    }
    true
}

/// Fills `slot` with a number; false when `text` is none that fits.
fn first_number<T: TryFrom<u64>>(slot: &mut Option<T>, text: &[u8]) -> bool {
    number(text).and_then(|value| T::try_from(value).ok()).is_some_and(|value| first(slot, value))
}

/// The same for a user id. The kernel prints the one that is not mapped, 4294967295, as -1.
fn first_uid(slot: &mut Option<u32>, text: &[u8]) -> bool {
    if text == b"-1" { first(slot, u32::MAX) } else { first_number(slot, text) }
}

/// The same for a number that may be negative.
fn first_signed(slot: &mut Option<i32>, text: &[u8]) -> bool {
    let Some(magnitude) = text.strip_prefix(b"-") else {
        return first_number(slot, text);
    };
    let value = number(magnitude).and_then(|value| i64::try_from(value).ok());
    value.and_then(|value| i32::try_from(-value).ok()).is_some_and(|value| first(slot, value))
}

#[cfg(test)]
mod tests;
