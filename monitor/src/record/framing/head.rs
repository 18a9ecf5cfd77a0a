//! What stands before the message in a line of the kernel's log or of syslog: times, the machine, the
//! program, and with /dev/kmsg and `<n>` the facility, which tells the kernel from those who imitate it.

use bstr::ByteSlice as _;
use bumpalo::Bump;

use super::super::lanes::split_once;
use super::super::parse::{number, split_number};
use super::Writer;

/// A line with its head taken off.
pub(super) struct Head<'a> {
    pub(super) node: Option<&'a [u8]>,
    pub(super) writer: Writer<'a>,
    pub(super) message: &'a [u8],
}

/// Programs through which the kernel's and the audit daemon's records come.
const RELAYS: [&[u8]; 7] =
    [b"kernel", b"kern.notice", b"audit", b"auditd", b"audispd", b"audisp-syslog", b"audisp-remote"];

/// Takes the head off. None when the line has none that is known.
pub(super) fn split<'a>(line: &'a [u8], arena: &'a Bump) -> Option<Head<'a>> {
    match line.first()? {
        b'<' => prioritised(line),
        b'[' => tagged(skip_brackets(line)).or_else(|| Some(untagged(skip_brackets(line)))),
        b'0'..=b'9' => kmsg(line, arena).or_else(|| skip_time(line).and_then(tagged)),
        b'A'..=b'Z' => skip_time(line).and_then(tagged),
        b'a'..=b'z' => decoded(line).or_else(|| found_in_file(line)).or_else(|| Some(untagged(line))),
        b'/' | b'.' => found_in_file(line),
        _ => None,
    }
}

const fn untagged(message: &[u8]) -> Head<'_> {
    Head { node: None, writer: Writer::Kernel, message }
}

/// /dev/kmsg: `5,374,2492764,-;audit: type=1400 ...`: priority, number, microseconds since boot, flags; see
/// Documentation/ABI/testing/dev-kmsg. The kernel writes a backslash and what is not printable as `\x5c`.
fn kmsg<'a>(line: &'a [u8], arena: &'a Bump) -> Option<Head<'a>> {
    let (priority, rest) = split_number(line)?;
    let (_sequence, rest) = split_number(rest.strip_prefix(b",")?)?;
    let (_microseconds, rest) = split_number(rest.strip_prefix(b",")?)?;
    let (_flags, message) = split_once(rest, b';')?;
    let writer = if facility(priority) == KERN { Writer::Kernel } else { Writer::Forger };
    // Forgers that write like programs (`systemd[1]: ..`) do not reach the message and are no concern.
    Some(Head { node: None, writer, message: unescape(message, arena) })
}

/// With a priority in front: RFC 5424, RFC 3164, or `dmesg --raw`.
fn prioritised(line: &[u8]) -> Option<Head<'_>> {
    let (priority, rest) = split_once(line.strip_prefix(b"<")?, b'>')?;
    let priority = number(priority)?;
    let mut head = if let Some(rest) = rest.strip_prefix(b"1 ") {
        rfc5424(rest)?
    } else if let Some(rest) = skip_time(rest) {
        tagged(rest)?
    } else {
        untagged(skip_brackets(rest))
    };
    if head.writer == Writer::Kernel && facility(priority) != KERN && !relayed(rest) {
        head.writer = Writer::Forger;
    }
    Some(head)
}

/// Whether a line says that the audit daemon wrote it, whose facility is its own to choose.
fn relayed(rest: &[u8]) -> bool {
    rest.contains_str(b" audispd: ")
        || rest.contains_str(b" audisp-syslog: ")
        || rest.contains_str(b" auditd")
}

/// `TIME HOST APP PROCID MSGID SD MSG`.
fn rfc5424(rest: &[u8]) -> Option<Head<'_>> {
    let mut rest = rest;
    let mut next = || -> Option<&[u8]> {
        let (token, tail) = split_once(rest, b' ')?;
        rest = tail;
        Some(token)
    };
    let (_time, node, program, _process, _id) = (next()?, next()?, next()?, next()?, next()?);
    let message =
        if let Some(message) = rest.strip_prefix(b"- ") { message } else { rest.split_once_str(b"] ")?.1 };
    let message = message.strip_prefix("\u{feff}".as_bytes()).unwrap_or(message);
    Some(Head {
        node: Some(node).filter(|node| *node != b"-"),
        writer: writer(program),
        message: skip_brackets(message),
    })
}

/// `dmesg --decode`: `kern  :notice: [   12.345678] audit: ...`.
fn decoded(line: &[u8]) -> Option<Head<'_>> {
    const FACILITIES: [&[u8]; 12] = [
        b"kern",
        b"user",
        b"mail",
        b"daemon",
        b"auth",
        b"syslog",
        b"lpr",
        b"news",
        b"uucp",
        b"cron",
        b"authpriv",
        b"ftp",
    ];
    let (name, rest) = split_once(line, b':')?;
    let name = name.trim_ascii_end();
    let (_level, rest) = FACILITIES.contains(&name).then(|| split_once(rest, b':'))??;
    let writer = if name == b"kern" { Writer::Kernel } else { Writer::Forger };
    Some(Head { node: None, writer, message: skip_brackets(rest.trim_ascii_start()) })
}

/// `grep` over several files puts the file's name in front: `audit.log:type=AVC ...`.
fn found_in_file(line: &[u8]) -> Option<Head<'_>> {
    let at = line.find(b":type=")?;
    let (file, rest) = line.split_at_checked(at)?;
    if file.contains(&b' ') {
        return None;
    }
    Some(untagged(rest.get(1..)?))
}

/// `[HOST ]PROGRAM[pid]: MESSAGE`.
fn tagged(rest: &[u8]) -> Option<Head<'_>> {
    let rest = rest.trim_ascii_start();
    // `journalctl -o cat`, or a kernel log before 3.15: the record and no tag.
    if [&b"type="[..], b"audit(", b"node="].iter().any(|start| rest.starts_with(start)) {
        return Some(untagged(rest));
    }
    let (first, after) = split_once(rest, b' ')?;
    let (node, tag, message) = match first.strip_suffix(b":") {
        // `dmesg --time-format iso` names no machine.
        Some(tag) => (None, tag, after),
        None => {
            let (tag, message) = split_once(after, b' ')?;
            (Some(first), tag.strip_suffix(b":")?, message)
        }
    };
    Some(Head { node, writer: writer(tag), message: skip_brackets(message.trim_ascii_start()) })
}

/// Who a tag says wrote the line: `kernel`, `audit[812]`, `dbus-daemon[77]`.
fn writer(tag: &[u8]) -> Writer<'_> {
    let (name, pid) = match split_once(tag, b'[') {
        Some((name, pid)) => (name, pid.strip_suffix(b"]").and_then(number)),
        None => (tag, None),
    };
    if RELAYS.contains(&name) {
        return Writer::Kernel;
    }
    Writer::Program { name, pid: pid.and_then(|pid| u32::try_from(pid).ok()), uid: None }
}

/// Skips the times that the kernel's log has in brackets, and the task or CPU behind them.
fn skip_brackets(mut text: &[u8]) -> &[u8] {
    while let Some(rest) = text.strip_prefix(b"[") {
        let Some((inside, after)) = split_once(rest, b']') else { return text };
        let is_time = inside.iter().all(|byte| byte.is_ascii_digit() || matches!(byte, b' ' | b'.'));
        let is_caller = inside.trim_ascii_start().first().is_some_and(|byte| matches!(byte, b'T' | b'C'));
        let is_date = inside.contains(&b':');
        if !(is_time || is_caller || is_date) {
            return text;
        }
        text = after.trim_ascii_start();
    }
    text
}

/// Skips a time: `Jan  1 12:00:00`, `2026-01-01T12:00:00.123+00:00`, `2026-01-01 12:00:00`, `1767268800.123`.
fn skip_time(text: &[u8]) -> Option<&[u8]> {
    const MONTHS: [&[u8]; 12] =
        [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];
    let (first, rest) = split_once(text, b' ')?;
    if MONTHS.iter().any(|month| first.starts_with(month)) {
        let (day, rest) = split_once(rest.trim_ascii_start(), b' ')?;
        number(day)?;
        let (clock, rest) = split_once(rest, b' ')?;
        return clock.contains(&b':').then_some(rest);
    }
    let dated = first.get(4) == Some(&b'-') && first.get(7) == Some(&b'-');
    if dated && first.len() == b"2026-01-01".len() {
        let (clock, rest) = split_once(rest, b' ')?;
        return clock.contains(&b':').then_some(rest);
    }
    let seconds = first.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.') && first.contains(&b'.');
    (dated || seconds).then_some(rest)
}

/// The facility of what the kernel itself prints. What is written to /dev/kmsg gets 1, user, at the least
/// (`devkmsg_write`, kernel/printk/printk.c).
const KERN: u64 = 0;

/// The facility in a syslog priority.
const fn facility(priority: u64) -> u64 {
    priority >> 3
}

/// Undoes `\x5c`.
fn unescape<'a>(text: &'a [u8], arena: &'a Bump) -> &'a [u8] {
    if !text.contains_str(br"\x") {
        return text;
    }
    let plain = arena.alloc_slice_copy(text);
    let mut from = text;
    let mut length = 0;
    for slot in plain.iter_mut() {
        let (byte, rest) = match from {
            [b'\\', b'x', high, low, rest @ ..] if nibble(*high).is_some() && nibble(*low).is_some() => {
                (nibble(*high).unwrap_or_default() << 4 | nibble(*low).unwrap_or_default(), rest)
            }
            [byte, rest @ ..] => (*byte, rest),
            [] => break,
        };
        *slot = byte;
        from = rest;
        length += 1;
    }
    plain.get(..length).unwrap_or_default()
}

const fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}
