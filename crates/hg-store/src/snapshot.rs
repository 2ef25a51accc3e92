//! A repository as it was at one moment.

use std::fs::File;
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};

use crate::branchmap::BranchOfChangesets;
use crate::kept_index::{Checked, KeptHeads, KeptNodes, Table};
use crate::opened_filelogs::OpenedFilelogs;
use crate::revlog::index::Links;
use crate::{
    Bookmarks, Branchmap, Changeset, Filter, Fncache, Node, Obsstore, Phases, Repository, Revision, Revlog,
    RevlogExtent, Settings, StoreError, Tags, View, changeset,
};

/// Lengths of the files that grow, and the small files: what a server keeps and hands out for each request.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SnapshotState {
    /// `store/00changelog`.
    pub changelog: RevlogExtent,
    /// `store/00manifest`.
    pub manifest: RevlogExtent,
    /// Bytes of `store/obsstore`; 0 when absent.
    pub obsstore_bytes: u64,
    /// Bytes of `store/fncache`; 0 when absent.
    pub fncache_bytes: u64,
    /// Content of `store/phaseroots`, if there is one.
    pub phaseroots: Option<Vec<u8>>,
    /// Content of the bookmarks file, if there is one.
    pub bookmarks: Option<Vec<u8>>,
    /// Content of `hgrc`, if there is one.
    pub hgrc: Option<Vec<u8>>,
    /// Content of `clonebundles.manifest`, if there is one.
    pub clonebundles: Option<Vec<u8>>,
    /// Content of `pullbundles.manifest`, if there is one.
    pub pullbundles: Option<Vec<u8>>,
}

/// A repository as a [`SnapshotState`] says. Cheap to share; parts are read when first asked for.
pub struct Snapshot {
    repository: Arc<Repository>,
    state: SnapshotState,
    settings: Settings,
    filter: Filter,
    changelog: Revlog,
    manifest: Revlog,
    phases: OnceLock<Phases>,
    bookmarks: OnceLock<Bookmarks>,
    obsstore: OnceLock<Obsstore>,
    kept_heads: OnceLock<Option<KeptHeads>>,
    served: OnceLock<View>,
    heads_in_hex: OnceLock<Vec<u8>>,
    branchmap: OnceLock<Branchmap>,
    tags: OnceLock<Tags>,
    filelogs: OpenedFilelogs,
    /// The same, seen through other filters; by their places in [`Filter::ALL`].
    others: [OnceLock<Arc<Snapshot>>; Filter::ALL.len()],
}

impl Snapshot {
    pub(crate) fn open(repository: Arc<Repository>, state: SnapshotState) -> Result<Snapshot, StoreError> {
        let settings = Settings::new(repository.config(state.hgrc.as_deref())?);
        let filter = settings.server_view();
        Snapshot::open_filtered(repository, state, settings, filter)
    }

    fn open_filtered(
        repository: Arc<Repository>,
        state: SnapshotState,
        settings: Settings,
        filter: Filter,
    ) -> Result<Snapshot, StoreError> {
        let (mut changelog, mut manifest) = open_checked(&repository, &state)?;
        for (table, revlog) in [(Table::Changesets, &mut changelog), (Table::Manifests, &mut manifest)] {
            if let Some(kept) = repository.kept_folder().and_then(|folder| KeptNodes::open(folder, table, revlog)) {
                revlog.use_kept(kept);
            }
        }
        Ok(Snapshot {
            repository,
            state,
            settings,
            filter,
            changelog,
            manifest,
            phases: OnceLock::new(),
            bookmarks: OnceLock::new(),
            obsstore: OnceLock::new(),
            kept_heads: OnceLock::new(),
            served: OnceLock::new(),
            heads_in_hex: OnceLock::new(),
            branchmap: OnceLock::new(),
            tags: OnceLock::new(),
            filelogs: OpenedFilelogs::default(),
            others: Default::default(),
        })
    }

    /// The same moment, seen through another filter than that which `server.view` says. Made once, and kept.
    pub fn seen_through(self: &Arc<Self>, filter: Filter) -> Result<Arc<Snapshot>, StoreError> {
        if filter == self.filter {
            return Ok(self.clone());
        }
        let make = || {
            let (repository, state) = (self.repository.clone(), self.state.clone());
            Snapshot::open_filtered(repository, state, self.settings.clone(), filter).map(Arc::new)
        };
        once(&self.others[filter as usize], make).cloned()
    }

    /// Through what [`served`](Self::served), and all that is made of it, is seen.
    pub fn filter(&self) -> Filter {
        self.filter
    }

    /// The repository when it had its first `changesets` changesets alone; without phases, bookmarks and obsolescence markers, of
    /// which the store does not keep what they were.
    pub fn before(&self, changesets: u32) -> Result<Snapshot, StoreError> {
        let manifests = self.manifest.revisions().take_while(|revision| self.manifest.link(*revision) < changesets);
        let state = SnapshotState {
            changelog: self.changelog.extent_of(changesets),
            manifest: self.manifest.extent_of(manifests.count() as u32),
            obsstore_bytes: 0,
            fncache_bytes: self.state.fncache_bytes,
            phaseroots: None,
            bookmarks: None,
            hgrc: self.state.hgrc.clone(),
            clonebundles: None,
            pullbundles: None,
        };
        Snapshot::open(self.repository.clone(), state)
    }

    /// The repository that this is of.
    pub fn repository(&self) -> &Arc<Repository> {
        &self.repository
    }

    /// The lengths and small files from which it was made.
    pub fn state(&self) -> &SnapshotState {
        &self.state
    }

    /// Opens a file that a manifest of bundles names, with its length in bytes; `path` is relative to `.hg`. `None` where there is
    /// no such file. Of what lies there by now: bundles are no part of a snapshot, only their manifests are.
    ///
    /// # Errors
    /// A path that leads through a symbolic link, out of `.hg`, or to what is no regular file; a failing system call.
    pub fn bundle_file(&self, path: &[u8]) -> Result<Option<(File, u64)>, StoreError> {
        self.repository.bundle_file(path)
    }

    /// What the repository's `hgrc` says.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Whether largefiles are taken and served: because the repository has some, or because its settings say so.
    pub fn serves_largefiles(&self) -> bool {
        self.repository.requirements().largefiles() || self.settings.largefiles()
    }

    /// Whether LFS objects, and pointers to them, are taken and served: because the repository has some, or because its settings say so.
    pub fn serves_lfs(&self) -> bool {
        self.repository.requirements().lfs() || self.settings.lfs()
    }

    /// The changesets.
    pub fn changelog(&self) -> &Revlog {
        &self.changelog
    }

    /// The manifests.
    pub fn manifest(&self) -> &Revlog {
        &self.manifest
    }

    /// The revisions of one tracked file; `None` when it has none.
    ///
    /// Revisions that link at or above the changelog's length don't exist for it.
    pub fn filelog(&self, path: &[u8]) -> Result<Option<Revlog>, StoreError> {
        self.revlog_at(&[b"data/", path, b".i"].concat())
    }

    /// As [`filelog`](Self::filelog), kept open for whoever asks next.
    pub fn shared_filelog(&self, path: &[u8]) -> Result<Option<Arc<Revlog>>, StoreError> {
        if let Some(log) = self.filelogs.get(path) {
            return Ok(Some(log));
        }
        let Some(log) = self.filelog(path)?.map(Arc::new) else { return Ok(None) };
        self.filelogs.keep(path, &log);
        Ok(Some(log))
    }

    /// The manifests of one folder, where the repository has `treemanifest`; `None` when it has none. The path ends with a slash.
    pub fn tree_manifest(&self, folder: &[u8]) -> Result<Option<Revlog>, StoreError> {
        self.revlog_at(&[b"meta/", folder, b"00manifest.i"].concat())
    }

    /// The revlog of a store path such as `data/x.i`; `None` when it has no revision.
    pub(crate) fn revlog_at(&self, path: &[u8]) -> Result<Option<Revlog>, StoreError> {
        let name = self.repository.encode(path);
        let changesets = self.state.changelog.revisions;
        let log = Revlog::open_linked(self.repository.store(), &name, changesets)?;
        Ok(log.filter(|log| !log.is_empty()))
    }

    /// The list of tracked files' store paths. A store without `fncache` is walked, and may have more than the snapshot.
    pub fn fncache(&self) -> Result<Fncache, StoreError> {
        let store = self.repository.store();
        match self.repository.requirements().fncache() {
            true => Fncache::read(store, self.state.fncache_bytes),
            false => Fncache::walk(store, self.repository.encoding()),
        }
    }

    /// Phases of the changesets.
    pub fn phases(&self) -> Result<&Phases, StoreError> {
        once(&self.phases, || Phases::read(self))
    }

    /// Bookmarks on changesets that exist.
    pub fn bookmarks(&self) -> Result<&Bookmarks, StoreError> {
        once(&self.bookmarks, || Bookmarks::read(self))
    }

    /// Obsolescence markers.
    pub fn obsstore(&self) -> Result<&Obsstore, StoreError> {
        once(&self.obsstore, || Obsstore::read(self))
    }

    /// Heads of the changelog and of its branches, nothing left out, where the repository's index folder has them.
    pub(crate) fn kept_heads(&self) -> Result<Option<&KeptHeads>, StoreError> {
        let Some(folder) = self.repository.kept_folder() else { return Ok(None) };
        once(&self.kept_heads, || KeptHeads::read(folder, &self.changelog)).map(Option::as_ref)
    }

    /// The changesets that a server shows, as the [filter](Self::filter) says; never a secret one.
    pub fn served(&self) -> Result<&View, StoreError> {
        once(&self.served, || View::new(self, self.filter))
    }

    /// The names of the [served](Self::served) heads in hexadecimal digits, highest first, one blank between. Kept: every client
    /// asks for them.
    pub fn heads_in_hex(&self) -> Result<&[u8], StoreError> {
        let make = || {
            let heads = self.served()?.heads();
            let mut hex = Vec::with_capacity(heads.len() * 41);
            for (n, head) in heads.iter().enumerate() {
                if n > 0 {
                    hex.push(b' ');
                }
                hex.extend_from_slice(&self.changelog.node(*head).to_hex());
            }
            Ok(hex)
        };
        once(&self.heads_in_hex, make).map(Vec::as_slice)
    }

    /// [`heads_in_hex`](Self::heads_in_hex), where they were asked for before, and changesets are found by their names without
    /// reading the changelog.
    pub fn kept_names_and_heads(&self) -> Option<&[u8]> {
        self.heads_in_hex.get().filter(|_| self.changelog.has_names()).map(Vec::as_slice)
    }

    /// Brings the files in the repository's index folder up to this snapshot; the folder is made where it is absent.
    /// Nothing happens without one. Only one process may do this for a folder.
    pub fn keep_index(&self) -> Result<(), StoreError> {
        let Some(folder) = self.repository.kept_folder() else { return Ok(()) };
        let failed = |source| StoreError::io("write the index in", folder, source);
        std::fs::create_dir_all(folder).map_err(failed)?;
        KeptNodes::update(folder, Table::Changesets, &self.changelog).map_err(failed)?;
        KeptNodes::update(folder, Table::Manifests, &self.manifest).map_err(failed)?;
        BranchOfChangesets::keep(folder, &self.changelog)?.map_err(failed)?;
        match self.kept_heads()? {
            Some(_) if KeptHeads::covers(folder, &self.changelog) => Ok(()),
            Some(kept) => kept.write(folder, &self.changelog),
            // By the branches that were written just now.
            None => Branchmap::all_heads(&self.changelog, folder)?.write(folder, &self.changelog),
        }
        .map_err(failed)
    }

    /// One changeset, parsed; its hash is checked.
    pub fn changeset(&self, revision: Revision) -> Result<Changeset, StoreError> {
        let text = self.changelog.text(revision)?;
        Changeset::parse(&text)
            .map_err(|error| StoreError::corrupt(self.changelog.path(), format!("revision {revision}: {error}")))
    }

    /// The branch of a changeset, and whether the changeset closes it.
    pub fn branch_of(&self, revision: Revision) -> Result<(Vec<u8>, bool), StoreError> {
        let (branch, closes) = changeset::stored_branch_of(&self.changelog, revision)?;
        Ok((branch.unwrap_or_else(|| b"default".to_vec()), closes))
    }

    /// Heads of each branch over the served view.
    pub fn branchmap(&self) -> Result<&Branchmap, StoreError> {
        once(&self.branchmap, || Branchmap::read(self))
    }

    /// Tags as the `.hgtags` of the served heads say.
    pub fn tags(&self) -> Result<Tags, StoreError> {
        once(&self.tags, || Tags::read(self)).cloned()
    }

    /// The revision of `.hgtags` at a served head, null where the head has none; `None` while nobody has asked for the tags.
    pub fn known_tags_file_node(&self, head: Revision) -> Option<Node> {
        self.tags.get()?.file_node(head)
    }
}

/// Opens changelog and manifest, and looks at those entries alone that nobody has looked at yet, in this process or, as far as that is
/// known to be of this store, in another.
fn open_checked(repository: &Repository, state: &SnapshotState) -> Result<(Revlog, Revlog), StoreError> {
    let store = repository.store();
    let open = |checked: Checked| {
        let changesets = checked.changesets.min(state.changelog.revisions);
        let changelog = Revlog::open_extent(store, b"00changelog.i", state.changelog, Links::Own, changesets)?;
        let manifests = checked.manifests.min(state.manifest.revisions);
        let links = Links::Below(state.changelog.revisions);
        let manifest = Revlog::open_extent(store, b"00manifest.i", state.manifest, links, manifests)?;
        Ok((changelog, manifest))
    };
    let known = repository.checked();
    let said = repository.kept_folder().filter(|_| known == Checked::default()).and_then(Checked::said);
    let opened = said.and_then(|said| open(said.checked()).ok().filter(|(log, manifest)| said.is_of(log, manifest)));
    let (changelog, manifest) = opened.map_or_else(|| open(known), Ok)?;
    repository.note_checked(Checked { changesets: changelog.len() as u32, manifests: manifest.len() as u32 });
    Ok((changelog, manifest))
}

/// The kept value, or a new one, kept. Two threads may both make it; one of the two is kept.
fn once<T>(kept: &OnceLock<T>, make: impl FnOnce() -> Result<T, StoreError>) -> Result<&T, StoreError> {
    if let Some(value) = kept.get() {
        return Ok(value);
    }
    let value = make()?;
    Ok(kept.get_or_init(|| value))
}
