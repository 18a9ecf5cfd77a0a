//! The TOML file: its keys are the long flags, and clap reads its values as it reads theirs.

use std::fmt;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, Command, FromArgMatches};
use toml::de::{DeTable, DeValue};

use super::settings::Settings;

/// Something that is wrong in the file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Problem {
    line: usize,
    what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.line, self.what)
    }
}

/// Reads a file's text; or tells all that is wrong with it, in the order of its lines.
pub(super) fn parse(text: &str) -> Result<Settings, Vec<Problem>> {
    let table = match DeTable::parse(text) {
        Ok(table) => table.into_inner(),
        Err(error) => {
            let start = error.span().map_or(0, |span| span.start);
            return Err(vec![Problem { line: line_of(text, start), what: error.message().to_owned() }]);
        }
    };
    let command = command();
    let mut settings = Settings::default();
    let mut problems = Vec::new();
    for (key, value) in &table {
        match parse_key(&command, key.get_ref(), value.get_ref()) {
            Ok(one) => settings = one.over(settings),
            Err(what) => problems.push(Problem { line: line_of(text, key.span().start), what }),
        }
    }
    if problems.is_empty() {
        return Ok(settings);
    }
    problems.sort_by_key(|problem| problem.line);
    Err(problems)
}

/// A command that knows the settings and nothing else, not even the environment.
fn command() -> Command {
    Settings::augment_args(Command::new("file"))
        .disable_help_flag(true)
        .disable_version_flag(true)
        .mut_args(|arg| arg.env(None::<&str>))
}

fn parse_key(command: &Command, key: &str, value: &DeValue<'_>) -> Result<Settings, String> {
    // Anything else would reach clap as another flag than the one it names.
    if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    {
        return Err(unknown(command, key, None));
    }
    let text = plain(value).ok_or_else(|| format!("{key} must be a string, a number, true or false"))?;
    command
        .clone()
        .try_get_matches_from(["file".to_owned(), format!("--{key}={text}")])
        .and_then(|matches| Settings::from_arg_matches(&matches))
        .map_err(|error| explain(command, key, &text, &error))
}

/// A value as it would be written after a flag.
fn plain(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => {
            i64::from_str_radix(number.as_str(), number.radix()).ok().map(|number| number.to_string())
        }
        DeValue::Boolean(truth) => Some(truth.to_string()),
        _ => None,
    }
}

/// clap's error in the words of a file: keys instead of flags.
fn explain(command: &Command, key: &str, value: &str, error: &clap::Error) -> String {
    match error.kind() {
        ErrorKind::UnknownArgument => {
            let nearest = match error.get(ContextKind::SuggestedArg) {
                Some(ContextValue::String(flag)) => Some(flag.trim_start_matches('-')),
                _ => None,
            };
            unknown(command, key, nearest)
        }
        ErrorKind::InvalidValue => {
            let allowed = match error.get(ContextKind::ValidValue) {
                Some(ContextValue::Strings(values)) if !values.is_empty() => values.join(", "),
                _ => return format!("{key} needs a value"),
            };
            let nearest = match error.get(ContextKind::SuggestedValue) {
                Some(ContextValue::String(value)) => format!("; did you mean {value:?}?"),
                _ => String::new(),
            };
            format!("{key} = {value:?} is not one of {allowed}{nearest}")
        }
        _ => {
            let why = std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
            format!("{key} = {value:?}: {}", why.trim())
        }
    }
}

fn unknown(command: &Command, key: &str, nearest: Option<&str>) -> String {
    let keys: Vec<_> = command.get_arguments().filter_map(clap::Arg::get_long).collect();
    let nearest = nearest.map(|nearest| format!("; did you mean {nearest}?")).unwrap_or_default();
    format!("unknown key {key:?}{nearest} (keys: {})", keys.join(", "))
}

/// The line, counted from 1, that the byte at `offset` stands on.
fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_named_with_line_and_way_out() {
        for (name, text, want) in [
            (
                "near key",
                "lsten = \"[::1]:1\"",
                "1: unknown key \"lsten\"; did you mean listen? (keys: listen, ",
            ),
            ("underscore", "\nring_size = 1", "2: unknown key \"ring_size\"; did you mean ring-size?"),
            ("far key", "zzz = 1", "1: unknown key \"zzz\" (keys: "),
            ("smuggled flag", "\"listen=1 --x\" = 1", "1: unknown key \"listen=1 --x\" (keys: "),
            ("not a setting", "help = 1", "1: unknown key \"help\" (keys: "),
            ("the file of the file", "config = \"x\"", "1: unknown key \"config\""),
            (
                "near value",
                "source = \"ebf\"",
                "1: source = \"ebf\" is not one of auto, ebpf, audit; did you mean \"ebpf\"?",
            ),
            ("empty value", "source = \"\"", "1: source = \"\" is not one of auto, ebpf, audit"),
            (
                "no port",
                "listen = \"localhost\"",
                "1: listen = \"localhost\": expected an IP address and a port",
            ),
            ("too small", "ring-size = 2048", "1: ring-size = \"2048\": must be from 4KiB to 1GiB"),
            (
                "odd ring",
                "ring-size = \"3MiB\"",
                "1: ring-size = \"3MiB\": 3MiB is not a power of two; the next one is 4MiB",
            ),
            ("array", "listen = []", "1: listen must be a string, a number, true or false"),
            ("table", "[listen]\na = 1", "1: listen must be a string, a number, true or false"),
            ("syntax", "\n\nlisten = ", "3: "),
            ("twice", "queue-length = 100\nqueue-length = 100", "2: duplicate key"),
        ] {
            let problems = parse(text).expect_err(name);
            let first = problems.first().expect(name).to_string();
            assert!(first.starts_with(want), "{name}: {first}");
        }
    }

    #[test]
    fn all_mistakes_are_told_at_once_in_order() {
        let problems = parse("zebra = 1\nlisten = 1\nalpha = 1\n").expect_err("three mistakes");
        let lines: Vec<_> = problems.iter().map(|problem| problem.line).collect();
        assert_eq!(lines, [1, 2, 3]);
    }

    #[test]
    fn the_environment_is_not_read_as_part_of_the_file() {
        for arg in command().get_arguments() {
            assert_eq!(arg.get_env(), None, "{}", arg.get_id());
        }
    }

    #[test]
    fn an_empty_file_sets_nothing() {
        assert_eq!(parse("# nothing\n"), Ok(Settings::default()));
    }
}
