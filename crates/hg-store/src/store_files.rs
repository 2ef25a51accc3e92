//! The files of a store as of a snapshot, whole: what a stream clone sends.
//!
//! Files may be appended to, and revlogs split, while they are read: what is read is as long, and as it lay, at the
//! snapshot.

mod list;
mod read;

use std::sync::Arc;

use crate::{Snapshot, StoreError};

pub use read::StoreFileReader;

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreFile {
    /// Its path below `.hg/store`, not encoded: `data/A.i` for a tracked file `A`.
    pub path: Box<[u8]>,
    /// Its length, in bytes; never 0.
    pub bytes: u64,
    kind: Kind,
}

/// How the file lay at the snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A revlog's `.i` with the chunks between the entries. It may have been split since.
    Inline,
    /// Something that is only appended to.
    Growing,
    /// `phaseroots`, which the snapshot has.
    Phaseroots,
}

/// The files of a store as of a snapshot.
pub struct StoreFiles {
    snapshot: Arc<Snapshot>,
    files: Vec<StoreFile>,
    /// Of each revlog, or other file that stands alone, how many files it has.
    groups: Vec<u8>,
    bytes: u64,
}

impl StoreFiles {
    /// Lists them: revlogs of tracked files, of the manifest, of the changelog; what else lies in the store and is history
    /// (markers, where `markers`; phases, where the repository doesn't publish). The changelog is the last, since what it names must be there.
    ///
    /// Each index is read and checked, and the store's own list of files is compared with what is there.
    ///
    /// # Errors
    /// A file that is damaged, missing, or that has revisions and is not in the list; one that can't be read.
    pub fn of(snapshot: Arc<Snapshot>, markers: bool) -> Result<StoreFiles, StoreError> {
        list::list(snapshot, markers)
    }

    /// The files.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &StoreFile> {
        self.files.iter()
    }

    /// The files, those of one revlog together: its `.d`, where it has one, and its `.i`.
    pub fn groups(&self) -> impl ExactSizeIterator<Item = &[StoreFile]> {
        let mut rest = self.files.as_slice();
        self.groups.iter().map(move |count| {
            let (group, after) = rest.split_at(usize::from(*count));
            rest = after;
            group
        })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Bytes of all of them.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}
