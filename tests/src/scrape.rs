//! Reading a scrape: as much of the Prometheus text format as the agent's counters need.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// One sample line.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The metric's name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: f64,
}

impl Sample {
    /// The value of a label, empty when the sample lacks it.
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }
}

/// Reads a text exposition.
///
/// # Errors
/// The line that is neither comment nor sample.
pub fn parse(text: &str) -> Result<Vec<Sample>> {
    text.lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| sample(line).with_context(|| format!("this is no sample: {line}")))
        .collect()
}

fn sample(line: &str) -> Option<Sample> {
    let end = line.find(['{', ' '])?;
    let (name, rest) = line.split_at(end);
    let mut labels = BTreeMap::new();
    let mut rest = rest;
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        while let Some((label, value)) = rest.split_once("=\"") {
            let (value, after) = quoted(value)?;
            labels.insert(label.trim_start_matches(',').to_owned(), value);
            rest = after;
            if rest.starts_with('}') {
                break;
            }
        }
        rest = rest.strip_prefix('}')?;
    }
    Some(Sample { name: name.to_owned(), labels, value: rest.split_whitespace().next()?.parse().ok()? })
}

/// Splits at the closing quote and undoes the format's three escapes.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, text.get(at + 1..)?)),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                escaped => value.push(escaped),
            },
            _ => value.push(c),
        }
    }
    None
}

/// The sum over the series of a counter that have these labels.
pub fn sum(samples: &[Sample], name: &str, labels: &[(&str, &str)]) -> u64 {
    let matching = samples.iter().filter(|s| s.name == name && labels.iter().all(|(l, v)| s.label(l) == *v));
    matching.map(|sample| whole(sample.value)).sum()
}

/// A counter's value as the whole number that it is.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counters are small whole numbers"
)]
pub fn whole(value: f64) -> u64 {
    value as u64
}

/// Fetches `path` and returns the status and the body.
///
/// HTTP/1.0 on purpose: no keep-alive and no chunks, so the body is what comes until the server closes.
///
/// # Errors
/// No connection, or an answer that is not HTTP.
pub fn get(address: SocketAddr, path: &str) -> Result<(u16, String)> {
    let limit = Duration::from_secs(5);
    let mut stream = TcpStream::connect_timeout(&address, limit)
        .with_context(|| format!("nothing answers at http://{address}{path}"))?;
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\nAccept: text/plain, application/json\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).with_context(|| format!("reading http://{address}{path}"))?;
    let Some((head, body)) = answer.split_once("\r\n\r\n") else {
        bail!("http://{address}{path} did not answer in HTTP");
    };
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok((
        status.with_context(|| format!("http://{address}{path} answered without a status"))?,
        body.to_owned(),
    ))
}

#[cfg(test)]
mod tests {
    use super::{parse, quoted, sum};

    #[test]
    fn samples_with_and_without_labels() {
        let text = "# HELP up Whether.\n# TYPE up gauge\nup 1\n\
                    events_total{verdict=\"denied\",profile=\"a\\\"b\\\\c}, d=\"} 42\nlatency_sum 1.5e-3\n";
        let samples = parse(text).unwrap();
        let got: Vec<_> = samples.iter().map(|s| (s.name.as_str(), s.value)).collect();
        assert_eq!(got, [("up", 1.0), ("events_total", 42.0), ("latency_sum", 0.0015)]);
        assert_eq!(samples[1].label("profile"), "a\"b\\c}, d=");
        assert_eq!(samples[1].label("pod"), "");
        assert_eq!(sum(&samples, "events_total", &[("verdict", "denied")]), 42);
        assert_eq!(sum(&samples, "events_total", &[("verdict", "allowed")]), 0);
    }

    #[test]
    fn broken_lines_are_refused() {
        for line in ["up", "up one", "up{a=\"b\" 1", "up{a=\"b} 1"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn a_quote_ends_only_when_it_is_not_escaped() {
        assert_eq!(quoted("a\\\\\"} 1"), Some(("a\\".to_owned(), "} 1")));
        assert_eq!(quoted("never"), None);
    }
}
