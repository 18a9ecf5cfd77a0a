//! The client's side of the socket: one question, and the lines of the answer.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::{Context, bail};
use serde_json::Value;

use super::ask::{Ask, Question, VERSION};

/// A line of an answer is not longer.
const LINE_LIMIT: u64 = 4 << 20;

/// An answer being read.
#[derive(Debug)]
pub struct Answer(BufReader<UnixStream>);

impl Answer {
    /// Asks the agent at `socket`.
    pub fn ask(socket: &Path, ask: &Ask) -> anyhow::Result<Self> {
        let what = || {
            format!(
                "cannot reach the agent at {}; is it running, are you root, and is that its --socket?",
                socket.display()
            )
        };
        let mut stream = UnixStream::connect(socket).with_context(what)?;
        let mut question = serde_json::to_vec(&Question { version: VERSION, ask: ask.clone() })?;
        question.push(b'\n');
        stream.write_all(&question).with_context(what)?;
        let mut answer = Self(BufReader::new(stream));
        let Some(hello) = answer.line().with_context(what)? else {
            bail!("the agent at {} ended", socket.display())
        };
        let hello: Value = serde_json::from_slice(&hello).context("the agent's answer is not understood")?;
        if let Some(error) = hello.get("error").and_then(Value::as_str) {
            bail!("the agent refuses: {error}");
        }
        Ok(answer)
    }

    /// The next line; None at the end.
    pub fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        let length = self.0.by_ref().take(LINE_LIMIT).read_until(b'\n', &mut line)?;
        if line.pop().is_some_and(|end| end != b'\n') {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok((length > 0).then_some(line))
    }
}
