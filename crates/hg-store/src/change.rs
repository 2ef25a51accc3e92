//! A change: the exact bytes by which one push, or one administrative act, alters one store.
//!
//! A change is a table of [`Operation`]s and one run of bytes. [`ChangeWriter`] writes it to a file while it is
//! made, [`ChangeRef`] reads it from a mapping, and neither ever holds it in memory. `docs/formats/change.md` has
//! the format down to the byte.
//!
//! The table is in the order in which [`crate::apply::apply`] works, which leaves every prefix harmless to a reader:
//! filelogs, fncache, manifest, phases, changelog, obsstore, bookmarks, the rest.

mod between;
mod content;
mod format;
mod path;
mod read;
mod state;
mod write;

pub use between::{BetweenError, between};
pub use content::Content;
pub use path::{PathError, PathIssue, check_path, is_excluded, is_of_a_push, is_of_bundles};
pub use read::{ChangeRef, Operations};
pub use write::ChangeWriter;

use std::io;

/// One step of a change. Paths are relative to `.hg`, with `/` between parts, as they are on disk (encoded).
#[derive(Debug, Clone)]
pub enum Operation<'a> {
    /// A file that does not exist before, or is empty, with its whole content.
    Create {
        /// Where, for example `store/data/a.i`.
        path: &'a [u8],
        /// The whole content.
        bytes: Content<'a>,
    },
    /// Bytes at the end of a file.
    Append {
        /// Where.
        path: &'a [u8],
        /// The file's length before the change, in bytes: where the new bytes begin. 0: it may be absent.
        old_bytes: u64,
        /// What is added.
        bytes: Content<'a>,
    },
    /// A whole new content, exchanged by rename.
    Replace {
        /// Where.
        path: &'a [u8],
        /// The file's length before the change, in bytes; `None`: it may exist or not (small files whose absence
        /// means the same as being empty).
        old_bytes: Option<u64>,
        /// The whole content.
        bytes: Content<'a>,
    },
    /// A file that exists before and not after.
    Remove {
        /// Where.
        path: &'a [u8],
        /// The file's length before the change, in bytes.
        old_bytes: u64,
    },
}

impl<'a> Operation<'a> {
    /// Returns the path, relative to `.hg`.
    pub fn path(&self) -> &'a [u8] {
        match self {
            Self::Create { path, .. }
            | Self::Append { path, .. }
            | Self::Replace { path, .. }
            | Self::Remove { path, .. } => path,
        }
    }

    /// Checks that a file is as this operation expects it: `found`, its length in bytes, `None` where it is absent.
    pub(crate) fn check_old(&self, found: Option<u64>) -> Result<(), String> {
        let expected = match self {
            Self::Replace { old_bytes: None, .. } => return Ok(()),
            Self::Create { .. } | Self::Append { old_bytes: 0, .. } => None,
            Self::Append { old_bytes, .. } | Self::Remove { old_bytes, .. } => Some(*old_bytes),
            Self::Replace { old_bytes, .. } => *old_bytes,
        };
        if expected == found || (expected.is_none() && found == Some(0)) {
            return Ok(());
        }
        let say = |bytes: Option<u64>| bytes.map_or("absent".to_owned(), |bytes| format!("{bytes} bytes long"));
        Err(format!("it is {}, not {}", say(found), say(expected)))
    }

    /// Returns the bytes that this operation writes; none for a removal.
    pub fn content(&self) -> Content<'a> {
        match self {
            Self::Create { bytes, .. } | Self::Append { bytes, .. } | Self::Replace { bytes, .. } => bytes.clone(),
            Self::Remove { .. } => Content::default(),
        }
    }
}

/// Why a change could not be written or is not one.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The file that it is written to failed.
    #[error("cannot write the change: {0}")]
    Write(#[from] io::Error),
    /// A path that no change may touch.
    #[error(transparent)]
    Path(#[from] PathError),
    /// Two calls for one path that do not fit together, for example an append and a removal.
    #[error("two operations on {path} that do not fit together")]
    Conflict {
        /// The path, printable.
        path: String,
    },
    /// Bytes were written while no operation was open.
    #[error("no operation is open")]
    NothingOpen,
    /// More operations or bytes than a change may have.
    #[error("the change has more {what} than the {limit} that are allowed")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// The bound.
        limit: u64,
    },
    /// Not a change at all.
    #[error("not a change: {0}")]
    NotAChange(&'static str),
    /// A version of the format that this program does not know.
    #[error("the change has format version {0}; this program reads version 1")]
    Version(u16),
    /// Bytes that were altered or cut after the change was written.
    #[error("the change is damaged: {0}")]
    Damaged(&'static str),
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
