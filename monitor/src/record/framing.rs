//! Where a record begins and ends in a line: what auditd, the kernel's log, syslog and the journal put
//! around it. Told anew for each line, because files that mix them are normal.

mod head;
mod journal;

use bumpalo::Bump;

pub(crate) use self::journal::export_length;
use super::lanes::split_once;
use super::parse::{ParseError, Reason, split_stamp};
use super::violation::{AuditId, Verdict};

/// What kind of audit record it is, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// 1400, AVC: the kernel reports an access. All of AppArmor's own records are of this kind.
    Avc,
    /// 1107, USER_AVC: a user process reports one; a bus daemon does.
    UserAvc,
    /// 1500 to 1507, APPARMOR and APPARMOR_*: what kernels before 2.6.35 wrote. All but the first carry the
    /// verdict in the type and not in the record.
    Old(Option<Verdict>),
    /// 1300, SYSCALL: the system call in which the other records of its event were written.
    Syscall,
    /// 1302, PATH.
    Path,
    /// 1307, CWD.
    Cwd,
    /// 1327, PROCTITLE: the command line.
    Proctitle,
    /// Any other.
    Other,
}

impl Kind {
    /// The kind with this number (include/uapi/linux/audit.h; 1500 and up: libaudit).
    pub const fn from_number(number: u16) -> Self {
        match number {
            1400 => Self::Avc,
            1107 => Self::UserAvc,
            1500 => Self::Old(None),
            1501 => Self::Old(Some(Verdict::Audit)),
            1502 => Self::Old(Some(Verdict::Allowed)),
            1503 => Self::Old(Some(Verdict::Denied)),
            1504 => Self::Old(Some(Verdict::Hint)),
            1505 => Self::Old(Some(Verdict::Status)),
            1506 => Self::Old(Some(Verdict::Error)),
            1507 => Self::Old(Some(Verdict::Killed)),
            1300 => Self::Syscall,
            1302 => Self::Path,
            1307 => Self::Cwd,
            1327 => Self::Proctitle,
            _ => Self::Other,
        }
    }

    /// The kind with this name: `AVC`, a number, or `UNKNOWN[1400]` as an auditd writes that does not know it.
    fn from_name(name: &[u8]) -> Self {
        let number = match name {
            b"AVC" => 1400,
            b"USER_AVC" => 1107,
            b"APPARMOR" => 1500,
            b"APPARMOR_AUDIT" => 1501,
            b"APPARMOR_ALLOWED" => 1502,
            b"APPARMOR_DENIED" => 1503,
            b"APPARMOR_HINT" => 1504,
            b"APPARMOR_STATUS" => 1505,
            b"APPARMOR_ERROR" => 1506,
            b"APPARMOR_KILL" => 1507,
            b"SYSCALL" => 1300,
            b"PATH" => 1302,
            b"CWD" => 1307,
            b"PROCTITLE" => 1327,
            _ => {
                let inner = name.strip_prefix(b"UNKNOWN[").and_then(|rest| rest.strip_suffix(b"]"));
                super::parse::number(inner.unwrap_or(name)).and_then(|n| u16::try_from(n).ok()).unwrap_or(0)
            }
        };
        Self::from_number(number)
    }

    /// Whether such a record can be AppArmor's.
    pub(crate) const fn reports(self) -> bool {
        matches!(self, Self::Avc | Self::UserAvc | Self::Old(_))
    }
}

/// Who wrote a record, by the word of its framing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writer<'a> {
    /// The kernel or the audit daemon; or the framing does not say.
    Kernel,
    /// A user process.
    Program {
        name: &'a [u8],
        /// By the journal's word, which a process cannot choose.
        pid: Option<u32>,
        uid: Option<u32>,
    },
    /// A user process that writes where only the kernel should: to /dev/kmsg.
    Forger,
}

/// A record out of its framing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Framed<'a> {
    pub(crate) kind: Kind,
    pub(crate) stamp: Option<AuditId>,
    /// When it was written, nanoseconds since the epoch, where no stamp tells.
    pub(crate) time: Option<u64>,
    /// The machine that the framing names.
    pub(crate) node: Option<&'a [u8]>,
    pub(crate) writer: Writer<'a>,
    /// The fields.
    pub(crate) body: &'a [u8],
}

/// Takes a line out of its framing.
pub(crate) fn unframe<'a>(line: &'a [u8], arena: &'a Bump) -> Result<Framed<'a>, ParseError> {
    // What most lines are is tried first: auditd's file and the netlink payload have no head.
    if line.starts_with(b"type=") || line.starts_with(b"node=") || line.starts_with(b"audit(") {
        return message(line);
    }
    if line.starts_with(b"{") {
        return journal::unframe(line, arena);
    }
    if line.starts_with(b"__CURSOR=") {
        return journal::unframe_export(line, arena);
    }
    let head = head::split(line, arena).ok_or(ParseError::NotAppArmor)?;
    let framed = message(head.message)?;
    Ok(Framed { node: framed.node.or(head.node), writer: head.writer, ..framed })
}

/// Reads what follows a head, up to the fields.
fn message(text: &[u8]) -> Result<Framed<'_>, ParseError> {
    // The kernel's own prefix for what it prints itself.
    let text = text.strip_prefix(b"audit: ").unwrap_or(text);
    let (node, text) = match text.strip_prefix(b"node=").and_then(|rest| split_once(rest, b' ')) {
        Some((node, rest)) => (Some(node), rest),
        None => (None, text),
    };
    let framed = |kind, stamp, body| Framed { kind, stamp, time: None, node, writer: Writer::Kernel, body };
    if let Some(rest) = text.strip_prefix(b"type=") {
        let (name, rest) = split_once(rest, b' ').ok_or(ParseError::NotAppArmor)?;
        let kind = Kind::from_name(name);
        return match split_stamp(rest.strip_prefix(b"msg=").unwrap_or(rest)) {
            Some((stamp, body)) => {
                let (kind, body) = inner_type(body).unwrap_or((kind, body));
                Ok(framed(kind, Some(stamp), body))
            }
            None if kind.reports() => Err(ParseError::Malformed(Reason::NoStamp)),
            None => Err(ParseError::NotAppArmor),
        };
    }
    if text.starts_with(b"audit(") {
        let (stamp, body) = split_stamp(text).ok_or(ParseError::Malformed(Reason::NoStamp))?;
        let (kind, body) = inner_type(body).unwrap_or((Kind::Avc, body));
        return Ok(framed(kind, Some(stamp), body));
    }
    // A bus daemon on a machine without auditing writes to syslog what it would send to the audit system.
    if text.starts_with(b"apparmor=\"") {
        return Ok(framed(Kind::Avc, None, text));
    }
    // The journal's text form of an audit record: the type, then the fields, and no stamp.
    if text.first().is_some_and(u8::is_ascii_uppercase)
        && let Some((name, rest)) = split_once(text, b' ')
        && let kind @ (Kind::Avc | Kind::UserAvc | Kind::Old(_)) = Kind::from_name(name)
    {
        return Ok(framed(kind, None, rest));
    }
    Err(ParseError::NotAppArmor)
}

/// `type=1503 ` behind the stamp, as 2.6.24 wrote it.
fn inner_type(body: &[u8]) -> Option<(Kind, &[u8])> {
    let (number, rest) = split_once(body.trim_ascii_start().strip_prefix(b"type=")?, b' ')?;
    match Kind::from_name(number) {
        kind @ Kind::Old(_) => Some((kind, rest)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
