//! Taking a push's files.

use std::sync::Arc;

use crate::observe::{ObservedFile, Observer};
use crate::{Node, Revision, Revlog, Snapshot};

use super::changelog::CombinedChangelog;
use super::error::{Place, PrepareError, Refusal};
use super::growing::{Deltas, Growing, Received};
use super::hash::Log;
use super::incoming::IncomingChangegroup;
use super::ledger::{Expected, Ledger};
use super::metadata_check;
use super::read_ahead::Arrived;
use super::spool::Spool;
use super::store_paths::StorePaths;

/// The files of one changegroup.
pub(super) struct Files<'p, 's> {
    pub(super) snapshot: &'s Snapshot,
    pub(super) changelog: &'p CombinedChangelog<'s>,
    pub(super) deltas: Deltas,
    /// Store paths of files that are new, such as `data/x.i`, after those of manifests: for `fncache`.
    pub(super) new_paths: Vec<Vec<u8>>,
    /// Whether a revision points to an LFS object.
    pub(super) has_pointers: bool,
    /// New file revisions.
    pub(super) changes: u64,
    /// Groups.
    pub(super) files: u64,
}

impl Files<'_, '_> {
    /// Takes the group of one file.
    pub(super) fn receive(
        &mut self,
        spool: &mut Spool,
        ledger: &mut Ledger,
        path: Vec<u8>,
        source: &mut dyn IncomingChangegroup,
        mut observer: Option<&mut (dyn Observer + '_)>,
    ) -> Result<(), PrepareError> {
        let expected = ledger.begin(&path, &spool.limits)?;
        let old = self.snapshot.filelog(&path)?;
        let paths = StorePaths::of(&[b"data/", &path]);
        let log = Log::File(Arc::from(&path[..]));
        let mut revlog = Growing::new(log, old.as_ref(), paths.on_disk(self.snapshot), self.deltas);
        revlog.objects = Some(self.snapshot);
        let mut any = false;
        let place = || Place::File(path.clone());
        while let Some(incoming) = spool.next_of_group(source, "piece in a file's group", place)? {
            any = true;
            if let Some((received, changeset)) = self.revision(spool, &mut revlog, &expected, &incoming)?
                && let Some(observer) = &mut observer
            {
                let node = incoming.node;
                let (text, object_bytes) = match &received.external {
                    None => (&received.text[..], None),
                    Some(external) => (&external.begin[..], Some(external.bytes)),
                };
                observer.file(&ObservedFile { changeset, path: &path, node, text, object_bytes });
            }
        }
        if !any {
            return Err(PrepareError::refused(Refusal::EmptyGroup, Place::File(path)));
        }
        if let Some(missing) = expected.named().iter().find(|node| revlog.revision_of(node).is_none()) {
            return Err(PrepareError::refused(Refusal::MissingFile(*missing), Place::File(path)));
        }
        revlog.finish(&mut spool.writer)?;
        spool.cache.clear();
        self.new_paths.extend(paths.new_ones(&revlog));
        self.files += 1;
        Ok(())
    }

    /// Takes one revision; where it is new, it and the changeset that it belongs to.
    fn revision(
        &mut self,
        spool: &mut Spool,
        revlog: &mut Growing<'_>,
        expected: &Expected,
        incoming: &Arrived,
    ) -> Result<Option<(Received, Revision)>, PrepareError> {
        let node = incoming.node;
        let link = self
            .changelog
            .revision_of(&incoming.link)
            .map(Revision::get)
            .ok_or_else(|| revlog.refused(Refusal::UnknownLink(incoming.link), node))?;
        if revlog.revision_of(&node).is_some() {
            return Ok(None);
        }
        if !expected.is_named(&node) {
            return Err(revlog.refused(Refusal::Spurious, node));
        }
        if !expected.is_listed_by(link) {
            return Err(revlog.refused(Refusal::WrongLink(incoming.link), node));
        }
        let received = revlog.receive(spool, incoming, link)?;
        if let Some(received) = &received {
            self.has_pointers |= received.external.is_some();
            metadata_check::check(&received.text).map_err(|what| revlog.refused(what, node))?;
        }
        self.changes += u64::from(received.is_some());
        Ok(received.map(|received| (received, Revision::new(link))))
    }

    /// The files are over: what manifests name of the others must be in the store, and what changesets list too.
    pub(super) fn check_rest(&self, ledger: Ledger) -> Result<(), PrepareError> {
        for (path, expected) in ledger.rest() {
            let refused = |what| PrepareError::refused(what, Place::File(path.to_vec()));
            let old = self.snapshot.filelog(&path)?.filter(|old| !old.is_empty());
            let has = |old: &Revlog, node: &Node| old.revision_of(node).is_some();
            match (&old, expected.named()) {
                (Some(old), named) => {
                    if let Some(missing) = named.iter().find(|node| !has(old, node)) {
                        return Err(refused(Refusal::MissingFile(*missing)));
                    }
                }
                (None, [missing, ..]) => return Err(refused(Refusal::MissingFile(*missing))),
                (None, []) => {
                    if let Some(changeset) =
                        expected.first_listed_by().and_then(|number| self.changelog.revision(number))
                    {
                        return Err(refused(Refusal::Unlisted(self.changelog.node(changeset))));
                    }
                }
            }
        }
        Ok(())
    }
}
