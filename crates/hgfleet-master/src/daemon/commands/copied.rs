//! A new repository that is a copy of another one of the fleet.
//!
//! The files are read as of one record, while pushes go on: what only grows up to its length then, and each compared with the digest
//! that is kept of it. A file that was exchanged meanwhile shows in that, and the copy begins again.

use std::io::Read;
use std::path::Path;

use hg_store::change::ChangeWriter;
use hg_store::digest::{FileDigest, FileHasher};
use hg_store::{Phase, Repository, Snapshot, StoreError};
use hgfleet_log::RepositoryName;
use hgfleet_replica::{ListedFile, Listing, Replica, ReplicaError};
use tokio::sync::Semaphore;

use crate::daemon::change_file::ChangeFile;
use crate::daemon::master::{Master, No, refusal};
use crate::daemon::repositories::NON_PUBLISHING;

/// Copies that are made at a time, for all accounts: each reads and writes as much as it can.
pub(crate) const COPIES_MAX: usize = 2;
/// How often a copy begins again.
const TRIES_MAX: usize = 5;
/// Bytes that are read at once.
const PIECE_BYTES: usize = 1 << 20;
const PHASEROOTS: &[u8] = b"store/phaseroots";
/// Files beside the store that a copy gets none of, or one of its own.
const NOT_COPIED: [&[u8]; 3] = [b"hgrc", b"clonebundles.manifest", b"pullbundles.manifest"];

/// Returns the slots that copies take.
pub(crate) fn slots() -> Semaphore {
    Semaphore::new(COPIES_MAX)
}

/// Why there is no copy.
enum NoCopy {
    /// It was written to while it was read.
    Again,
    /// There are changesets in it that nobody may read.
    Hidden(usize),
    Replica(ReplicaError),
    Other(String),
}

impl From<ReplicaError> for NoCopy {
    fn from(error: ReplicaError) -> NoCopy {
        NoCopy::Replica(error)
    }
}

fn other(error: impl std::fmt::Display) -> NoCopy {
    NoCopy::Other(error.to_string())
}

/// Returns the change that makes a copy, non-publishing, with nothing else of the other one's configuration.
pub(super) async fn of(master: &Master, source: &RepositoryName, name: &RepositoryName) -> Result<ChangeFile, No> {
    let slot = tokio::time::timeout(master.lock_wait, master.copying.acquire()).await;
    let Ok(Ok(_slot)) = slot else {
        return Err(No::refused(format!("refused: others are making copies, on {name}. Try again in a while")));
    };
    let bytes = master.replica.repository(source).map_or(0, |repository| repository.bytes);
    master.check_room(name, bytes)?;
    let (replica, run, from) = (master.replica.clone(), master.run.clone(), source.clone());
    let copied = tokio::task::spawn_blocking(move || {
        let mut tries = 1;
        loop {
            match copy(&replica, &from, &run) {
                Err(NoCopy::Again) if tries < TRIES_MAX => tries += 1,
                copied => return copied,
            }
        }
    });
    copied.await.unwrap_or_else(|error| Err(other(error))).map_err(|no| match no {
        NoCopy::Again => No::refused(format!("refused: {source} changes too often to be copied, on {name}. Try again in a while")),
        NoCopy::Hidden(number) => No::refused(format!(
            "refused: {source} has {number} changesets that nobody is shown and can't be copied here, on {name}. Make an empty repository, and push to it what you have cloned"
        )),
        NoCopy::Replica(error) => refusal(source, &error),
        NoCopy::Other(error) => {
            tracing::error!(repository = %source, error, "a repository can't be copied");
            No::failed(format!("refused: {source} can't be copied, on {name}. Tell the administrators"))
        }
    })
}

fn copy(replica: &Replica, source: &RepositoryName, run: &Path) -> Result<ChangeFile, NoCopy> {
    let granted = replica.snapshot(source)?;
    let listing = replica.listing(source)?;
    if listing.sequence != granted.sequence {
        return Err(NoCopy::Again);
    }
    let is_gone =
        |error: StoreError| if replica.created(source) == Some(listing.created) { other(error) } else { NoCopy::Again };
    let repository = Repository::open(&granted.path).map_err(is_gone)?;
    let snapshot = repository.snapshot(granted.state).map_err(is_gone)?;
    // A copy has all bytes; its owner could bring to light what nobody sees in the original.
    let excluded = snapshot.served().map_err(is_gone)?.excluded().len();
    if excluded > 0 {
        return Err(NoCopy::Hidden(excluded));
    }
    let mut writer = ChangeWriter::new(tempfile::tempfile_in(run).map_err(other)?).map_err(other)?;
    // What speeds clones up is the original's affair, as its configuration is.
    let is_left_out =
        |path: &[u8]| path == PHASEROOTS || NOT_COPIED.contains(&path) || path.starts_with(b"bundle-cache/");
    for file in listing.files.iter().filter(|file| !is_left_out(&file.path)) {
        writer.begin_create(&file.path).map_err(other)?;
        read(replica, source, &listing, file, |piece| writer.write(piece).map_err(other))?;
        writer.end();
    }
    if let Some(roots) = phaseroots(&snapshot)? {
        writer.create(PHASEROOTS, &roots).map_err(other)?;
    }
    writer.create(b"hgrc", NON_PUBLISHING).map_err(other)?;
    let (file, _) = writer.finish().map_err(other)?;
    ChangeFile::own(file).map_err(other)
}

/// The roots of a copy: what a publishing repository shows as public is public in it.
fn phaseroots(snapshot: &Snapshot) -> Result<Option<Vec<u8>>, NoCopy> {
    if snapshot.state().phaseroots.is_none() {
        return Ok(None);
    }
    if snapshot.settings().publishing() {
        return Ok(Some(Vec::new()));
    }
    let roots = snapshot.phases().map_err(other)?.roots();
    let drafts = roots.iter().filter(|(phase, ..)| *phase == Phase::Draft);
    let lines: String = drafts.map(|(phase, _, node)| format!("{} {node}\n", phase.number())).collect();
    Ok(Some(lines.into_bytes()))
}

fn read(
    replica: &Replica,
    source: &RepositoryName,
    listing: &Listing,
    file: &ListedFile,
    mut write: impl FnMut(&[u8]) -> Result<(), NoCopy>,
) -> Result<(), NoCopy> {
    let mut hasher = FileHasher::new(&file.path);
    if let Some(content) = &file.content {
        hasher.update(content);
        write(content)?;
    } else {
        let opened = replica.listed_file(source, listing.created, &file.path)?.ok_or(NoCopy::Again)?;
        let mut opened = opened.take(file.bytes);
        let mut piece = vec![0; PIECE_BYTES.min(usize::try_from(file.bytes).unwrap_or(PIECE_BYTES).max(1))];
        loop {
            let filled = opened.read(&mut piece).map_err(other)?;
            if filled == 0 {
                break;
            }
            hasher.update(&piece[..filled]);
            write(&piece[..filled])?;
        }
    }
    match hasher.finish() == (FileDigest { bytes: file.bytes, hash: file.hash }) {
        true => Ok(()),
        false => Err(NoCopy::Again),
    }
}
