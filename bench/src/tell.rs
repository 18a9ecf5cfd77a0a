//! What each record says, in words that libapparmor's struct has too.

use std::fmt::Display;
use std::io::{BufWriter, Write, stdout};

use aa_monitor::record::{Origin, Senders, Violation, parse_line};
use anyhow::{Context as _, Result};
use bumpalo::Bump;

/// Prints a line for each line of a log: `verdict=denied operation=open ..`, a tab between the fields.
pub(crate) fn all(log: &[u8]) -> Result<()> {
    let senders = Senders::by_program();
    let mut arena = Bump::new();
    let mut out = BufWriter::new(stdout().lock());
    for line in crate::lines(log) {
        arena.reset();
        match parse_line(line, Origin::File, &senders, &arena) {
            Ok(violation) => one(violation, &mut out),
            Err(_) => writeln!(out, "verdict=invalid"),
        }
        .context("writing to standard output")?;
    }
    out.flush().context("writing to standard output")
}

fn one(v: &Violation<'_>, out: &mut impl Write) -> std::io::Result<()> {
    write!(out, "verdict={}", v.verdict)?;
    number(out, "audit_id", v.audit_id)?;
    text(out, "operation", Some(v.operation).filter(|operation| !operation.is_empty()))?;
    text(out, "profile", v.profile)?;
    text(out, "namespace", v.namespace)?;
    // libapparmor keeps a capability's name there.
    text(out, "name", v.name.or(v.capname))?;
    text(out, "target", v.target)?;
    text(out, "peer", v.peer)?;
    text(out, "comm", v.comm)?;
    number(out, "pid", v.pid)?;
    text(out, "info", v.info)?;
    number(out, "error", v.error)?;
    text(out, "requested", v.requested_mask)?;
    text(out, "denied", v.denied_mask)?;
    number(out, "fsuid", v.fsuid)?;
    number(out, "ouid", v.ouid)?;
    text(out, "family", v.family)?;
    text(out, "sock_type", v.sock_type)?;
    number(out, "protocol", v.protocol)?;
    text(out, "laddr", v.laddr.or(other(v, b"saddr")))?;
    number(out, "lport", v.lport.map(u64::from).or(port(v, b"src")))?;
    text(out, "faddr", v.faddr.or(other(v, b"daddr")))?;
    number(out, "fport", v.fport.map(u64::from).or(port(v, b"dest")))?;
    text(out, "addr", other(v, b"addr"))?;
    text(out, "peer_addr", other(v, b"peer_addr"))?;
    text(out, "signal", v.signal)?;
    text(out, "fstype", v.fstype)?;
    text(out, "srcname", v.srcname)?;
    text(out, "flags", v.flags)?;
    text(out, "bus", other(v, b"bus"))?;
    text(out, "path", other(v, b"path"))?;
    text(out, "interface", other(v, b"interface"))?;
    text(out, "member", other(v, b"member").or(other(v, b"method")))?;
    text(out, "execpath", other(v, b"execpath"))?;
    writeln!(out)
}

fn other<'a>(v: &Violation<'a>, key: &[u8]) -> Option<&'a [u8]> {
    v.others.iter().find(|(known, _)| *known == key).map(|&(_, value)| value)
}

fn port(v: &Violation<'_>, key: &[u8]) -> Option<u64> {
    std::str::from_utf8(other(v, key)?).ok()?.parse().ok()
}

fn number(out: &mut impl Write, key: &str, value: Option<impl Display>) -> std::io::Result<()> {
    value.map_or(Ok(()), |value| write!(out, "\t{key}={value}"))
}

/// What is not a plain letter stands as `\xNN`.
fn text(out: &mut impl Write, key: &str, value: Option<&[u8]>) -> std::io::Result<()> {
    let Some(value) = value else { return Ok(()) };
    write!(out, "\t{key}=")?;
    for byte in value {
        match byte {
            b'!'..=b'~' if *byte != b'\\' => out.write_all(&[*byte])?,
            _ => write!(out, "\\x{byte:02x}")?,
        }
    }
    Ok(())
}
