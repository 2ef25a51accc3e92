//! One session's process, between its start and its exit status.

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use russh::ChannelWriteHalf;
use russh::server::Msg;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::process::{ChildStdin, Command};

use super::inbound::InboundReader;
use crate::daemon::{Client, Peers};
use crate::frame;
use crate::session::{Door, Identity, Limits};
use crate::session_event::{SessionEnd, SessionEvent, cpu_time_at_end};

/// SSH's number of the stream that a client shows as standard error.
const STDERR: u32 = 1;
/// What a client is told where a session had no status of its own, as a shell's ssh tells it for itself.
const STATUS_NONE: u32 = 255;
/// A refusal's status.
const STATUS_REFUSED: u32 = 1;

/// How a session is started.
#[derive(Debug, Clone)]
pub(crate) struct SessionProgram {
    program: PathBuf,
    run: PathBuf,
    limits: Limits,
    peers: Peers,
}

impl SessionProgram {
    pub(super) fn new(program: PathBuf, run: PathBuf, limits: Limits, peers: Peers) -> SessionProgram {
        SessionProgram { program, run, limits, peers }
    }

    pub(super) fn limits(&self) -> Limits {
        self.limits
    }

    /// An environment of its own, nothing inherited: not from the daemon, never from the client.
    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command
            .arg("session")
            .arg("--run")
            .arg(&self.run)
            .env_clear()
            .env("LC_ALL", "C.UTF-8")
            // Where tests say at which step a process stops.
            .envs(std::env::var_os("HGFLEET_STOP_AT").map(|folder| ("HGFLEET_STOP_AT", folder)))
            .envs(hgfleet_log::planted::environment())
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }
}

/// Runs one session: feeds it what the client sends, sends what it writes, then its exit status. A client that takes nothing for
/// `idle` is as good as gone.
pub(super) async fn run(
    program: SessionProgram,
    idle: Duration,
    identity: Identity,
    channel: ChannelWriteHalf<Msg>,
    input: InboundReader,
) {
    let (begun, started) = (SystemTime::now(), Instant::now());
    let client = client_of(&identity);
    let mut seen = Seen::default();
    let status = match serve((&program, idle), &identity, &client, &channel, input, &mut seen).await {
        Ok(status) => status,
        Err(error) => {
            tracing::error!(account = identity.account, address = identity.address, %error, "session could not be started");
            say(&channel, "refused: a session can't be started, on this server. Try again in a minute").await;
            None
        }
    };
    let code = status.and_then(|status| status.code()).map(i32::unsigned_abs);
    if let (Some(status), None) = (status, code) {
        // What it had handed over may be stored: that is no refusal.
        let text = format!(
            "outcome unknown: the session was ended by signal {}, on this server. If you were pushing, pull before you push again",
            status.signal().unwrap_or(0)
        );
        say(&channel, &text).await;
    }
    let client_gone = end(&channel, code.unwrap_or(STATUS_NONE)).await.is_err();
    let event = SessionEvent {
        door: Door::BuiltIn,
        client: &client,
        command: identity.command.as_deref(),
        process: seen.process,
        begun,
        elapsed: started.elapsed(),
        end: seen.end,
        status: code,
        client_gone: Some(client_gone),
    };
    event.log();
}

/// Tells a client in the place of a session why there is none.
pub(super) async fn refuse(channel: ChannelWriteHalf<Msg>, text: String) {
    say(&channel, &text).await;
    // Who has gone needs no status.
    let _ = end(&channel, STATUS_REFUSED).await;
}

/// The order is the client's: all of stderr, the status, the end, the close.
async fn end(channel: &ChannelWriteHalf<Msg>, code: u32) -> Result<(), russh::Error> {
    channel.exit_status(code).await?;
    channel.eof().await?;
    channel.close().await
}

/// What is known of a session's process once it has ended.
#[derive(Debug, Default)]
struct Seen {
    process: Option<u32>,
    end: SessionEnd,
}

fn client_of(identity: &Identity) -> Client {
    Client {
        account: identity.account.clone(),
        address: identity.address.clone(),
        requester: identity.requester.clone(),
    }
}

async fn serve(
    (program, idle): (&SessionProgram, Duration),
    identity: &Identity,
    client: &Client,
    channel: &ChannelWriteHalf<Msg>,
    input: InboundReader,
    seen: &mut Seen,
) -> std::io::Result<Option<ExitStatus>> {
    let identity = frame::encode(identity)?;
    let mut child = program.command().spawn()?;
    // Before it knows whom it serves, the daemon does.
    seen.process = child.id();
    let _registered = seen.process.map(|process| program.peers.register(process, client.served()));
    let (Some(mut stdin), Some(stdout), Some(stderr)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(std::io::Error::other("a pipe is missing"));
    };
    tracing::info!(account = client.account, address = client.address, process = seen.process, "session started");
    let bytes_in = AtomicU64::new(0);
    let bytes_in = &bytes_in;
    let feeding = async {
        // Before any byte of the client's: who it is. A session that ended at once says why on its stderr.
        if stdin.write_all(&identity).await.is_ok() {
            feed(stdin, input, bytes_in).await;
        }
    };
    let sending = async {
        let out = send(stdout, channel.make_writer(), idle);
        let err = send(stderr, channel.make_writer_ext(Some(STDERR)), idle);
        tokio::join!(out, err)
    };
    tokio::pin!(feeding);
    tokio::pin!(sending);
    // The session may end before its input does; but it has not ended before its outputs have.
    let (out, err) = tokio::select! {
        biased;
        sent = &mut sending => sent,
        () = &mut feeding => sending.await,
    };
    let cpu = match seen.process {
        Some(process) => {
            cpu_time_at_end(process).await.inspect_err(|error| tracing::debug!(%error, "no CPU time")).ok()
        }
        None => None,
    };
    let status = child.wait().await?;
    seen.end = SessionEnd { cpu, bytes_in: Some(bytes_in.load(Ordering::Relaxed)), bytes_out: Some(out + err) };
    Ok(Some(status))
}

/// Feeds the session's input until the client ends it, goes away, or the session closes it.
async fn feed(mut stdin: ChildStdin, mut input: InboundReader, bytes: &AtomicU64) {
    while let Some(data) = input.next().await {
        if stdin.write_all(&data).await.is_err() {
            break;
        }
        bytes.fetch_add(data.len() as u64, Ordering::Relaxed);
    }
}

/// Sends what the session writes.
async fn send(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, idle: Duration) -> u64 {
    let mut bytes = 0;
    let mut buffer = vec![0; 64 << 10];
    loop {
        let filled = match from.read(&mut buffer).await {
            Ok(0) | Err(_) => return bytes,
            Ok(filled) => filled,
        };
        match tokio::time::timeout(idle, to.write_all(&buffer[..filled])).await {
            Ok(Ok(())) => bytes += filled as u64,
            // Dropping the pipe ends the session at its next write.
            Ok(Err(_)) | Err(_) => return bytes,
        }
    }
}

async fn say(channel: &ChannelWriteHalf<Msg>, text: &str) {
    let line = format!("{text}\n");
    let _ = tokio::time::timeout(Duration::from_secs(10), channel.extended_data_bytes(STDERR, line.into_bytes())).await;
}
