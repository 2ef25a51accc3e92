//! `run/mirrors.sock`: the master's end of the streams to mirrors and balancers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hgfleet_log::membership::MirrorInView;
use hgfleet_log::stream::{Down, Hello, StreamError, Up, VERSION, Welcome, read_async, write_async};
use hgfleet_log::{LogId, Member, Role};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

use super::digests::Answer;
use super::master::Master;
use super::uploads;
use super::view::{STREAM_MESSAGES_MAX, ViewInput};

/// How long a stream may take to say who it is.
const HELLO_WAIT: Duration = Duration::from_secs(5);
/// How long one message may take to be written.
const WRITE_WAIT: Duration = Duration::from_secs(5);

/// A mirror with less room on its disk can't be relied upon to stage the next record.
const FREE_BYTES_MIN: u64 = 32 << 20;

static STREAMS: AtomicU64 = AtomicU64::new(0);

/// Serves one stream to its end. Streams are numbered in the order of the calls.
pub(crate) fn serve<R, W>(master: Arc<Master>, log: LogId, input: R, output: W) -> impl Future<Output = ()> + Send
where
    R: AsyncRead + Unpin + Send + 'static,
    W: AsyncWrite + Unpin + Send + 'static,
{
    converse(master, log, STREAMS.fetch_add(1, Ordering::Relaxed), input, output)
}

async fn converse<R, W>(master: Arc<Master>, log: LogId, stream: u64, mut input: R, mut output: W)
where
    R: AsyncRead + Unpin + Send + 'static,
    W: AsyncWrite + Unpin + Send + 'static,
{
    let hello = match tokio::time::timeout(HELLO_WAIT, read_async::<Up>(&mut input)).await {
        Ok(Ok(Some(Up::Hello(hello)))) => hello,
        Ok(Ok(Some(Up::Upload(upload)))) => return uploads::serve(master, log, upload, input, output).await,
        _ => {
            tracing::warn!("a stream that does not say who it is was closed");
            return;
        }
    };
    if let Some(why) = objection(&hello, log) {
        tracing::warn!(server = hello.name, why, "a stream was refused");
        let _ = write_async(&mut output, &Down::Refused(why)).await;
        return;
    }
    let (to, messages) = mpsc::channel(STREAM_MESSAGES_MAX);
    let writer = tokio::spawn(write_all(messages, output));
    let mirror = match (hello.role, hello.incarnation) {
        (Role::Mirror, Some(incarnation)) => Some(MirrorInView { name: hello.name.clone(), incarnation }),
        _ => None,
    };
    // The view's owner adds the view as it stands, and sends it.
    let welcome = Welcome { version: VERSION, log, epoch: master.epoch, master: master.name.clone(), view: None };
    tracing::info!(server = hello.name, role = %hello.role, pid = hello.pid, staged = hello.staged.map(|s| s.get()), "stream opened");
    let _ = master.view.send(ViewInput::Joined {
        welcome,
        stream,
        mirror: mirror.clone(),
        staged: hello.staged,
        serves: hello.serves,
        to: to.clone(),
    });
    let ended = read_all(&master, stream, mirror, &mut input, to).await;
    let _ = master.view.send(ViewInput::Gone { stream });
    // The writer ends with the last sender, which the view's owner drops when it hears of the end.
    let _ = writer.await;
    match ended {
        Ok(()) => tracing::info!(server = hello.name, "stream closed"),
        Err(error) => tracing::warn!(server = hello.name, %error, "stream broke"),
    }
}

fn objection(hello: &Hello, log: LogId) -> Option<String> {
    if hello.version != VERSION {
        return Some(format!("it speaks version {} and the master version {VERSION}", hello.version));
    }
    match hello.log {
        Some(other) if other != log => Some(format!("it follows log {other} and the master log {log}")),
        _ if hello.role == Role::Mirror && hello.incarnation.is_none() => {
            Some("a mirror has an incarnation".to_owned())
        }
        _ if hello.role == Role::Master => Some("there is a master already".to_owned()),
        _ => None,
    }
}

/// What keeps a mirror from service, as it says itself.
fn ailment(member: &Member) -> Option<String> {
    let free = member.disk.free_bytes;
    (free < FREE_BYTES_MIN).then(|| format!("its disk is full: {free} bytes are free, and {FREE_BYTES_MIN} are needed"))
}

async fn read_all(
    master: &Master,
    stream: u64,
    mirror: Option<MirrorInView>,
    input: &mut (impl AsyncRead + Unpin),
    to: mpsc::Sender<Down>,
) -> Result<(), StreamError> {
    while let Some(message) = read_async::<Up>(input).await? {
        let input = match (message, &mirror) {
            (Up::Heartbeat { number, member }, Some(mirror)) => {
                Some(ViewInput::Heartbeat(mirror.clone(), number, ailment(&member)))
            }
            (Up::Heartbeat { number, .. }, None) => {
                if to.try_send(Down::Renewed { number }).is_err() {
                    return Ok(());
                }
                None
            }
            (Up::Staged(position), Some(mirror)) => Some(ViewInput::Staged(mirror.clone(), position)),
            (Up::Told(position), Some(mirror)) => Some(ViewInput::Told(mirror.clone(), position)),
            (Up::Left, Some(mirror)) => Some(ViewInput::Left(mirror.clone(), stream)),
            (Up::Joined, Some(mirror)) => Some(ViewInput::Returned(mirror.clone(), stream)),
            (Up::Digest { number, digest, reason }, Some(mirror)) => {
                let digest = digest.ok_or(reason);
                master.digests.answered(number, Answer { server: mirror.name.clone(), digest });
                None
            }
            (Up::Staged(_) | Up::Told(_) | Up::Left | Up::Joined | Up::Digest { .. }, None) => None,
            (Up::Hello(_) | Up::Upload(_), _) => return Err(std::io::Error::other("a second hello").into()),
        };
        if let Some(input) = input {
            let _ = master.view.send(input);
        }
    }
    Ok(())
}

async fn write_all(mut messages: mpsc::Receiver<Down>, mut output: impl AsyncWrite + Unpin) {
    while let Some(message) = messages.recv().await {
        match tokio::time::timeout(WRITE_WAIT, write_async(&mut output, &message)).await {
            Ok(Ok(())) => {}
            _ => return,
        }
    }
}
