//! Judging a boot by what came over the serial console. Pure: lines in, state out.

use aa_monitor_tests::contract::Line;

/// Words by which a kernel says that it is beyond help.
const TROUBLE: [&str; 6] = [
    "Kernel panic - not syncing",
    "soft lockup - CPU",
    "detected stalls on CPUs",
    "self-detected stall on CPU",
    "hard LOCKUP",
    "Unable to mount root fs",
];

/// What is known of a boot so far.
#[derive(Debug, Default)]
pub(crate) struct Console {
    checks: Vec<(String, Option<String>)>,
    verdict: Option<(u32, u32)>,
    trouble: Option<String>,
    spoke: bool,
}

/// How a boot ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The guest said its verdict, and it agrees with its checks.
    Finished {
        /// Checks that hold.
        passed: u32,
        /// Checks that do not.
        failed: u32,
    },
    /// The machine stalled or panicked: not the guest's word, so worth another try.
    Stalled(String),
    /// The guest ended or was ended without a verdict, or its verdict is not the sum of its checks.
    Broken(String),
}

impl Console {
    /// Takes one line; returns it when it belongs to the contract.
    pub(crate) fn take(&mut self, text: &str) -> Option<Line> {
        self.spoke = true;
        if let Some(word) = TROUBLE.into_iter().find(|word| text.contains(word)) {
            self.trouble.get_or_insert_with(|| word.to_owned());
        }
        let line = Line::parse(text)?;
        match &line {
            Line::Check { name, failure } => self.checks.push((name.clone(), failure.clone())),
            Line::Verdict { passed, failed } => self.verdict = Some((*passed, *failed)),
            Line::Ready(_) | Line::Summary(_) | Line::File { .. } => {}
        }
        Some(line)
    }

    /// True when waiting for more is of no use.
    pub(crate) fn settled(&self) -> bool {
        self.trouble.is_some()
    }

    /// The end; `limit` says that the wall-clock limit ended it.
    pub(crate) fn outcome(&self, limit: Option<u64>) -> Outcome {
        if let Some((passed, failed)) = self.verdict {
            let failures = self.checks.iter().filter(|(_, failure)| failure.is_some()).count();
            let checks = self.checks.len();
            let agrees =
                usize::try_from(failed) == Ok(failures) && usize::try_from(passed + failed) == Ok(checks);
            return match (agrees, checks) {
                (_, 0) => Outcome::Broken("the guest checked nothing".into()),
                (true, _) => Outcome::Finished { passed, failed },
                (false, _) => Outcome::Broken(format!(
                    "the verdict says {passed} passed, {failed} failed, but {checks} checks with {failures} \
                     failures came"
                )),
            };
        }
        match (&self.trouble, limit) {
            (Some(trouble), _) => Outcome::Stalled(trouble.clone()),
            (None, Some(seconds)) if !self.spoke => Outcome::Stalled(format!("not a word in {seconds} s")),
            (None, Some(seconds)) => Outcome::Broken(format!("no verdict in {seconds} s")),
            (None, None) => Outcome::Broken("the guest ended without a verdict".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Console, Outcome};

    #[test]
    fn outcomes() {
        let broken = |text: &str| Outcome::Broken(text.into());
        let stalled = |text: &str| Outcome::Stalled(text.into());
        let rows = [
            (
                "all is well",
                "noise\ncheck a: ok\ncheck b: ok\nverdict: 2 passed, 0 failed\n",
                None,
                Outcome::Finished { passed: 2, failed: 0 },
            ),
            (
                "a check fails",
                "check a: ok\ncheck b: FAIL want 1\nverdict: 1 passed, 1 failed\n",
                None,
                Outcome::Finished { passed: 1, failed: 1 },
            ),
            ("silence after a check", "check a: ok\n", None, broken("the guest ended without a verdict")),
            ("too slow", "check a: ok\n", Some(60), broken("no verdict in 60 s")),
            ("nothing at all", "", Some(60), stalled("not a word in 60 s")),
            (
                "a verdict on nothing",
                "verdict: 0 passed, 0 failed\n",
                None,
                broken("the guest checked nothing"),
            ),
            (
                "a verdict that hides a failure",
                "check a: FAIL x\nverdict: 1 passed, 0 failed\n",
                None,
                broken("the verdict says 1 passed, 0 failed, but 1 checks with 1 failures came"),
            ),
            (
                "a verdict that hides a check",
                "check a: ok\nverdict: 2 passed, 0 failed\n",
                None,
                broken("the verdict says 2 passed, 0 failed, but 1 checks with 0 failures came"),
            ),
            (
                "a panic",
                "[    1.0] Kernel panic - not syncing: Attempted to kill init!\n",
                None,
                stalled("Kernel panic - not syncing"),
            ),
            (
                "a soft lockup",
                "check a: ok\n[   40.0] watchdog: BUG: soft lockup - CPU#1 stuck for 23s!\n",
                Some(60),
                stalled("soft lockup - CPU"),
            ),
            (
                "an RCU stall",
                "[   40.0] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:\n",
                None,
                stalled("detected stalls on CPUs"),
            ),
        ];
        for (name, text, limit, want) in rows {
            let mut console = Console::default();
            for line in text.lines() {
                console.take(line);
            }
            assert_eq!(console.outcome(limit), want, "{name}");
        }
    }
}
