//! What is remembered of a store's main files, to notice that someone else wrote to it.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{ApplyError, Directories};

/// Files that any change by stock Mercurial alters, one or the other.
const PATHS: [&[u8]; 10] = [
    b"store/00changelog.i",
    b"store/00changelog.d",
    b"store/00manifest.i",
    b"store/00manifest.d",
    b"store/fncache",
    b"store/phaseroots",
    b"store/obsstore",
    b"store/bookmarks",
    b"bookmarks",
    b"hgrc",
];

/// Lengths and times of a store's main files. Two that are equal mean that most likely nobody wrote in between.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreStat(Vec<Option<FileStat>>);

/// Not the time of the last change of the inode: a local `hg clone`, which links the files, changes that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct FileStat {
    inode: u64,
    bytes: i64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
}

impl StoreStat {
    /// Looks at the store in `hg`.
    ///
    /// # Errors
    /// A failing system call.
    pub fn of(hg: &Path) -> Result<Self, ApplyError> {
        let mut directories = Directories::open(hg).map_err(ApplyError::io("open", b".hg"))?;
        let mut stat = |path: &[u8]| {
            let stat = directories.stat(path).map_err(ApplyError::io("stat", path))?;
            Ok(stat.map(|stat| FileStat {
                inode: stat.st_ino,
                bytes: stat.st_size,
                modified: (stat.st_mtime, stat.st_mtime_nsec as i64),
            }))
        };
        Ok(Self(PATHS.iter().map(|path| stat(path)).collect::<Result<_, _>>()?))
    }
}
