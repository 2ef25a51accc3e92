//! What another server is given to make a copy of a repository.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;
use std::sync::Arc;

use hg_store::apply::Directories;
use hg_store::digest::{KeptFiles, state_files};
use hgfleet_log::{RepositoryName, Sequence};
use rustix::fs::OFlags;

use crate::replica::{Inner, Replica};
use crate::repository::{Current, Entry, Writer};
use crate::scrub::ALTERED;
use crate::{ReplicaError, RepositoryStatus};

/// Contents of files that are exchanged and not appended to travel within the list, up to this length, in bytes.
const CONTENT_BYTES_MAX: u64 = 4 << 20;
/// What is only appended to, besides revlogs.
const GROWING: [&[u8]; 2] = [b"store/fncache", b"store/obsstore"];

/// A repository's files as of one record: what makes a copy of it, and proves that it is one.
#[derive(Debug, Clone)]
pub struct Listing {
    /// The record that made the repository.
    pub created: Sequence,
    /// Its last record that is in the files.
    pub sequence: Sequence,
    /// The digest that the files make, which is also that record's `after`.
    pub digest: [u8; 32],
    /// The files, by path.
    pub files: Vec<ListedFile>,
}

/// One file of a [`Listing`].
#[derive(Debug, Clone)]
pub struct ListedFile {
    /// Its path below `.hg`.
    pub path: Vec<u8>,
    /// Its length as of the record, in bytes; the file may have grown since.
    pub bytes: u64,
    /// Hash of path, length and content, see [`hg_store::digest::FileDigest`].
    pub hash: [u8; 32],
    /// Its content, where a later record may exchange the file for another.
    pub content: Option<Vec<u8>>,
}

/// A repository's state, the paths of its files, and what is kept of them, all of one record.
type FilesAsKept = (Arc<Current>, Vec<Vec<u8>>, KeptFiles);

/// How a store's files differ from what is kept of them.
enum Difference {
    /// A file, or the end of one, that no record made.
    Added(String),
    /// A file, or the end of one, that a record made.
    Lost(String),
}

impl Replica {
    /// Lists a repository's files as of its last record. No file that grows is read; records for it wait meanwhile.
    ///
    /// # Errors
    /// As for [`Replica::snapshot`]. Where files are missing, or are there that no record made, the repository goes
    /// into quarantine.
    pub fn listing(&self, name: &RepositoryName) -> Result<Listing, ReplicaError> {
        let inner = &*self.inner;
        let (entry, _) = inner.readable(name)?;
        let mut writer = entry.writer();
        let (current, paths, kept) = inner.files_as_kept(&entry, &mut writer)?;
        let mut directories = inner.directories(name)?;
        let mut files = Vec::with_capacity(paths.len());
        for path in paths {
            let Some(file) = kept.get(&path) else { continue };
            let is_exchanged = !path.ends_with(b".i")
                && !path.ends_with(b".d")
                && !GROWING.contains(&path.as_slice())
                // Made once, under a name of its own.
                && !path.starts_with(b"bundle-cache/");
            let content = match is_exchanged && file.bytes <= CONTENT_BYTES_MAX {
                true => Some(read(&mut directories, inner, name, &path)?),
                false => None,
            };
            files.push(ListedFile { path, bytes: file.bytes, hash: file.hash, content });
        }
        Ok(Listing { created: entry.created, sequence: current.sequence, digest: current.digest, files })
    }

    /// Opens a file of a repository, to be read up to the length that a [`Listing`] said; `None` where it is gone.
    ///
    /// # Errors
    /// [`ReplicaError::NotFound`] also where another record than `created` made the repository of that name;
    /// [`ReplicaError::Quarantined`]; a file that can't be opened.
    pub fn listed_file(
        &self,
        name: &RepositoryName,
        created: Sequence,
        path: &[u8],
    ) -> Result<Option<File>, ReplicaError> {
        let (entry, _) = self.inner.readable(name)?;
        if entry.created != created {
            return Err(ReplicaError::NotFound(name.clone()));
        }
        let hg = self.inner.hg(name);
        let opened = Directories::open(&hg).and_then(|mut directories| directories.file(path, OFlags::RDONLY));
        opened.map_err(ReplicaError::io("open a file of", &hg))
    }

    /// Returns the record that made a repository; `None` where there is none of that name.
    pub fn created(&self, name: &RepositoryName) -> Option<Sequence> {
        self.inner.entry(name).map(|entry| entry.created)
    }

    /// Returns one repository's status; `None` where there is none of that name.
    pub fn repository(&self, name: &RepositoryName) -> Option<RepositoryStatus> {
        self.inner.entry(name).map(|entry| RepositoryStatus::of(&entry))
    }
}

impl Inner {
    pub(crate) fn directories(&self, name: &RepositoryName) -> Result<Directories, ReplicaError> {
        let hg = self.hg(name);
        Directories::open(&hg).map_err(ReplicaError::io("open", &hg))
    }

    /// Compares which files there are with which there should be, under the writer's lock. Unequal: quarantine.
    pub(crate) fn files_as_kept(&self, entry: &Entry, writer: &mut Writer) -> Result<FilesAsKept, ReplicaError> {
        let current = entry.current();
        if let Some(reason) = &current.quarantine {
            return Err(ReplicaError::Quarantined { name: entry.name.clone(), reason: reason.clone() });
        }
        let found = self.all_kept(entry).and_then(|kept| Ok((state_files(&self.hg(&entry.name))?, kept)));
        let why = match &found {
            Err(error) => Some(format!("damaged: {error}")),
            Ok((_, kept)) if *kept.digest().as_bytes() != current.digest => {
                Some("damaged: what is kept of its files does not make its digest".to_owned())
            }
            Ok((paths, kept)) => match self.difference(&entry.name, paths, kept)? {
                Some(Difference::Added(what)) => Some(format!("{ALTERED}: {what}")),
                Some(Difference::Lost(what)) => Some(self.blame(entry, writer, &what)),
                None => None,
            },
        };
        match (found, why) {
            (Ok((paths, kept)), None) => Ok((current, paths, kept)),
            (_, why) => {
                let why = why.unwrap_or_default();
                self.quarantine(entry, why.clone())?;
                Err(ReplicaError::Quarantined { name: entry.name.clone(), reason: why })
            }
        }
    }

    /// Whether a repository has files, or ends of files, that no record made: no disk does that.
    pub(crate) fn has_added(&self, entry: &Entry) -> Result<bool, ReplicaError> {
        let kept = self.all_kept(entry)?;
        let difference = self.difference(&entry.name, &state_files(&self.hg(&entry.name))?, &kept)?;
        Ok(matches!(difference, Some(Difference::Added(_))))
    }

    /// Finds out whether there are other files than are kept, or of other lengths: what was appended without a record, or cut off,
    /// shows in nothing else. What was added counts before what is lost.
    fn difference(
        &self,
        name: &RepositoryName,
        paths: &[Vec<u8>],
        kept: &KeptFiles,
    ) -> Result<Option<Difference>, ReplicaError> {
        if let Some(path) = paths.iter().find(|path| kept.get(path).is_none()) {
            return Ok(Some(Difference::Added(format!("{} is there, and no record made it", path.escape_ascii()))));
        }
        let missing = kept.len().saturating_sub(paths.len());
        let mut lost = (missing > 0).then(|| format!("{missing} files are missing"));
        let mut directories = self.directories(name)?;
        for path in paths {
            let stat = directories.stat(path).map_err(ReplicaError::io("stat a file of", &self.hg(name)))?;
            let found = stat.map_or(0, |stat| stat.st_size as u64);
            let expected = kept.get(path).map_or(0, |file| file.bytes);
            let what = || format!("{} has {found} bytes and not {expected}", path.escape_ascii());
            match found.cmp(&expected) {
                Ordering::Greater => return Ok(Some(Difference::Added(what()))),
                Ordering::Less => lost = lost.or_else(|| Some(what())),
                Ordering::Equal => {}
            }
        }
        Ok(lost.map(Difference::Lost))
    }

    /// Reads all that is kept of a repository's files, in one go.
    pub(crate) fn all_kept(&self, entry: &Entry) -> Result<KeptFiles, ReplicaError> {
        let mut nodes: HashMap<Vec<u8>, Vec<u8>> = self.state.all_nodes(entry.id)?;
        Ok(KeptFiles::read(&mut nodes)?)
    }
}

fn read(
    directories: &mut Directories,
    inner: &Inner,
    name: &RepositoryName,
    path: &[u8],
) -> Result<Vec<u8>, ReplicaError> {
    let mut content = Vec::new();
    let file = directories.file(path, OFlags::RDONLY).and_then(|file| match file {
        Some(file) => file.take(CONTENT_BYTES_MAX).read_to_end(&mut content).map(drop),
        None => Err(std::io::ErrorKind::NotFound.into()),
    });
    file.map_err(ReplicaError::io("read a file of", &inner.hg(name)))?;
    Ok(content)
}
