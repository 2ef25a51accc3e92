//! Why a push can't be prepared.

use std::fmt;
use std::io;

use crate::change::ChangeError;
use crate::delta::DeltaError;
use crate::largefiles::LargefileHash;
use crate::lfs::LfsOid;
use crate::requirements::ReadOnly;
use crate::{Node, StoreError};

use super::incoming::IncomingError;

/// A push was not prepared; nothing was written but to the spool.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The push is refused: what is wrong with it, where, and what to do about it.
    #[error("{what}, {place}. {}", what.advice(place))]
    Refused {
        /// What is wrong.
        what: Refusal,
        /// On what.
        place: Place,
    },
    /// The changegroup could not be read.
    #[error(transparent)]
    Incoming(#[from] IncomingError),
    /// The repository could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The spool could not be written or read.
    #[error("can't write the change: {0}")]
    Spool(#[from] io::Error),
}

impl PrepareError {
    pub(crate) fn refused(what: Refusal, place: Place) -> PrepareError {
        PrepareError::Refused { what, place }
    }

    /// Whether the one who pushed is at fault, rather than the repository or the server.
    pub fn is_refusal(&self) -> bool {
        matches!(self, PrepareError::Refused { .. } | PrepareError::Incoming(IncomingError::Malformed(_)))
    }
}

impl From<ChangeError> for PrepareError {
    /// The bounds of a change are a push's bounds; all else that can go wrong is the file's.
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Write(error) => PrepareError::Spool(error),
            ChangeError::TooLarge { what, limit } => {
                PrepareError::refused(Refusal::Limit { limit, unit: what }, Place::Push)
            }
            other => PrepareError::Spool(io::Error::other(other)),
        }
    }
}

/// What is wrong with a push.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// SHA-1 over parents and text gives another name.
    #[error("text does not match its hash")]
    Hash,
    /// A parent is neither in the repository nor earlier in the group. A revision that is its own parent is one of these.
    #[error("unknown parent {0}")]
    UnknownParent(Node),
    /// The delta is to a revision that is neither in the repository nor earlier in the group.
    #[error("unknown delta base {0}")]
    UnknownBase(Node),
    /// The changeset that is said to have brought the revision is not known.
    #[error("unknown changeset {0}")]
    UnknownLink(Node),
    /// A new revision is said to come with a changeset that the repository has already, or with one that does not name it.
    #[error("does not belong to changeset {0}")]
    WrongLink(Node),
    /// The delta can't be applied.
    #[error("{0}")]
    Delta(DeltaError),
    /// The null node as a name.
    #[error("null revision")]
    NullNode,
    /// Flag bits, in hexadecimal as Mercurial documents them.
    #[error("revision flags {0:#06x} are not supported")]
    Flags(u16),
    /// A pointer to an LFS object, where the repository takes none.
    #[error("points to an LFS object, and this repository takes none")]
    LfsOff,
    /// The text of a revision that says that it is a pointer to an LFS object.
    #[error("malformed LFS pointer")]
    Pointer,
    /// An LFS object to which a revision points is not here, or has another length than the pointer says.
    #[error("LFS object {0} is not stored")]
    MissingObject(LfsOid),
    /// The text of a changeset.
    #[error("{0}")]
    Changeset(String),
    /// The text of a manifest.
    #[error("malformed manifest: {0}")]
    Manifest(&'static str),
    /// What stands before a file's content.
    #[error("malformed metadata: {0}")]
    Metadata(&'static str),
    /// A changeset, or a manifest, names a manifest that is neither in the repository nor in the push.
    #[error("manifest {0} is missing")]
    MissingManifest(Node),
    /// A manifest names a file revision that is neither in the repository nor in the push.
    #[error("file revision {0} is missing")]
    MissingFile(Node),
    /// A changeset lists a file that neither the repository nor a manifest of the push has.
    #[error("listed by changeset {0}, and in no manifest")]
    Unlisted(Node),
    /// A file revision, or a folder's manifest, that no manifest of the push names.
    #[error("no manifest of the push names this revision")]
    Spurious,
    /// The push has manifests of folders, and the repository has none.
    #[error("bundle contains tree manifests, but the repository does not use tree manifests")]
    Trees,
    /// The push is from a clone without them, and the repository has trees.
    #[error("bundle contains flat manifests, but the repository uses tree manifests")]
    FlatManifests,
    /// A group of a file or of a folder with no revision.
    #[error("group without revisions")]
    EmptyGroup,
    /// A second group for the same file or folder, or a second changegroup.
    #[error("sent twice")]
    Twice,
    /// Pieces of the changegroup out of order.
    #[error("unexpected {0}")]
    Unexpected(&'static str),
    /// A name that can't be stored.
    #[error("name {0}")]
    Name(&'static str),
    /// More than the limit allows.
    #[error("more than {limit} {unit}")]
    Limit {
        /// How many are allowed.
        limit: u64,
        /// Of what.
        unit: &'static str,
    },
    /// The repository is of a kind that is only read here.
    #[error("{} can't be written here", .0.what)]
    ReadOnly(ReadOnly),
    /// A bookmark on, or a phase of, a changeset that is not known.
    #[error("unknown revision {0}")]
    UnknownRevision(Node),
    /// An obsolescence marker that can't be stored.
    #[error("bad obsolescence marker: {0}")]
    Marker(String),
}

impl Refusal {
    /// What whoever pushed can do about it.
    fn advice(&self, place: &Place) -> &'static str {
        match self {
            Refusal::Flags(_) => "Push it without extensions that alter what a revision holds (censor)",
            Refusal::LfsOff => "Ask the administrators for extensions.lfs",
            Refusal::MissingObject(_) => {
                "Enable the extension lfs, set lfs.url to https://HOST/REPOSITORY/.git/info/lfs, and push again: that uploads it first"
            }
            Refusal::Changeset(_) | Refusal::Manifest(_) | Refusal::Metadata(_) => {
                "Commit it anew with a current Mercurial, and push that"
            }
            Refusal::Name(_) | Refusal::Limit { .. } if matches!(place, Place::Bookmark(_)) => "Choose another name",
            Refusal::Name(_) => "Rename it in the changeset that brings it, and push again",
            Refusal::Limit { .. } if matches!(place, Place::Largefile(_)) => {
                "Make it smaller, or ask the administrators for a higher limit"
            }
            Refusal::Limit { .. } => "Push it in smaller pieces, or ask the administrators for a higher limit",
            Refusal::Trees => "Push from a clone without the requirement treemanifest",
            Refusal::FlatManifests => "Push from a clone of this repository, which has the requirement treemanifest",
            Refusal::UnknownRevision(_) => "Push that changeset too, or pull and push again",
            Refusal::ReadOnly(why) => why.remedy,
            Refusal::Marker(_) => "Look at hg debugobsolete, and push without that marker",
            Refusal::Hash if matches!(place, Place::Largefile(_)) => {
                "Run hg verify --large in your repository; if it is clean, push again"
            }
            Refusal::Hash
            | Refusal::Pointer
            | Refusal::UnknownParent(_)
            | Refusal::UnknownBase(_)
            | Refusal::UnknownLink(_)
            | Refusal::WrongLink(_)
            | Refusal::Delta(_)
            | Refusal::NullNode
            | Refusal::MissingManifest(_)
            | Refusal::MissingFile(_)
            | Refusal::Unlisted(_)
            | Refusal::Spurious
            | Refusal::EmptyGroup
            | Refusal::Twice
            | Refusal::Unexpected(_) => "Run hg verify in your repository; if it is clean, push again",
        }
    }
}

/// Where something is wrong with a push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The repository itself.
    Repository,
    /// The push as a whole.
    Push,
    /// Its changegroup.
    Changegroup,
    /// A changeset.
    Changeset(Node),
    /// A manifest.
    Manifest(Node),
    /// The manifests of a folder; its path ends with a slash.
    Tree(Vec<u8>),
    /// One of them.
    TreeManifest(Vec<u8>, Node),
    /// A tracked file.
    File(Vec<u8>),
    /// One revision of a tracked file.
    FileRevision(Vec<u8>, Node),
    /// A bookmark.
    Bookmark(Vec<u8>),
    /// A largefile.
    Largefile(LargefileHash),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Repository => write!(f, "on this repository"),
            Place::Push => write!(f, "in one push"),
            Place::Changegroup => write!(f, "in the changegroup"),
            Place::Changeset(node) => write!(f, "changeset {node}"),
            Place::Manifest(node) => write!(f, "manifest {node}"),
            Place::Tree(folder) => write!(f, "manifests of folder {}", shown(folder)),
            Place::TreeManifest(folder, node) => write!(f, "manifest {node} of folder {}", shown(folder)),
            Place::File(path) => write!(f, "file {}", shown(path)),
            Place::FileRevision(path, node) => write!(f, "file {} revision {node}", shown(path)),
            Place::Largefile(hash) => write!(f, "largefile {hash}"),
            Place::Bookmark(name) => write!(f, "bookmark {}", shown(name)),
        }
    }
}

/// A name in one line, however long it is.
fn shown(name: &[u8]) -> String {
    const SHOWN_BYTES_MAX: usize = 200;
    let start = &name[..name.len().min(SHOWN_BYTES_MAX)];
    let rest = if start.len() < name.len() { "..." } else { "" };
    format!("{}{rest}", start.escape_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_shown_as_far_as_a_line_has_room() {
        assert_eq!(Place::File(b"a\nb".to_vec()).to_string(), "file a\\nb");
        let long = Place::Bookmark(vec![b'x'; 70_000]).to_string();
        assert_eq!(long, format!("bookmark {}...", "x".repeat(200)));
    }
}
