//! Both ways by which violations reach an agent, tried out.

use std::io;

use super::{Finding, Status};
use crate::capture::Source;
use crate::capture::audit::{self, OpenError};
#[cfg(feature = "ebpf")]
use crate::capture::ebpf;
use crate::config::SourceChoice;
use crate::ledger::{Attached, Hook};
use crate::node::Hierarchy;

/// What came of it; none where a source is not wanted.
#[derive(Debug, Default)]
pub(super) struct Sources {
    ebpf: Option<Result<Vec<Hook>, String>>,
    audit: Option<Result<(), OpenError>>,
}

impl Sources {
    /// Loads and attaches the programs, joins the stream, and takes both back.
    pub(super) async fn try_out(choice: SourceChoice) -> Self {
        // The verifier takes a while.
        let tried = tokio::task::spawn_blocking(move || Self {
            ebpf: choice.includes(Source::Ebpf).then(try_ebpf),
            audit: choice.includes(Source::Audit).then(audit::try_out),
        });
        tried.await.unwrap_or_default()
    }

    pub(super) fn ebpf_works(&self) -> bool {
        matches!(self.ebpf, Some(Ok(_)))
    }

    /// A source that does not work is bad news where there is no other.
    pub(super) fn findings(&self) -> Vec<Finding> {
        let audit_works = matches!(self.audit, Some(Ok(())));
        let or_fail = |other: bool| if other { Status::Warn } else { Status::Fail };
        let mut findings = Vec::new();
        match &self.ebpf {
            None => findings.push(Finding::ok("ebpf", "not wanted (--source)")),
            Some(Ok(hooks)) => findings.extend(attached(hooks)),
            Some(Err(why)) => findings.push(Finding::bad(
                "ebpf",
                or_fail(audit_works),
                why.as_str(),
                "mend that, or do with the audit stream (--source audit)",
            )),
        }
        findings.push(match &self.audit {
            None => Finding::ok("audit", "not wanted (--source)"),
            Some(Ok(())) => Finding::ok("audit", "the stream can be joined"),
            Some(Err(why)) => Finding::bad(
                "audit",
                or_fail(self.ebpf_works()),
                why.to_string(),
                "mend that, or do with eBPF (--source ebpf)",
            ),
        });
        findings
    }
}

#[cfg(feature = "ebpf")]
fn try_ebpf() -> Result<Vec<Hook>, String> {
    ebpf::try_out(Hierarchy::of_node()).map_err(|error| error.to_string())
}

#[cfg(not(feature = "ebpf"))]
fn try_ebpf() -> Result<Vec<Hook>, String> {
    Err("this binary was built without the eBPF programs".to_owned())
}

/// A line for the programs, and one for each hook that is missing.
fn attached(hooks: &[Hook]) -> Vec<Finding> {
    let there = hooks.iter().filter(|hook| hook.attached != Attached::No);
    let there: Vec<_> = there.map(|hook| format!("{} ({})", hook.function, hook.attached.as_str())).collect();
    let mut findings = vec![Finding::ok("ebpf", format!("programs load and attach: {}", there.join(", ")))];
    let missing = hooks.iter().filter(|hook| hook.attached == Attached::No);
    findings.extend(missing.map(|hook| {
        Finding::warn(
            "hook",
            format!("{} is not hooked: {}", hook.function, hook.reason),
            "see aa_monitor_hook_attached in docs/metrics.md for what is lost",
        )
    }));
    findings
}

/// Whether audit drops records by itself.
pub(super) fn rate() -> Finding {
    judge_rate(audit::settings())
}

fn judge_rate(settings: io::Result<audit::Settings>) -> Finding {
    let check = "audit rate";
    match settings {
        Ok(audit::Settings { rate_limit: 0, backlog_limit, lost }) => Finding::ok(
            check,
            format!("no rate limit; backlog of {backlog_limit} records, {lost} lost since boot"),
        ),
        Ok(audit::Settings { rate_limit, lost, .. }) => Finding::warn(
            check,
            format!(
                "{rate_limit} records a second, {lost} lost since boot: in a burst the stream lacks some"
            ),
            "auditctl -r 0",
        ),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Finding::ok(
            check,
            "not asked for: that takes CAP_AUDIT_CONTROL, and the agent counts what is missing anyway",
        ),
        Err(error) => Finding::ok(check, format!("not known: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_source_that_works_is_enough_and_none_is_not() {
        let no_ebpf = || Some(Err("no BTF".to_owned()));
        let hooks = || Some(Ok(Vec::new()));
        for (name, ebpf, audit, want) in [
            ("both", hooks(), Some(Ok(())), Status::Ok),
            ("eBPF", hooks(), Some(Err(OpenError::NoAudit)), Status::Warn),
            ("audit", no_ebpf(), Some(Ok(())), Status::Warn),
            ("none", no_ebpf(), Some(Err(OpenError::NoAudit)), Status::Fail),
            ("eBPF alone, as asked", hooks(), None, Status::Ok),
            ("eBPF alone, in vain", no_ebpf(), None, Status::Fail),
            ("audit alone, in vain", None, Some(Err(OpenError::NoAudit)), Status::Fail),
        ] {
            let findings = Sources { ebpf, audit }.findings();
            assert_eq!(findings.iter().map(|finding| finding.status).max(), Some(want), "{name}");
        }
    }

    #[test]
    fn a_hook_that_is_missing_has_a_line() {
        let hook = |function, attached| Hook { function, attached, reason: "why".to_owned() };
        let findings =
            attached(&[hook("audit_pre", Attached::No), hook("common_lsm_audit", Attached::Fexit)]);
        let lines: Vec<_> = findings.iter().map(|finding| (finding.status, &*finding.message)).collect();
        assert_eq!(
            lines,
            [
                (Status::Ok, "programs load and attach: common_lsm_audit (fexit)"),
                (Status::Warn, "audit_pre is not hooked: why"),
            ]
        );
    }

    #[test]
    fn a_rate_limit_is_told() {
        let settings = |rate_limit| Ok(audit::Settings { rate_limit, backlog_limit: 64, lost: 0 });
        for (settings, want) in [
            (settings(0), Status::Ok),
            (settings(100), Status::Warn),
            (Err(io::ErrorKind::PermissionDenied.into()), Status::Ok),
        ] {
            assert_eq!(judge_rate(settings).status, want);
        }
    }
}
