//! A repository that `hg share` made: its store is another one's.
//!
//! `.hg/sharedpath` has the path of the other `.hg`, relative to this one where the requirement is `relshared`; `.hg/shared` has a line for
//! each further thing that is the other's too, of which there is `bookmarks`. One step is followed and no more, as stock
//! makes them: what is shared is never a share itself.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::StoreError;
use crate::folder::Folder;
use crate::requirements::Requirements;

const PATH_BYTES_MAX: u64 = 4096;
const SHARED_BYTES_MAX: u64 = 4096;

/// The repository whose store is used.
pub(super) struct Source {
    /// Its `.hg`.
    pub(super) hg: Folder,
    /// Whether its bookmarks are used too.
    pub(super) bookmarks: bool,
}

impl Source {
    /// Finds the repository that `hg` shares; `None` where it is no share.
    pub(super) fn of(hg: &Folder, requirements: &Requirements) -> Result<Option<Source>, StoreError> {
        if !requirements.shared() {
            return Ok(None);
        }
        let place = hg.path_of(b"sharedpath");
        let corrupt = |what: &str| StoreError::corrupt(&place, what);
        let path = hg.read(b"sharedpath", PATH_BYTES_MAX)?.ok_or_else(|| corrupt("missing"))?;
        let path = path.strip_suffix(b"\n").unwrap_or(&path);
        if path.is_empty() || path.iter().any(|byte| matches!(byte, 0 | b'\n')) {
            return Err(corrupt("no path"));
        }
        let path = Path::new(OsStr::from_bytes(path));
        let path = match (path.is_absolute(), requirements.contains("relshared")) {
            (true, false) => path.to_owned(),
            (false, true) => hg.path().join(path),
            _ => return Err(corrupt("absolute, where it should be relative, or the other way round")),
        };
        if path.file_name() != Some(OsStr::new(".hg")) {
            return Err(corrupt("leads to no `.hg`"));
        }
        let source = Folder::open(&path, false)?;
        let its = Requirements::read_beside(&source)?;
        if its.shared() {
            return Err(corrupt("leads to another share"));
        }
        if its.share_safe() != requirements.share_safe() {
            let what = "a share whose source has another format (share-safe)";
            return Err(StoreError::unsupported(&place, what, "Remove it and make it again with `hg share`"));
        }
        let shared = hg.read(b"shared", SHARED_BYTES_MAX)?.unwrap_or_default();
        let bookmarks = shared.split(|byte| *byte == b'\n').any(|line| line == b"bookmarks");
        Ok(Some(Source { hg: source, bookmarks }))
    }

    /// Its `.hg`.
    pub(super) fn path(&self) -> PathBuf {
        self.hg.path().to_owned()
    }
}
