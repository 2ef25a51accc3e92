//! Watching what a push brings, piece by piece, while it is prepared; or what one brought, from the store.
//!
//! An [`Observer`] is told each new changeset, then what each one's manifest changes against its parents', then each new file
//! revision; and is asked in the end what it makes of it. What a changeset changes is found by comparing manifests, whatever its own list of
//! files and the bundle's deltas say: both are the sender's word.

mod ancestors;
#[cfg(test)]
mod made_trees;
mod manifest_changes;
mod stored;
mod tree_changes;
mod tree_texts;
mod view;

use crate::prepare::PrepareError;
use crate::{Changeset, Node, Revision, Snapshot};

pub use crate::manifest::Flag;
pub use stored::observe_stored;
pub use view::ObservedManifest;

pub(crate) use ancestors::common_ancestors;
pub(crate) use manifest_changes::{Compared, stretched_changes, whole_changes};
pub(crate) use tree_changes::tree_changes;
pub(crate) use tree_texts::TreeTexts;
pub(crate) use view::ManifestSource;

/// A file as a manifest has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileEntry {
    /// Its revision.
    pub node: Node,
    /// What it is.
    pub flag: Flag,
}

/// A new changeset.
#[derive(Debug)]
pub struct ObservedChangeset<'a> {
    /// Its number: new ones are above all old ones.
    pub revision: Revision,
    /// Its name.
    pub node: Node,
    /// Its parents.
    pub parents: [Option<Revision>; 2],
    /// What it says.
    pub content: &'a Changeset,
}

/// One path that a new changeset's manifest has otherwise than one of its parents' manifests.
#[derive(Debug)]
pub struct ObservedEntry<'a> {
    /// Of which changeset.
    pub changeset: Revision,
    /// The tracked file.
    pub path: &'a [u8],
    /// What the parents have there: one for a changeset without parents, nothing in it; two for a merge.
    pub parents: &'a [Option<FileEntry>],
    /// What the changeset has there; `None` where it removes the file.
    pub now: Option<FileEntry>,
}

impl ObservedEntry<'_> {
    /// Whether the changeset has the file, and no parent does.
    pub fn is_added(&self) -> bool {
        self.now.is_some() && self.parents.iter().all(Option::is_none)
    }

    /// What the changeset has there, unless it has it from a parent.
    pub fn brought(&self) -> Option<FileEntry> {
        self.now.filter(|now| !self.parents.contains(&Some(*now)))
    }
}

/// A new file revision.
#[derive(Debug)]
pub struct ObservedFile<'a> {
    /// The changeset that it belongs to.
    pub changeset: Revision,
    /// The tracked file.
    pub path: &'a [u8],
    /// Its name.
    pub node: Node,
    /// Its text: what says where it was copied from stands before the content. Of an LFS object of more than 1 MiB, how it begins.
    pub text: &'a [u8],
    /// Where the content is an LFS object: how many bytes that has.
    pub object_bytes: Option<u64>,
}

impl<'a> ObservedFile<'a> {
    /// What a checkout writes; of a large LFS object, how that begins.
    pub fn content(&self) -> &'a [u8] {
        content(self.text)
    }

    /// How many bytes a checkout writes.
    pub fn content_bytes(&self) -> u64 {
        self.object_bytes.unwrap_or(self.content().len() as u64)
    }
}

/// What a checkout writes of a file revision's text.
pub fn content(text: &[u8]) -> &[u8] {
    const MARK: &[u8] = b"\x01\n";
    let Some(rest) = text.strip_prefix(MARK) else { return text };
    memchr::memmem::find(rest, MARK).map_or(text, |end| &rest[end + MARK.len()..])
}

/// A bookmark's name, where it was and where it is.
pub type MovedBookmark = (Vec<u8>, Option<Node>, Option<Node>);

/// A push, once all of it is known.
pub struct ObservedPush<'a> {
    /// The repository before it.
    pub before: &'a Snapshot,
    /// Changesets, old or new, that the push's markers make obsolete.
    pub obsoleted: &'a [Revision],
    /// Bookmarks that moved.
    pub bookmarks: &'a [MovedBookmark],
}

/// What an observer makes of a push.
#[derive(Debug, Default)]
pub struct Judgement {
    /// Whole lines for the client, whether the push is taken or not.
    pub remarks: Vec<String>,
    /// Why it is not taken: text for the client, of one line or several.
    pub refusal: Option<String>,
}

/// Who watches a push.
pub trait Observer {
    /// A new changeset; parents come first.
    fn changeset(&mut self, changeset: &ObservedChangeset<'_>);

    /// A path that a new changeset has otherwise than a parent; of one changeset in the order of paths.
    fn entry(&mut self, entry: &ObservedEntry<'_>);

    /// A changeset's entries are over; its manifest. Each new changeset has this once, not always in their order.
    ///
    /// # Errors
    /// What of the manifest could not be read.
    fn manifest(&mut self, changeset: Revision, manifest: &mut ObservedManifest<'_>) -> Result<(), PrepareError>;

    /// A new file revision.
    fn file(&mut self, file: &ObservedFile<'_>);

    /// All was told.
    ///
    /// # Errors
    /// The repository could not be read.
    fn judge(&mut self, push: &ObservedPush<'_>) -> Result<Judgement, PrepareError>;
}
