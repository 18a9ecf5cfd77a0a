//! The server's side of the socket.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::timeout;

use super::ask::{Question, VERSION};
use super::{Ask, Filter, Live, confined};

/// Clients at a time.
const CLIENTS: usize = 16;
/// A question is not longer, and does not take longer.
const QUESTION_LIMIT: u64 = 64 << 10;
const QUESTION_TIME: Duration = Duration::from_secs(5);
/// A client that is turned away holds the others up for no longer than this.
const REFUSAL_TIME: Duration = Duration::from_millis(200);
/// A reader that takes nothing for so long is gone.
const WRITE_TIME: Duration = Duration::from_secs(30);

/// Opens the socket. A stale one, that nobody listens at, is replaced.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    if let Some(folder) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => return Err(io::Error::new(io::ErrorKind::AddrInUse, "another agent listens there")),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path)?,
        Err(_) => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Answers for ever.
pub async fn serve(listener: UnixListener, live: Arc<Live>) {
    let clients = Arc::new(Semaphore::new(CLIENTS));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, which passes.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        if !is_trusted(&stream) {
            live.refused.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        let Ok(permit) = Arc::clone(&clients).try_acquire_owned() else {
            live.refused.fetch_add(1, Ordering::Relaxed);
            let (mut read, mut write) = stream.into_split();
            // The question is read first: a socket that is closed before loses what was written to it.
            let told = async {
                let _ = read.read(&mut [0; 4096]).await;
                refuse(&mut write, "too many readers; end one of them").await
            };
            let _ = timeout(REFUSAL_TIME, told).await;
            continue;
        };
        let live = Arc::clone(&live);
        tokio::spawn(async move {
            // A reader that goes away is no failure.
            let _ = answer(stream, &live).await;
            drop(permit);
        });
    }
}

/// The file's permissions say so already; they may have been changed.
fn is_trusted(stream: &UnixStream) -> bool {
    let own = nix::unistd::geteuid().as_raw();
    stream.peer_cred().is_ok_and(|peer| peer.uid() == 0 || peer.uid() == own)
}

async fn refuse(write: &mut OwnedWriteHalf, why: &str) -> io::Result<()> {
    send(write, json!({ "version": VERSION, "error": why }).to_string().as_bytes()).await
}

async fn send(write: &mut OwnedWriteHalf, line: &[u8]) -> io::Result<()> {
    let all = async {
        write.write_all(line).await?;
        write.write_all(b"\n").await
    };
    timeout(WRITE_TIME, all).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

async fn answer(stream: UnixStream, live: &Live) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut line = Vec::new();
    let mut read = BufReader::new(read.take(QUESTION_LIMIT));
    timeout(QUESTION_TIME, read.read_until(b'\n', &mut line))
        .await
        .map_err(|_| io::ErrorKind::TimedOut)??;
    let question: Question = match serde_json::from_slice(&line) {
        Ok(question) => question,
        Err(_) => return refuse(&mut write, "this agent does not understand the question").await,
    };
    if question.version != VERSION {
        let why =
            format!("this agent speaks version {VERSION}, the question is in version {}", question.version);
        return refuse(&mut write, &why).await;
    }
    let hello = json!({ "version": VERSION, "agent": env!("CARGO_PKG_VERSION") });
    send(&mut write, hello.to_string().as_bytes()).await?;
    match question.ask {
        Ask::Status => {
            let mut status = live.status.status(&live.history);
            if let Some(confinement) = live.confinement.get() {
                confined::complete(&mut status, &confinement.rows());
            }
            send(&mut write, &serde_json::to_vec(&status)?).await
        }
        Ask::Evidence => {
            for evidence in live.history.evidence() {
                send(&mut write, &serde_json::to_vec(&evidence)?).await?;
            }
            send(&mut write, json!({ "end": true }).to_string().as_bytes()).await
        }
        Ask::Tail { last, follow, filter } => {
            // The reader's end is noticed when it is written to, or when it closes.
            let gone = async {
                let mut rest = read.into_inner().into_inner();
                let mut byte = [0];
                while rest.read(&mut byte).await.is_ok_and(|length| length > 0) {}
            };
            tokio::select! {
                done = tail(live, &mut write, last, follow, &filter) => done,
                () = gone => Ok(()),
            }
        }
    }
}

async fn tail(
    live: &Live,
    write: &mut OwnedWriteHalf,
    last: usize,
    follow: bool,
    filter: &Filter,
) -> io::Result<()> {
    let (latest, mut receiver) = live.join(last, filter);
    for kept in latest {
        send(write, &kept.line()?).await?;
    }
    if !follow {
        return send(write, json!({ "end": true }).to_string().as_bytes()).await;
    }
    loop {
        match receiver.recv().await {
            Ok(kept) if kept.passes(|marks| filter.passes(marks)) => send(write, &kept.line()?).await?,
            Ok(_) => {}
            Err(RecvError::Lagged(lost)) => {
                live.lost.fetch_add(lost, Ordering::Relaxed);
                send(write, json!({ "lost": lost }).to_string().as_bytes()).await?;
            }
            Err(RecvError::Closed) => return Ok(()),
        }
    }
}
