//! The changelog with the new changesets: taking them, and what later parts of a push ask of it.

use crate::observe::{ObservedChangeset, Observer};
use crate::{Changeset, Node, Revision, Snapshot};

use super::changeset_check;
use super::error::{Place, PrepareError, Refusal};
use super::growing::{Deltas, Growing, RevlogPaths};
use super::hash::Log;
use super::ledger::Ledger;
use super::read_ahead::Arrived;
use super::spool::Spool;

/// What is kept of a new changeset.
struct NewChangeset {
    manifest: Node,
    closes_branch: bool,
}

/// The changelog of the snapshot and the push's new changesets as one; the new ones have the highest numbers.
pub struct CombinedChangelog<'s> {
    pub(super) revlog: Growing<'s>,
    changesets: Vec<NewChangeset>,
}

impl<'s> CombinedChangelog<'s> {
    pub(super) fn new(snapshot: &'s Snapshot) -> CombinedChangelog<'s> {
        let old = snapshot.changelog();
        let paths = RevlogPaths { index: b"store/00changelog.i".to_vec(), data: b"store/00changelog.d".to_vec() };
        let old = (!old.is_empty()).then_some(old);
        CombinedChangelog { revlog: Growing::new(Log::Changelog, old, paths, Deltas::None), changesets: Vec::new() }
    }

    /// Number of changesets, old and new.
    pub fn len(&self) -> u32 {
        self.revlog.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of old changesets: what the first new one's number is or would be.
    pub fn first_new(&self) -> u32 {
        self.revlog.old_revisions
    }

    /// The changeset with this number, if there is one.
    pub fn revision(&self, number: u32) -> Option<Revision> {
        (number < self.len()).then(|| Revision::new(number))
    }

    /// The changeset of this name. The null node has none.
    pub fn revision_of(&self, node: &Node) -> Option<Revision> {
        self.revlog.revision_of(node).map(Revision::new)
    }

    /// The changeset's name.
    pub fn node(&self, revision: Revision) -> Node {
        self.revlog.node(revision.get())
    }

    /// Its parents.
    pub fn parents(&self, revision: Revision) -> [Option<Revision>; 2] {
        self.revlog.parents(revision.get()).map(|parent| parent.map(Revision::new))
    }

    /// The new changesets, lowest first.
    pub fn new_changesets(&self) -> impl DoubleEndedIterator<Item = Revision> + ExactSizeIterator + use<> {
        (self.first_new()..self.len()).map(Revision::new)
    }

    /// The manifest that a new changeset names; `None` for an old one.
    pub(super) fn new_manifest(&self, changeset: u32) -> Option<Node> {
        let number = changeset.checked_sub(self.first_new())?;
        Some(self.changesets.get(number as usize)?.manifest)
    }

    /// How the number of heads changes, new heads that close their branch not counted. All changesets count, hidden and secret
    /// ones too; the head of an empty repository is the null revision.
    pub(super) fn heads_change(&self) -> i64 {
        let first_new = self.first_new();
        let mut new_heads = vec![true; self.changesets.len()];
        let mut old_parents = Vec::new();
        for revision in self.new_changesets() {
            for parent in self.parents(revision).into_iter().flatten() {
                match parent.get().checked_sub(first_new) {
                    Some(number) => new_heads[number as usize] = false,
                    None => old_parents.push(parent.get()),
                }
            }
        }
        let gained = new_heads.iter().zip(&self.changesets).filter(|(head, new)| **head && !new.closes_branch).count();
        let lost = match (first_new, self.changesets.is_empty()) {
            (_, true) => 0,
            (0, false) => 1,
            _ => self.old_heads_among(old_parents),
        };
        gained as i64 - lost as i64
    }

    /// How many of these old changesets were heads.
    fn old_heads_among(&self, mut revisions: Vec<u32>) -> usize {
        revisions.sort_unstable();
        revisions.dedup();
        let Some(&lowest) = revisions.first() else { return 0 };
        let mut heads = vec![true; (self.first_new() - lowest) as usize];
        for child in lowest + 1..self.first_new() {
            for parent in self.revlog.parents(child).into_iter().flatten() {
                if let Some(number) = parent.checked_sub(lowest) {
                    heads[number as usize] = false;
                }
            }
        }
        revisions.into_iter().filter(|revision| heads[(revision - lowest) as usize]).count()
    }

    /// Takes one changeset of the group; whether it was new.
    pub(super) fn receive(
        &mut self,
        spool: &mut Spool,
        ledger: &mut Ledger,
        incoming: &Arrived,
        observer: Option<&mut (dyn Observer + '_)>,
    ) -> Result<bool, PrepareError> {
        let refused = |what| PrepareError::refused(what, Place::Changeset(incoming.node));
        if incoming.link != incoming.node {
            return Err(refused(Refusal::WrongLink(incoming.link)));
        }
        let Some(received) = self.revlog.receive(spool, incoming, self.revlog.len())? else {
            return Ok(false);
        };
        let changeset = changeset_check::parse(&received.text).map_err(refused)?;
        for path in &changeset.files {
            ledger.list(path, received.revision, &spool.limits)?;
        }
        self.changesets.push(NewChangeset { manifest: changeset.manifest, closes_branch: changeset.closes_branch() });
        if let Some(observer) = observer {
            let revision = Revision::new(received.revision);
            let parents = self.parents(revision);
            observer.changeset(&ObservedChangeset { revision, node: incoming.node, parents, content: &changeset });
        }
        Ok(true)
    }

    /// Any changeset, parsed.
    pub(super) fn changeset(
        &self,
        spool: &mut Spool,
        snapshot: &Snapshot,
        revision: Revision,
    ) -> Result<Changeset, PrepareError> {
        if revision.get() < self.first_new() {
            return Ok(snapshot.changeset(revision)?);
        }
        let text = self.revlog.new_chunk(spool, revision.get())?;
        changeset_check::parse(&text).map_err(|what| PrepareError::refused(what, Place::Changeset(self.node(revision))))
    }
}
