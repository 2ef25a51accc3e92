//! Objects that clients upload: passed on to the master, piece by piece, over the socket by which this mirror follows it.
//!
//! Nothing of it stays here. What was stored comes back by the log, like everything that a mirror has.

use std::time::Duration;

use bytes::Bytes;
use hg_wire::http as wire;
use hgfleet_access::AccessRules;
use hgfleet_log::holder::MIRRORS_SOCKET;
use hgfleet_log::stream::{Up, read_async, write_async};
use hgfleet_log::upload::{Answer, Upload, Why};
use hgfleet_log::{RepositoryName, Sequence};
use http_body_util::BodyExt;
use hyper::StatusCode;
use hyper::body::Incoming;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::{Instant, sleep, timeout};

use crate::membership::Membership;
use crate::readers::Reader;

/// How long a master is looked for before any byte is taken: one that follows another is not the client's affair.
const MASTER_WAIT: Duration = Duration::from_secs(15);
/// The pause between two looks.
const MASTER_PAUSE: Duration = Duration::from_millis(100);
/// How long the master may take to say whether the bytes are wanted: some wait for their turn.
const WANTED_WAIT: Duration = Duration::from_secs(30);
/// How long a piece may take on its way to the master.
const WRITE_WAIT: Duration = Duration::from_secs(60);
/// How long the client may take for the next piece.
const CLIENT_WAIT: Duration = Duration::from_secs(60);
/// The same where nobody wants it any more, and the client is only to get to its answer.
const DRAIN_WAIT: Duration = Duration::from_secs(1);
/// How long the master may take to store the object, once it has all of it.
const STORED_WAIT: Duration = Duration::from_secs(300);

/// Whether a reader may upload to a repository. `offers_sign_in`: credentials are taken where the request came in.
///
/// # Errors
/// What the client is told.
pub(crate) fn check(
    reader: &Reader,
    rules: &AccessRules,
    name: &str,
    offers_sign_in: bool,
) -> Result<(), wire::Refusal> {
    let refusal = |status, text: String| Err(wire::Refusal { status, text });
    let Ok(of) = RepositoryName::parse(name.as_bytes()) else {
        return refusal(404, "refused: there is no repository, at this address. Look at its spelling".to_owned());
    };
    match reader {
        Reader::Anonymous if offers_sign_in => refusal(
            401,
            format!(
                "refused: nobody has said who uploads LFS objects, on {name}. Show your mail address and a token that may upload"
            ),
        ),
        Reader::Anonymous => refusal(
            403,
            format!("refused: LFS objects are not taken at this address, on {name}. Use the fleet's HTTPS address"),
        ),
        Reader::Unsure => refusal(
            503,
            format!("refused: it can't be found out who uploads LFS objects, on {name}. Try again in a few minutes"),
        ),
        Reader::Account { uploads: false, .. } => refusal(
            403,
            format!("refused: the token may only read, on {name}. Ask an administrator for one that may upload"),
        ),
        Reader::Account { mail, .. } if !reader.may_write(rules, &of) => {
            refusal(403, format!("refused: the access rules don't let {mail} write, on {name}. Ask an administrator"))
        }
        Reader::Account { .. } => Ok(()),
    }
}

/// What the client reads where no master can be reached.
pub(crate) fn no_master(name: &str) -> wire::Refusal {
    let text = format!("refused: no master takes LFS objects now, on {name}. Push again in a minute");
    wire::Refusal { status: StatusCode::SERVICE_UNAVAILABLE.as_u16(), text }
}

/// What it reads where it sends too little.
fn cut(name: &str) -> wire::Refusal {
    let text = format!("refused: the LFS object came too slowly, or not all of it, on {name}. Push again");
    wire::Refusal { status: StatusCode::BAD_REQUEST.as_u16(), text }
}

/// Passes an object on; returns the number of the record that stores it, none where it was there before.
///
/// # Errors
/// What the client is told.
pub(crate) async fn pass_on(
    membership: &Membership,
    upload: Upload,
    body: Incoming,
) -> Result<Option<Sequence>, wire::Refusal> {
    let name = upload.repository.clone();
    let bytes = upload.bytes;
    let begun = Instant::now();
    let (wanted, mut input, mut output) = loop {
        let next_master = begun.elapsed() < MASTER_WAIT;
        match offer(membership, &upload).await {
            None | Some((Answer::Refused { why: Why::NotMaster, .. }, ..)) if next_master => sleep(MASTER_PAUSE).await,
            None => return Err(no_master(name.as_str())),
            Some(answered) => break answered,
        }
    };
    if wanted != Answer::Send {
        drain(body, bytes).await;
        return said(wanted, name.as_str());
    }
    // The master may say no before it has all: then the client is told why, and not that a connection broke.
    let heard = read_async::<Answer>(&mut input);
    tokio::pin!(heard);
    let answer = tokio::select! {
        answer = &mut heard => answer,
        sent = send(body, bytes, &mut output) => match sent {
            Sent::ClientEnded => return Err(cut(name.as_str())),
            Sent::All | Sent::MasterEnded => timeout(STORED_WAIT, &mut heard).await.unwrap_or(Ok(None)),
        },
    };
    said(answer.ok().flatten().ok_or_else(|| no_master(name.as_str()))?, name.as_str())
}

/// Asks the master whether it wants an object; none where it can't be asked.
async fn offer(membership: &Membership, upload: &Upload) -> Option<(Answer, OwnedReadHalf, OwnedWriteHalf)> {
    let (mut input, mut output) = connect(membership).await?;
    timeout(WRITE_WAIT, write_async(&mut output, &Up::Upload(upload.clone()))).await.ok()?.ok()?;
    let wanted = hear(&mut input, WANTED_WAIT).await?;
    Some((wanted, input, output))
}

async fn connect(membership: &Membership) -> Option<(OwnedReadHalf, OwnedWriteHalf)> {
    let holder = membership.holder().await.ok().flatten()?;
    let path = holder.socket(&membership.run, MIRRORS_SOCKET)?;
    let connected =
        UnixStream::connect(path).await.inspect_err(|error| tracing::debug!(%error, "no way to the master"));
    Some(connected.ok()?.into_split())
}

async fn hear(input: &mut OwnedReadHalf, wait: Duration) -> Option<Answer> {
    timeout(wait, read_async::<Answer>(input)).await.ok()?.ok()?
}

/// How the sending of a body has ended.
enum Sent {
    All,
    ClientEnded,
    MasterEnded,
}

/// Sends exactly so many bytes of a body.
async fn send(mut body: Incoming, bytes: u64, output: &mut OwnedWriteHalf) -> Sent {
    let mut left = bytes;
    while left > 0 {
        let Some(piece) = next(&mut body, CLIENT_WAIT).await else { return Sent::ClientEnded };
        let Some(after) = left.checked_sub(piece.len() as u64) else { return Sent::ClientEnded };
        left = after;
        match timeout(WRITE_WAIT, output.write_all(&piece)).await {
            Ok(Ok(())) => {}
            _ => return Sent::MasterEnded,
        }
    }
    Sent::All
}

/// The next bytes of a body; none where it has ended, broke off or rests.
async fn next(body: &mut Incoming, wait: Duration) -> Option<Bytes> {
    loop {
        let frame = timeout(wait, body.frame()).await.ok()??.ok()?;
        // Trailers mean nothing here.
        if let Ok(data) = frame.into_data() {
            return Some(data);
        }
    }
}

/// Reads what nobody wants, so that the client gets to the answer instead of to a broken connection; up to a bound.
pub(crate) async fn drain(mut body: Incoming, bytes: u64) {
    const DRAINED_BYTES_MAX: u64 = 1 << 30;
    let mut left = bytes.min(DRAINED_BYTES_MAX);
    while left > 0 {
        let Some(piece) = next(&mut body, DRAIN_WAIT).await else { return };
        left = left.saturating_sub(piece.len() as u64);
    }
}

/// What the master's answer is to the client.
fn said(answer: Answer, name: &str) -> Result<Option<Sequence>, wire::Refusal> {
    let (why, text) = match answer {
        Answer::Stored(sequence) => return Ok(sequence),
        Answer::Send => return Err(no_master(name)),
        Answer::Refused { why, text } => (why, text),
    };
    let status = match why {
        Why::NotAllowed => StatusCode::FORBIDDEN,
        Why::NotThere => StatusCode::NOT_FOUND,
        Why::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Why::OtherBytes => StatusCode::UNPROCESSABLE_ENTITY,
        Why::Cut => StatusCode::BAD_REQUEST,
        Why::Later | Why::NotMaster => StatusCode::SERVICE_UNAVAILABLE,
    };
    Err(wire::Refusal { status: status.as_u16(), text })
}
