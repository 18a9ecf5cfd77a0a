//! Why a command ends without having done what was asked, and with which exit code.

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write, stderr};
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue};

use crate::config::ConfigError;

/// The command was understood and could not be done.
pub const EXIT_FAILED: u8 = 1;

/// The command line or the configuration is wrong (`EX_USAGE` of sysexits.h).
pub const EXIT_USAGE: u8 = 64;

/// A command that ends early.
#[derive(Debug)]
pub enum Failure {
    /// clap's answer: a usage error, or help that was asked for.
    Clap {
        /// What clap says.
        error: Box<clap::Error>,
        /// The environment variable that holds the offending value, when no flag does.
        variable: Option<String>,
    },
    /// The configuration is wrong.
    Usage(String),
    /// It was tried, and failed.
    Failed(anyhow::Error),
}

/// Whether whoever read the output has gone: they have seen enough (`| head`), and nothing is wrong.
fn reader_left(error: &anyhow::Error) -> bool {
    let io = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    };
    error.chain().any(io)
}

impl Failure {
    /// clap's error about `args`.
    pub(super) fn refused(error: clap::Error, args: &[OsString]) -> Self {
        let variable = match error.get(ContextKind::InvalidArg) {
            Some(ContextValue::String(arg)) => variable_of(arg, args),
            _ => None,
        };
        Self::Clap { error: Box::new(error), variable }
    }

    /// The exit code for this.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Clap { error, .. } if !error.use_stderr() => 0,
            Self::Failed(error) if reader_left(error) => 0,
            Self::Clap { .. } | Self::Usage(_) => EXIT_USAGE,
            Self::Failed(_) => EXIT_FAILED,
        }
    }

    /// Says it where it belongs (help to standard output, the rest to standard error) and gives the exit code.
    ///
    /// A closed standard error leaves nobody to tell, which is no reason to end in another way.
    pub fn report(&self) -> ExitCode {
        match self {
            Self::Clap { error, variable } => {
                let _ = error.print();
                if let Some(variable) = variable {
                    let _ = writeln!(
                        stderr(),
                        "\nnote: the value comes from the environment variable {variable}"
                    );
                }
            }
            Self::Failed(error) if reader_left(error) => {}
            Self::Usage(_) | Self::Failed(_) => {
                let _ = writeln!(stderr(), "aa-monitor: {self}");
            }
        }
        ExitCode::from(self.exit_code())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clap { error, .. } => write!(f, "{error}"),
            Self::Usage(what) => f.write_str(what),
            Self::Failed(error) => write!(f, "{error:#}"),
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Usage(error.to_string())
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

/// The variable behind clap's `--ring-size <BYTES>`, if `args` do not hold that flag.
fn variable_of(arg: &str, args: &[OsString]) -> Option<String> {
    let flag = arg.split_whitespace().next().filter(|flag| flag.starts_with("--"))?;
    let given = args.iter().any(|arg| {
        let arg = arg.to_string_lossy();
        arg.strip_prefix(flag).is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
    });
    let variable = format!("AA_MONITOR_{}", flag.trim_start_matches('-').replace('-', "_").to_uppercase());
    (!given && std::env::var_os(&variable).is_some()).then_some(variable)
}
