//! Turning what a push brings into a [`Change`](crate::change), the store untouched.
//!
//! A [`Preparation`] reads a [`Snapshot`] and writes to a spool file. It takes a changegroup as it comes, once: changelog, manifest,
//! manifests of folders where the repository has such, files. Each revision's text is rebuilt and hashed, whatever the bundle says of
//! itself, and stored anew: as the incoming delta where that keeps the store as quick to read and as small as Mercurial would have it,
//! else as another one or whole. Phases, bookmarks, obsolescence markers and the configuration come on top, and see what came before.
//! What does not fit together is refused by name; then the spool is dropped, and nothing has happened.
//!
//! Memory does not grow with the push's bytes, but with its revisions (an index entry each, for the revlog that grows just now, and for
//! manifests of folders where somebody watches), its changesets and the paths that it names. The same push on the same snapshot gives the
//! same bytes on any machine.

mod bookmarks;
mod changelog;
mod changeset_check;
mod compress;
mod delta_choice;
mod error;
mod external;
mod filelog;
mod growing;
mod hash;
mod incoming;
mod index;
mod largefile;
mod ledger;
mod limits;
mod made;
mod manifest;
mod manifest_check;
mod markers;
mod metadata_check;
mod names;
mod phases;
mod read_ahead;
mod requirements;
mod spool;
mod store_paths;
mod summary;
mod text_cache;
mod tree_ledger;
mod trees;
mod watch;
mod watch_trees;
mod worker;
mod written;

use std::fs::File;

use crate::change::ChangeWriter;
use crate::observe::{Judgement, ObservedPush, Observer};
use crate::requirements::ReadOnly;
use crate::{Changeset, Marker, Node, Phase, Revision, Snapshot, path_encoding};

use bookmarks::MovedBookmarks;
use compress::Compressor;
use filelog::Files;
use growing::Deltas;
use hash::HashChecker;
use ledger::Ledger;
use manifest::Manifests;
use markers::NewMarkers;
use phases::MovedPhases;
use read_ahead::ReadAhead;
use spool::Spool;
use tree_ledger::TreeLedger;
use watch::Watch;

pub use changelog::CombinedChangelog;
pub use error::{Place, PrepareError, Refusal};
pub use incoming::{Incoming, IncomingChangegroup, IncomingError, IncomingRevision};
pub use limits::PrepareLimits;
pub use summary::{ChangegroupOutcome, PreparedChange, PushSummary};
pub(crate) use text_cache::{Text, TextCache};

/// One push being prepared.
pub struct Preparation<'s> {
    snapshot: &'s Snapshot,
    spool: Spool,
    deltas: Deltas,
    changelog: CombinedChangelog<'s>,
    has_changegroup: bool,
    phases: MovedPhases,
    bookmarks: MovedBookmarks,
    markers: NewMarkers,
    hgrc: Option<Vec<u8>>,
    /// Whether the first standins of largefiles came.
    has_standins: bool,
    /// Whether pointers to LFS objects came.
    has_pointers: bool,
    observer: Option<Box<dyn Observer + 's>>,
}

impl<'s> Preparation<'s> {
    /// Prepares a change of this snapshot in this empty file, open for reading and writing.
    pub fn new(snapshot: &'s Snapshot, spool: File, limits: PrepareLimits) -> Result<Preparation<'s>, PrepareError> {
        let requirements = snapshot.repository().requirements();
        if let Some(why) = requirements.read_only() {
            return Err(PrepareError::refused(Refusal::ReadOnly(why), Place::Repository));
        }
        let deltas = match requirements.generaldelta() {
            true => Deltas::General { snapshots: requirements.sparse_revlog() },
            false => Deltas::Previous,
        };
        let has_cores = std::thread::available_parallelism().is_ok_and(|cores| cores.get() > 1);
        Ok(Preparation {
            snapshot,
            spool: Spool {
                writer: ChangeWriter::new(spool)?,
                compressor: Compressor::new(requirements)?,
                hashes: HashChecker::new(has_cores),
                read_ahead: ReadAhead::new(has_cores),
                cache: TextCache::new(limits.cache_bytes),
                limits,
                revisions: 0,
                chunk: Vec::new(),
                trial: Vec::new(),
                other: Vec::new(),
            },
            deltas,
            changelog: CombinedChangelog::new(snapshot),
            has_changegroup: false,
            phases: MovedPhases::default(),
            bookmarks: MovedBookmarks::default(),
            markers: NewMarkers::default(),
            hgrc: None,
            has_standins: false,
            has_pointers: false,
            observer: None,
        })
    }

    /// Tells this observer of all that comes from now on.
    pub fn observe(&mut self, observer: Box<dyn Observer + 's>) {
        self.observer = Some(observer);
    }

    /// Asks the observer, if there is one, what it makes of the push as it is now.
    pub fn judge(&mut self) -> Result<Judgement, PrepareError> {
        let Some(mut observer) = self.observer.take() else { return Ok(Judgement::default()) };
        let bookmarks = self.bookmarks.summary(self.snapshot)?;
        let mut obsoleted = Vec::new();
        for revision in self.markers.predecessors.iter().filter_map(|node| self.changelog.revision_of(node)) {
            if self.phase(revision)? != Phase::Public {
                obsoleted.push(revision);
            }
        }
        observer.judge(&ObservedPush { before: self.snapshot, obsoleted: &obsoleted, bookmarks: &bookmarks })
    }

    /// Takes a whole changegroup, the only one of the push.
    ///
    /// Phases move as a push moves them. Where the repository publishes, each changeset of the group, known or new, becomes public with its
    /// ancestors; else new ones become draft, and secret ones among the group and its ancestors too.
    pub fn add_changegroup(
        &mut self,
        source: &mut dyn IncomingChangegroup,
    ) -> Result<ChangegroupOutcome, PrepareError> {
        if std::mem::replace(&mut self.has_changegroup, true) {
            return Err(PrepareError::refused(Refusal::Twice, Place::Changegroup));
        }
        let outcome = self.take_changegroup(source);
        // A text that does not match its hash may be what made a later piece fail: it is told first.
        self.spool.hashes.wait()?;
        outcome
    }

    fn take_changegroup(&mut self, source: &mut dyn IncomingChangegroup) -> Result<ChangegroupOutcome, PrepareError> {
        let unexpected = |what| PrepareError::refused(Refusal::Unexpected(what), Place::Changegroup);
        let mut outcome = ChangegroupOutcome::default();
        let mut ledger = Ledger::default();

        if self.spool.next(source)? != Incoming::Changelog {
            return Err(unexpected("start"));
        }
        let place = || Place::Changegroup;
        while let Some(incoming) = self.spool.next_of_group(source, "piece among the changesets", place)? {
            let observer = self.observer.as_deref_mut().map(|observer| observer as &mut dyn Observer);
            match self.changelog.receive(&mut self.spool, &mut ledger, &incoming, observer)? {
                true => outcome.added.push(incoming.node),
                false => outcome.known.push(incoming.node),
            }
            if outcome.added.len() + outcome.known.len() > self.spool.limits.changesets as usize {
                let limit = Refusal::Limit { limit: self.spool.limits.changesets.into(), unit: "changesets" };
                return Err(PrepareError::refused(limit, Place::Push));
            }
        }
        self.spool.cache.clear();

        if self.spool.next(source)? != Incoming::Manifest {
            return Err(unexpected("piece after the changesets"));
        }
        let mut manifests = Manifests::new(self.snapshot, self.deltas);
        let mut tree_ledger = self.snapshot.repository().requirements().tree_manifests().then(TreeLedger::default);
        // Trees are told when all of them have come.
        let mut watch = match tree_ledger {
            None => self.observer.as_deref_mut().map(|observer| Watch::new(self.snapshot, observer)),
            Some(_) => None,
        };
        while let Some(incoming) = self.spool.next_of_group(source, "piece among the manifests", place)? {
            let (trees, watch) = (tree_ledger.as_mut(), watch.as_mut());
            manifests.receive(&mut self.spool, &self.changelog, &mut ledger, trees, &incoming, watch)?;
        }
        manifests.finish(&mut self.spool, &self.changelog, watch.as_mut())?;
        self.spool.cache.clear();
        let mut piece = self.spool.next(source)?;
        let mut new_paths = Vec::new();
        match tree_ledger {
            Some(expected) => {
                (piece, new_paths) = self.take_trees(expected, manifests, &mut ledger, source, piece)?;
                self.spool.cache.clear();
            }
            None if matches!(piece, Incoming::Tree(_)) => {
                return Err(PrepareError::refused(Refusal::Trees, Place::Changegroup));
            }
            None => drop(manifests),
        }

        let mut files = Files {
            snapshot: self.snapshot,
            changelog: &self.changelog,
            deltas: self.deltas,
            new_paths,
            has_pointers: false,
            changes: 0,
            files: 0,
        };
        loop {
            match piece {
                Incoming::File(path) => {
                    let observer = self.observer.as_deref_mut().map(|observer| observer as &mut dyn Observer);
                    files.receive(&mut self.spool, &mut ledger, path, source, observer)?;
                    piece = self.spool.next(source)?;
                }
                Incoming::End => break,
                _ => return Err(unexpected("piece among the files")),
            }
        }
        files.check_rest(ledger)?;
        outcome.changes = files.changes;
        outcome.files = files.files;
        self.has_pointers = files.has_pointers;
        let new_paths = files.new_paths;
        self.has_standins = new_paths.iter().any(|path| largefile::is_of_standin(path));
        self.list_new_files(&new_paths)?;
        self.move_phases(&outcome)?;
        outcome.heads_change = self.changelog.heads_change();
        Ok(outcome)
    }

    /// Adds lines to `fncache`, where the store has one, for the store paths that it does not list.
    fn list_new_files(&mut self, paths: &[Vec<u8>]) -> Result<(), PrepareError> {
        if paths.is_empty() || !self.snapshot.repository().requirements().fncache() {
            return Ok(());
        }
        let fncache = self.snapshot.fncache()?;
        let mut lines = Vec::new();
        for path in paths.iter().filter(|path| !fncache.contains(path)) {
            lines.extend_from_slice(&path_encoding::encode_directories(path));
            lines.push(b'\n');
        }
        self.append(b"store/fncache", self.snapshot.state().fncache_bytes, &lines)
    }

    /// Adds to the end of a file of which the snapshot only knows how long it is: 0 where there is none.
    fn append(&mut self, path: &[u8], old_bytes: u64, bytes: &[u8]) -> Result<(), PrepareError> {
        if bytes.is_empty() {
            return Ok(());
        }
        match old_bytes {
            0 => self.spool.writer.replace(path, None, bytes)?,
            _ => self.spool.writer.append(path, old_bytes, bytes)?,
        }
        Ok(())
    }

    fn move_phases(&mut self, outcome: &ChangegroupOutcome) -> Result<(), PrepareError> {
        let phase = match self.snapshot.settings().publishing() {
            true => Phase::Public,
            false => Phase::Draft,
        };
        let (snapshot, changelog) = (self.snapshot, &self.changelog);
        for revision in changelog.new_changesets() {
            self.phases.push(phase);
            for parent in changelog.parents(revision).into_iter().flatten() {
                self.phases.lower(snapshot, changelog, parent, phase)?;
            }
        }
        for revision in outcome.known.iter().filter_map(|node| changelog.revision_of(node)) {
            self.phases.lower(snapshot, changelog, revision, phase)?;
        }
        Ok(())
    }

    /// Old and new changesets as one.
    pub fn changelog(&self) -> &CombinedChangelog<'s> {
        &self.changelog
    }

    /// Any changeset, parsed.
    pub fn changeset(&mut self, revision: Revision) -> Result<Changeset, PrepareError> {
        self.changelog.changeset(&mut self.spool, self.snapshot, revision)
    }

    /// A changeset's phase as of now.
    pub fn phase(&self, revision: Revision) -> Result<Phase, PrepareError> {
        self.phases.phase(self.snapshot, &self.changelog, revision)
    }

    /// Lowers these changesets and their ancestors to `phase`; what is as low stays. Returns whether anything moved.
    pub fn advance_phases(&mut self, phase: Phase, heads: &[Revision]) -> Result<bool, PrepareError> {
        let mut any = false;
        for &head in heads {
            any |= self.phases.lower(self.snapshot, &self.changelog, head, phase)?;
        }
        Ok(any)
    }

    /// Where a bookmark is as of now.
    pub fn bookmark(&self, name: &[u8]) -> Result<Option<Node>, PrepareError> {
        self.bookmarks.get(self.snapshot, name)
    }

    /// Sets a bookmark to a known changeset or to the null revision, or removes it.
    pub fn set_bookmark(&mut self, name: &[u8], node: Option<Node>) -> Result<(), PrepareError> {
        if self.snapshot.repository().has_bookmarks_of_its_own() {
            // A change is of one `.hg`, and theirs is another than the store's.
            let (what, remedy) = ("the bookmarks of a share", "Push it to the repository that is shared");
            return Err(PrepareError::refused(
                Refusal::ReadOnly(ReadOnly { what, remedy }),
                Place::Bookmark(name.to_owned()),
            ));
        }
        self.bookmarks.set(&self.changelog, &self.spool.limits, name, node)
    }

    /// Adds the markers that neither the repository nor an earlier part of the push has; returns how many.
    pub fn add_markers(&mut self, markers: &[Marker]) -> Result<usize, PrepareError> {
        self.markers.add(self.snapshot, &self.spool.limits, markers)
    }

    /// Replaces the repository's `hgrc`.
    pub fn replace_hgrc(&mut self, hgrc: Vec<u8>) {
        self.hgrc = Some(hgrc);
    }

    /// Completes the change; `None` when nothing changes.
    pub fn finish(mut self) -> Result<Option<PreparedChange>, PrepareError> {
        let state = self.snapshot.state();
        let length = |content: &Option<Vec<u8>>| content.as_ref().map(|content| content.len() as u64);
        self.changelog.revlog.finish(&mut self.spool.writer)?;
        if let Some(roots) = self.phases.roots(self.snapshot, &self.changelog)? {
            self.spool.writer.replace(b"store/phaseroots", length(&state.phaseroots), &roots)?;
        }
        let bookmarks = self.bookmarks.summary(self.snapshot)?;
        if !bookmarks.is_empty() {
            let path: &[u8] = match self.snapshot.repository().requirements().bookmarks_in_store() {
                true => b"store/bookmarks",
                false => b"bookmarks",
            };
            let content = MovedBookmarks::content(self.snapshot, &bookmarks)?;
            self.spool.writer.replace(path, length(&state.bookmarks), &content)?;
        }
        if self.markers.count > 0 {
            let content = self.markers.content(state.obsstore_bytes);
            self.append(b"store/obsstore", state.obsstore_bytes, &content)?;
        }
        if let Some(hgrc) = self.hgrc.take().filter(|hgrc| Some(hgrc) != state.hgrc.as_ref()) {
            self.spool.writer.replace(b"hgrc", length(&state.hgrc), &hgrc)?;
        }
        self.add_requirements()?;
        if self.spool.writer.is_empty() {
            return Ok(None);
        }
        let summary = PushSummary {
            changesets: self.changelog.new_changesets().map(|new| self.changelog.node(new)).collect(),
            bookmarks,
            phases: self.phases.summary(&self.changelog),
            markers: self.markers.count,
        };
        let (file, bytes) = self.spool.writer.finish()?;
        Ok(Some(PreparedChange { file, bytes, summary }))
    }
}
