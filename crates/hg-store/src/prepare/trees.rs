//! Taking a push's manifests of folders, where the repository has them.

use std::collections::HashMap;
use std::sync::Arc;

use crate::{Node, Revision, Snapshot};

use super::changelog::CombinedChangelog;
use super::error::{Place, PrepareError, Refusal};
use super::growing::{Deltas, Growing};
use super::hash::Log;
use super::incoming::{Incoming, IncomingChangegroup};
use super::ledger::Ledger;
use super::manifest::{Manifests, NamedBy, check_lines};
use super::read_ahead::Arrived;
use super::spool::Spool;
use super::store_paths::StorePaths;
use super::tree_ledger::{ExpectedTrees, TreeLedger};
use super::written::Written;
use super::{Preparation, watch_trees};

/// The manifests of folders of one changegroup.
struct Trees<'p, 's> {
    snapshot: &'s Snapshot,
    changelog: &'p CombinedChangelog<'s>,
    deltas: Deltas,
    expected: TreeLedger,
    /// Store paths of files that are new, such as `meta/x/00manifest.i`: for `fncache`.
    new_paths: Vec<Vec<u8>>,
    /// Where the new manifests of each folder lie, the top's as that of an empty path; `None` where nobody looks at them again.
    written: Option<HashMap<Box<[u8]>, Written>>,
}

impl<'s> Preparation<'s> {
    /// Takes all of them, from `piece` on, and tells the observer what they and those of the top change. Returns the piece behind them,
    /// and the store paths of files that are new.
    pub(super) fn take_trees(
        &mut self,
        expected: TreeLedger,
        top: Manifests<'s>,
        ledger: &mut Ledger,
        source: &mut dyn IncomingChangegroup,
        mut piece: Incoming,
    ) -> Result<(Incoming, Vec<Vec<u8>>), PrepareError> {
        let written = self.observer.is_some().then(|| [(Box::default(), top.revlog.into_written())].into());
        let (snapshot, changelog, deltas) = (self.snapshot, &self.changelog, self.deltas);
        let mut trees = Trees { snapshot, changelog, deltas, expected, new_paths: Vec::new(), written };
        while let Incoming::Tree(folder) = piece {
            trees.receive(&mut self.spool, ledger, folder, source)?;
            piece = self.spool.next(source)?;
        }
        trees.check_rest()?;
        let Trees { new_paths, written, .. } = trees;
        if let (Some(observer), Some(written)) = (self.observer.as_deref_mut(), written) {
            watch_trees::tell(self.snapshot, &mut self.spool, &self.changelog, written, observer)?;
        }
        Ok((piece, new_paths))
    }
}

impl Trees<'_, '_> {
    /// Takes the group of one folder.
    fn receive(
        &mut self,
        spool: &mut Spool,
        ledger: &mut Ledger,
        folder: Vec<u8>,
        source: &mut dyn IncomingChangegroup,
    ) -> Result<(), PrepareError> {
        let expected = self.expected.begin(&folder, &spool.limits)?;
        let old = self.snapshot.tree_manifest(&folder)?;
        let paths = StorePaths::of(&[b"meta/", &folder, b"00manifest"]);
        let log = Log::Tree(Arc::from(&folder[..]));
        let mut revlog = Growing::new(log, old.as_ref(), paths.on_disk(self.snapshot), self.deltas);
        let place = || Place::Tree(folder.clone());
        let refused = |what| PrepareError::refused(what, place());
        let mut any = false;
        while let Some(incoming) = spool.next_of_group(source, "piece in a folder's group", place)? {
            any = true;
            self.revision(spool, ledger, &folder, &mut revlog, &expected, &incoming)?;
        }
        if !any {
            return Err(refused(Refusal::EmptyGroup));
        }
        if let Some(missing) = expected.named().find(|node| revlog.revision_of(node).is_none()) {
            return Err(refused(Refusal::MissingManifest(*missing)));
        }
        revlog.finish(&mut spool.writer)?;
        spool.cache.clear();
        self.new_paths.extend(paths.new_ones(&revlog));
        if let Some(written) = &mut self.written {
            written.insert(folder.into(), revlog.into_written());
        }
        Ok(())
    }

    fn revision(
        &mut self,
        spool: &mut Spool,
        ledger: &mut Ledger,
        folder: &[u8],
        revlog: &mut Growing<'_>,
        expected: &ExpectedTrees,
        incoming: &Arrived,
    ) -> Result<(), PrepareError> {
        let node = incoming.node;
        if revlog.revision_of(&node).is_some() {
            return Ok(());
        }
        let link = self.changelog.revision_of(&incoming.link).map(Revision::get);
        let link = link.ok_or_else(|| revlog.refused(Refusal::UnknownLink(incoming.link), node))?;
        if !expected.is_named(&node) {
            return Err(revlog.refused(Refusal::Spurious, node));
        }
        if !expected.is_of(&node, link) {
            return Err(revlog.refused(Refusal::WrongLink(incoming.link), node));
        }
        let Some(received) = revlog.receive(spool, incoming, link)? else { return Ok(()) };
        if received.text.is_empty() {
            return Err(revlog.refused(Refusal::Manifest("folder without files"), node));
        }
        let named_by = NamedBy::Tree { folder, changeset: link, trees: &mut self.expected };
        check_lines(revlog, spool, ledger, named_by, incoming, &received)
    }

    /// The groups are over: what manifests name of the other folders must be in the store.
    fn check_rest(&mut self) -> Result<(), PrepareError> {
        for (folder, expected) in std::mem::take(&mut self.expected).rest() {
            let old = self.snapshot.tree_manifest(&folder)?;
            let has = |node: &&Node| old.as_ref().is_some_and(|old| old.revision_of(node).is_some());
            if let Some(missing) = expected.named().find(|node| !has(node)) {
                return Err(PrepareError::refused(Refusal::MissingManifest(*missing), Place::Tree(folder.into())));
            }
        }
        Ok(())
    }
}
