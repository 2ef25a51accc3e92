//! Objects that clients upload to mirrors, and mirrors pass on: each is checked against its hash, and stored by a record of its own.
//!
//! A mirror is believed whose credentials it was shown, and nothing else: the account's rights, the bounds and the hash are looked at here. The bytes
//! go into a file without a name, outside of any lock, and are a change already when the last one has come.

use std::sync::Arc;
use std::time::Duration;

use hg_store::change::ChangeRef;
use hg_store::lfs::{IncomingObject, LfsOid};
use hgfleet_access::Action;
use hgfleet_log::stream::write_async;
use hgfleet_log::upload::{Answer, Upload, VERSION, Why};
use hgfleet_log::{LogId, RecordId, RepositoryName, Sequence, StoreKind, limits};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};

use super::change_file::ChangeFile;
use super::master::{Master, No, NoKind, refusal};
use super::peers::Client;
use super::repositories::{Author, blocking, text};

/// Objects that come in at a time.
const UPLOADS_MAX: usize = 16;
/// How long one waits for a place.
const PLACE_WAIT: Duration = Duration::from_secs(10);
/// An object must come this fast, after a time that any may take.
const BYTES_PER_SECOND_MIN: u64 = 32 << 10;
const GRACE: Duration = Duration::from_secs(60);
/// How long nothing at all may come.
const IDLE: Duration = Duration::from_secs(60);
/// How long an answer may take to be written.
const WRITE_WAIT: Duration = Duration::from_secs(5);
/// Bytes that are read and written at once.
const PIECE_BYTES: usize = 256 << 10;

pub(crate) fn places() -> Semaphore {
    Semaphore::new(UPLOADS_MAX)
}

/// Why an object is not stored.
struct Refused {
    why: Why,
    text: String,
}

impl Refused {
    fn new(why: Why, text: impl Into<String>) -> Refused {
        Refused { why, text: text.into() }
    }

    /// What the master says no to, where whoever asked can do something about it for this reason.
    fn of(why: Why) -> impl Fn(No) -> Refused {
        move |no| match no.kind {
            NoKind::Refused => Refused::new(why, no.text),
            NoKind::Failed => Refused::new(Why::Later, no.text),
            NoKind::NotMaster => Refused::new(Why::NotMaster, no.text),
        }
    }
}

/// Serves one connection, of which the first message was read.
pub(crate) async fn serve(
    master: Arc<Master>,
    log: LogId,
    upload: Upload,
    mut input: impl AsyncRead + Unpin + Send,
    mut output: impl AsyncWrite + Unpin + Send,
) {
    let started = Instant::now();
    let answer = match take(&master, log, &upload, &mut input, &mut output).await {
        Ok(stored) => Answer::Stored(stored),
        Err(Refused { why, text }) => Answer::Refused { why, text },
    };
    let Upload { repository, account, mirror, bytes, .. } = &upload;
    let oid = LfsOid::new(upload.sha256);
    let ms = started.elapsed().as_millis() as u64;
    tracing::info!(%repository, account, mirror, %oid, bytes, ms, ?answer, "an object was uploaded, or not");
    let _ = timeout(WRITE_WAIT, write_async(&mut output, &answer)).await;
}

async fn take(
    master: &Master,
    log: LogId,
    upload: &Upload,
    input: &mut (impl AsyncRead + Unpin + Send),
    output: &mut (impl AsyncWrite + Unpin + Send),
) -> Result<Option<Sequence>, Refused> {
    if upload.version != VERSION || upload.log != log {
        return Err(Refused::new(
            Why::Later,
            "refused: the mirror is of another fleet or version, on this upload. Tell the administrators",
        ));
    }
    let oid = LfsOid::new(upload.sha256);
    let name = &upload.repository;
    check(master, upload).await?;
    if is_here(master, name, oid)? {
        return Ok(None);
    }
    let Ok(Ok(_place)) = timeout(PLACE_WAIT, master.uploading.acquire()).await else {
        let text = format!("refused: {UPLOADS_MAX} other objects come in already, on {name}. Push again in a while");
        return Err(Refused::new(Why::Later, text));
    };
    let gone = |_| cut(name);
    timeout(WRITE_WAIT, write_async(output, &Answer::Send)).await.map_err(|_| cut(name))?.map_err(gone)?;
    let change = receive(master, upload, input).await?;
    store(master, upload, change).await
}

/// What can be known before the first byte comes, and is looked at again when the last one has.
async fn check(master: &Master, upload: &Upload) -> Result<(), Refused> {
    let name = &upload.repository;
    if !master.takes_pushes() {
        return Err(Refused::of(Why::Later)(No::not_master()));
    }
    let client = Client { account: upload.account.clone(), address: upload.address.clone(), requester: None };
    master.check_rights(&client, name, Action::Write).await.map_err(Refused::of(Why::NotAllowed))?;
    master.check_takes(name).map_err(Refused::of(Why::NotAllowed))?;
    if upload.bytes > master.push_bytes_max {
        let (bytes, max) = (upload.bytes, master.push_bytes_max);
        let text = format!(
            "refused: the LFS object has {bytes} bytes and {max} are allowed, on {name}. Make it smaller, or ask the administrators for a higher limit"
        );
        return Err(Refused::new(Why::TooLarge, text));
    }
    master.check_room(name, upload.bytes).map_err(Refused::of(Why::Later))
}

/// Whether the object is in the store already. The repository must be one that takes such.
fn is_here(master: &Master, name: &RepositoryName, oid: LfsOid) -> Result<bool, Refused> {
    let snapshot = master.replica.shared_snapshot(name);
    let snapshot = snapshot.map_err(|error| Refused::of(Why::NotThere)(refusal(name, &error)))?;
    if !snapshot.serves_lfs() {
        let text = format!("refused: LFS is not enabled, on {name}. Ask its administrators for extensions.lfs");
        return Err(Refused::new(Why::NotThere, text));
    }
    snapshot.repository().lfs_object(oid).map(|found| found.is_some()).map_err(|error| {
        tracing::error!(%error, repository = %name, "an LFS object can't be read");
        master.resync.suspect(name);
        Refused::new(Why::Later, format!("refused: the repository is being repaired, {name}. Try again in a while"))
    })
}

fn cut(name: &RepositoryName) -> Refused {
    let text = format!("refused: the LFS object came too slowly, or not all of it, on {name}. Push again");
    Refused::new(Why::Cut, text)
}

/// Takes the bytes in; gives the change that stores them, once they are what the hash is of.
async fn receive(
    master: &Master,
    upload: &Upload,
    input: &mut (impl AsyncRead + Unpin),
) -> Result<ChangeFile, Refused> {
    let (name, oid) = (&upload.repository, LfsOid::new(upload.sha256));
    let full = |no: No| {
        tracing::error!(repository = %name, error = no.text, "an object can't be taken in");
        Refused::new(
            Why::Later,
            format!("refused: the server has no room for the LFS object, on {name}. Tell the administrators"),
        )
    };
    let deadline = Instant::now() + GRACE + Duration::from_secs(upload.bytes / BYTES_PER_SECOND_MIN);
    let run = master.run.clone();
    let begun = blocking(move || IncomingObject::new(tempfile::tempfile_in(&run).map_err(text)?, oid).map_err(text));
    let mut incoming = begun.await.map_err(full)?;
    let mut piece = Vec::with_capacity(PIECE_BYTES);
    let mut left = upload.bytes;
    while left > 0 {
        let wanted = left.min(PIECE_BYTES as u64);
        let mut source = (&mut *input).take(wanted);
        while (piece.len() as u64) < wanted {
            let until = deadline.min(Instant::now() + IDLE);
            match timeout_at(until, source.read_buf(&mut piece)).await {
                Ok(Ok(read)) if read > 0 => {}
                _ => return Err(cut(name)),
            }
        }
        left -= wanted;
        let written = blocking(move || {
            incoming.write(&piece).map_err(text)?;
            piece.clear();
            Ok((incoming, piece))
        });
        (incoming, piece) = written.await.map_err(full)?;
    }
    let ended = blocking(move || {
        let file = incoming.finish().map_err(text)?;
        file.map(ChangeFile::own).transpose().map_err(text)
    });
    ended.await.map_err(full)?.ok_or_else(|| {
        let text = format!(
            "refused: the bytes are not what the hash {oid} is of, on {name}. Run hg verify in your repository; if it is clean, push again"
        );
        Refused::new(Why::OtherBytes, text)
    })
}

/// Appends the record, and waits until readers have it.
async fn store(master: &Master, upload: &Upload, change: ChangeFile) -> Result<Option<Sequence>, Refused> {
    let name = &upload.repository;
    // A rule may have changed meanwhile, as for a push.
    check(master, upload).await?;
    let (lock, _, digest) = master.lock(name).await.map_err(Refused::of(Why::Later))?;
    master.check_takes(name).map_err(Refused::of(Why::NotAllowed))?;
    if is_here(master, name, LfsOid::new(upload.sha256))? {
        return Ok(None);
    }
    let (replica, of) = (master.replica.clone(), name.clone());
    let digested = blocking(move || {
        let after = replica.digest_after(&of, &ChangeRef::parse(change.bytes()).map_err(text)?).map_err(text)?;
        Ok((change, after))
    });
    let (change, after) = digested.await.map_err(|no| {
        tracing::error!(repository = %name, error = no.text, "an object does not fit the store");
        master.resync.suspect(name);
        Refused::new(Why::Later, format!("refused: the repository is being repaired, {name}. Try again in a while"))
    })?;
    let id = RecordId::random().map_err(|error| Refused::of(Why::Later)(No::failed(error.to_string())))?;
    let source = format!("https:{} via {}", upload.address, upload.mirror);
    let author = Author {
        id,
        who: upload.account.chars().take(limits::WHO_BYTES_MAX / 4).collect(),
        source: source.chars().take(limits::SOURCE_BYTES_MAX / 4).collect(),
    };
    let stored = master.store(StoreKind::Alter, Some(digest), Some(after), change, lock, author);
    let stored = stored.await.map_err(Refused::of(Why::Later))?;
    Ok(Sequence::new(stored))
}
