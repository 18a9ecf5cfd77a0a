//! What the other records of an audit event add to a violation: the system call it happened in.
//!
//! The kernel writes them only while auditing is on (`auditctl -e 1`), under the same stamp, after the
//! violation.

use bumpalo::Bump;

use super::fields::Scanner;
use super::framing::{Framed, Kind};
use super::parse::{number, text_of};

/// What the companions of a violation say. Of a kind that comes twice the first counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Companions<'a> {
    /// SYSCALL: the program's path.
    pub exe: Option<&'a [u8]>,
    /// SYSCALL: the number of the system call on its architecture.
    pub syscall: Option<u32>,
    /// SYSCALL: what the system call returned; a negative errno where it failed.
    pub exit: Option<i64>,
    /// CWD: the working directory.
    pub cwd: Option<&'a [u8]>,
    /// PROCTITLE: the command line, its arguments separated by NUL.
    pub proctitle: Option<&'a [u8]>,
}

impl<'a> Companions<'a> {
    /// Adds what a record says. False when it is no companion. PATH adds nothing: the violation names its
    /// object itself, as AppArmor saw it.
    pub(crate) fn add(&mut self, record: &Framed<'a>, arena: &'a Bump) -> bool {
        match record.kind {
            Kind::Syscall | Kind::Cwd | Kind::Proctitle => {}
            Kind::Path => return true,
            Kind::Avc | Kind::UserAvc | Kind::Old(_) | Kind::Other => return false,
        }
        for field in Scanner::new(record.body) {
            match (record.kind, field.key) {
                (Kind::Syscall, b"exe") => set(&mut self.exe, Some(text_of(field.value, arena))),
                (Kind::Syscall, b"syscall") => {
                    set(
                        &mut self.syscall,
                        number(text_of(field.value, arena)).and_then(|n| n.try_into().ok()),
                    );
                }
                (Kind::Syscall, b"exit") => set(&mut self.exit, signed(text_of(field.value, arena))),
                (Kind::Cwd, b"cwd") => set(&mut self.cwd, Some(text_of(field.value, arena))),
                (Kind::Proctitle, b"proctitle") => {
                    set(&mut self.proctitle, Some(text_of(field.value, arena)));
                }
                _ => {}
            }
        }
        true
    }
}

fn set<T>(slot: &mut Option<T>, value: Option<T>) {
    if slot.is_none() {
        *slot = value;
    }
}

fn signed(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}
