//! Files of bundles: made here, and brought to every server by the log with the manifest that names them.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::sync::Arc;

use hg_store::change::ChangeWriter;
use hg_store::config::Config;
use hg_store::{Repository, Settings, Snapshot};
use hg_wire::bundle_file::BundleFile;
use hg_wire::clone_bundles::{self, INLINE_FOLDER};
use hgfleet_log::{RepositoryName, StoreKind};

use super::change_file::ChangeFile;
use super::master::{Master, No};
use super::repositories::{Author, blocking, finish, text};
use crate::protocol::Grant;

/// Bundles that one manifest of a repository may name.
pub(super) const BUNDLES_MAX: usize = 16;
/// Bytes of a bundle that the log carries.
const BYTES_MAX: u64 = 1 << 30;
/// Bytes that are read at once.
const PIECE_BYTES: usize = 1 << 20;

impl Master {
    /// Makes a bundle, with what `make` says of it: pushes go on meanwhile, and what is public stays so.
    pub(super) async fn make_bundle<T: Send + 'static>(
        &self,
        name: &RepositoryName,
        make: impl FnOnce(Arc<Snapshot>) -> Result<(T, BundleFile), String> + Send + 'static,
    ) -> Result<(T, File), No> {
        let (grant, _) = self.grant(name)?;
        let slot = tokio::time::timeout(self.lock_wait, self.copying.acquire()).await;
        let Ok(Ok(_slot)) = slot else {
            return Err(No::refused("other bundles or copies are being made. Try again in a while"));
        };
        let bytes = self.replica.repository(name).map_or(0, |repository| repository.bytes);
        self.check_room(name, bytes.min(BYTES_MAX))?;
        let (run, of) = (self.run.clone(), name.clone());
        blocking(move || {
            let (said, bundle) = make(open(&grant, &of)?)?;
            let mut output = Bounded { file: tempfile::tempfile_in(&run).map_err(text)?, left: BYTES_MAX };
            bundle.write(&mut io::BufWriter::with_capacity(PIECE_BYTES, &mut output)).map_err(text)?;
            Ok((said, output.file))
        })
        .await
    }

    /// Changes a repository's bundles in one record, under its lock; returns what `write` does, and the record's sequence.
    pub(super) async fn store_bundles<T: Send + 'static>(
        &self,
        name: &RepositoryName,
        author: Author,
        write: impl FnOnce(&Grant, &mut ChangeWriter<File>) -> Result<T, String> + Send + 'static,
    ) -> Result<(T, u64), No> {
        let (lock, grant, digest) = self.lock(name).await?;
        let (run, replica) = (self.run.clone(), self.replica.clone());
        let of = name.clone();
        let made = blocking(move || {
            let mut writer = ChangeWriter::new(tempfile::tempfile_in(&run).map_err(text)?).map_err(text)?;
            let written = write(&grant, &mut writer)?;
            let (change, after) = finish(writer, &of, |name, change| replica.digest_after(name, change))?;
            Ok((written, change, after))
        });
        let (written, change, after): (T, ChangeFile, [u8; 32]) = made.await?;
        self.check_room(name, change.bytes().len() as u64)?;
        let stored = self.store(StoreKind::Alter, Some(digest), Some(after), change, lock, author).await?;
        Ok((written, stored))
    }
}

/// Opens what was granted.
pub(super) fn open(grant: &Grant, name: &RepositoryName) -> Result<Arc<Snapshot>, String> {
    let repository = Repository::open(&grant.path).map_err(text)?;
    if repository.identity().map_err(text)? != grant.folder {
        return Err(format!("{name} was exchanged or renamed just now. Try again"));
    }
    repository.snapshot(grant.state.clone()).map(Arc::new).map_err(text)
}

/// What the repository's settings are by what was granted.
pub(super) fn settings(grant: &Grant) -> Result<Settings, String> {
    let config = Config::parse(grant.state.hgrc.as_deref().unwrap_or_default()).map_err(text)?;
    Ok(Settings::new(config))
}

/// Puts a manifest in the place of the one that there is, or takes it away where nothing is in it.
pub(super) fn put_manifest(
    path: &[u8],
    before: Option<&[u8]>,
    manifest: &[u8],
    writer: &mut ChangeWriter<File>,
) -> Result<(), String> {
    let old_bytes = before.map(|before| before.len() as u64);
    match (old_bytes, manifest.is_empty()) {
        (Some(bytes), true) => writer.remove(path, bytes),
        (Some(_), false) => writer.replace(path, old_bytes, manifest),
        (None, _) => writer.create(path, manifest),
    }
    .map_err(text)
}

/// Takes a bundle's file away, where there is one.
pub(super) fn take_away(snapshot: &Snapshot, path: &[u8], writer: &mut ChangeWriter<File>) -> Result<(), String> {
    match snapshot.bundle_file(path).map_err(text)? {
        Some((_, bytes)) => writer.remove(path, bytes).map_err(text),
        None => Ok(()),
    }
}

/// Puts a bundle where manifests name it.
pub(super) fn put(
    snapshot: &Snapshot,
    file_name: &str,
    file: File,
    writer: &mut ChangeWriter<File>,
) -> Result<(), String> {
    let path = path_of(file_name.as_bytes());
    match snapshot.bundle_file(&path).map_err(text)? {
        Some((_, bytes)) => writer.begin_replace(&path, Some(bytes)),
        None => writer.begin_create(&path),
    }
    .map_err(text)?;
    append(file, writer)
}

/// Where a bundle's file lies, below `.hg`.
pub(super) fn path_of(file_name: &[u8]) -> Vec<u8> {
    debug_assert!(clone_bundles::is_plain_name(file_name));
    [INLINE_FOLDER.as_bytes(), b"/", file_name].concat()
}

fn append(mut file: File, writer: &mut ChangeWriter<File>) -> Result<(), String> {
    file.rewind().map_err(text)?;
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match file.read(&mut piece).map_err(text)? {
            0 => break,
            bytes => writer.write(&piece[..bytes]).map_err(text)?,
        }
    }
    writer.end();
    Ok(())
}

/// A file that takes no more than so many bytes.
struct Bounded {
    file: File,
    left: u64,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.left = self.left.checked_sub(bytes.len() as u64).ok_or_else(|| {
            io::Error::other(format!(
                "the bundle is larger than the {BYTES_MAX} bytes that the log carries. \
                 Make one of less, or put it on a server of files (clone-bundle add --url)"
            ))
        })?;
        self.file.write_all(bytes).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
