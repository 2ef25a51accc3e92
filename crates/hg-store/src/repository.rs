//! A repository's folder.

use std::fs::File;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::config::{Config, Configure};
use crate::folder::Folder;
use crate::kept_index::Checked;
use crate::path_encoding::PathEncoding;
use crate::requirements::Requirements;
use crate::revlog::index::Links;
use crate::{Revlog, RevlogExtent, Snapshot, SnapshotState, StoreError};

mod create;
mod journal;
mod share;

pub use create::StoreFormat;
use share::Source;

/// Phase roots and bookmarks are read whole; a million of either fits.
const SMALL_FILE_BYTES_MAX: u64 = 128 << 20;
const HGRC_BYTES_MAX: u64 = 1 << 20;
/// A manifest of bundles has a line of some hundred bytes for each.
pub(crate) const BUNDLES_BYTES_MAX: u64 = 1 << 20;
/// How often a length is looked at again when it changes under the reader's eyes.
const LOOKS_MAX: usize = 8;

/// A new content for a file of requirements.
pub(crate) struct ChangedRequirements {
    /// Where the file is, below `.hg`.
    pub(crate) path: &'static [u8],
    /// Its length now, in bytes.
    pub(crate) old_bytes: u64,
    /// What is to be in it.
    pub(crate) content: Vec<u8>,
}

/// One working folder with `.hg`, its requirements known and checked.
pub struct Repository {
    root: PathBuf,
    hg: Folder,
    /// The repository whose store it is, where this is a share.
    source: Option<Source>,
    store: Folder,
    requirements: Requirements,
    encoding: PathEncoding,
    kept_folder: Option<PathBuf>,
    configure: Option<Arc<dyn Configure>>,
    checked: Mutex<Checked>,
}

impl Repository {
    /// Opens the folder that holds `.hg`. Requirements that aren't known here are refused by name.
    pub fn open(root: &Path) -> Result<Arc<Repository>, StoreError> {
        Repository::open_with(root, None, None)
    }

    /// As [`open`](Self::open), with somebody who says what its configuration is.
    pub fn open_configured(root: &Path, configure: Arc<dyn Configure>) -> Result<Arc<Repository>, StoreError> {
        Repository::open_with(root, None, Some(configure))
    }

    /// As [`open`](Self::open), with a folder outside of `.hg` for what speeds reading up: made by
    /// [`Snapshot::keep_index`] after each change, read by any number of processes, and never trusted further than it
    /// agrees with the store. The folder may be empty, or absent.
    pub fn open_indexed(root: &Path, index: &Path) -> Result<Arc<Repository>, StoreError> {
        Repository::open_with(root, Some(index.to_owned()), None)
    }

    fn open_with(
        root: &Path,
        kept_folder: Option<PathBuf>,
        configure: Option<Arc<dyn Configure>>,
    ) -> Result<Arc<Repository>, StoreError> {
        let no_repository = || StoreError::NoRepository { path: root.to_owned() };
        if !root.join(".hg").exists() {
            return Err(no_repository());
        }
        let hg = Folder::open(root, true)?.folder(".hg")?.ok_or_else(no_repository)?;
        let requirements = Requirements::read_beside(&hg)?;
        let source = Source::of(&hg, &requirements)?;
        let of_store = source.as_ref().map_or(&hg, |source| &source.hg);
        let store = of_store.folder("store")?;
        let requirements = requirements.with_store(&hg, store.as_ref())?;
        let store = match requirements.store() {
            true => store.ok_or_else(|| StoreError::corrupt(of_store.path().join("store"), "missing"))?,
            false => of_store.again()?,
        };
        let encoding = PathEncoding::of(&requirements);
        let root = root.to_owned();
        Ok(Arc::new(Repository {
            root,
            hg,
            source,
            store,
            requirements,
            encoding,
            kept_folder,
            configure,
            checked: Mutex::default(),
        }))
    }

    /// The folder that holds `.hg`.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The `.hg` that the store is in: its own, or that of the repository which it shares.
    pub fn hg_of_store(&self) -> PathBuf {
        self.source.as_ref().map_or_else(|| self.hg.path().to_owned(), Source::path)
    }

    /// Whether it is a share with bookmarks of its own, which don't lie beside the store.
    pub fn has_bookmarks_of_its_own(&self) -> bool {
        !self.requirements.bookmarks_in_store() && self.source.as_ref().is_some_and(|source| !source.bookmarks)
    }

    /// Which `.hg` was opened, by its device and its number there: at the same path there may be another one by now.
    ///
    /// # Errors
    /// A failing system call.
    pub fn identity(&self) -> Result<(u64, u64), StoreError> {
        self.hg.identity()
    }

    /// The files that change, or come to be, whenever a snapshot would be another one.
    pub fn watched_files(&self) -> Vec<PathBuf> {
        let own = [&b"requires"[..], b"sharedpath", b"shared", b"hgrc", b"hgrc-not-shared", b"bookmarks"];
        let bundles = [&b"clonebundles.manifest"[..], b"pullbundles.manifest"];
        let own = own.iter().chain(&bundles).map(|name| self.hg.path_of(name));
        let shared =
            self.source.iter().flat_map(|source| [&b"hgrc"[..], b"bookmarks"].map(|name| source.hg.path_of(name)));
        let stored = [&b"00changelog.i"[..], b"00manifest.i", b"fncache", b"phaseroots", b"bookmarks", b"obsstore"];
        own.chain(shared).chain(stored.map(|name| self.store.path_of(name))).collect()
    }

    /// The folders in which [`watched_files`](Self::watched_files) lie, held open. `None` for a share, whose files lie below paths that its own
    /// folder does not hold.
    pub fn watched_folders(&self) -> Option<[BorrowedFd<'_>; 2]> {
        self.source.is_none().then(|| [&self.hg, &self.store].map(Folder::descriptor))
    }

    /// The `.hg` of the repository that is shared, where it is a share, and its own.
    pub(crate) fn folders(&self) -> impl Iterator<Item = &Folder> {
        self.source.iter().map(|source| &source.hg).chain([&self.hg])
    }

    /// The file that names what the store asks of its reader, with more names in it. `None` for a share that is not `share-safe`: its
    /// requirements don't lie beside its store.
    pub(crate) fn requirements_with(&self, new: &[&str]) -> Result<Option<ChangedRequirements>, StoreError> {
        let (folder, path): (_, &[u8]) = match (self.requirements.share_safe(), &self.source) {
            (true, _) => (&self.store, b"store/requires"),
            (false, None) => (&self.hg, b"requires"),
            (false, Some(_)) => return Ok(None),
        };
        let before = folder.read(b"requires", SMALL_FILE_BYTES_MAX)?.unwrap_or_default();
        let mut names: Vec<&[u8]> = before.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
        names.extend(new.iter().map(|name| name.as_bytes()));
        names.sort_unstable();
        let content = names.into_iter().flat_map(|name| [name, b"\n"]).collect::<Vec<_>>().concat();
        Ok(Some(ChangedRequirements { path, old_bytes: before.len() as u64, content }))
    }

    /// What the repository asks of its reader.
    pub fn requirements(&self) -> &Requirements {
        &self.requirements
    }

    pub(crate) fn bundle_file(&self, path: &[u8]) -> Result<Option<(File, u64)>, StoreError> {
        self.hg.file(path)
    }

    /// Up to where indexes were looked through by this process.
    pub(crate) fn checked(&self) -> Checked {
        *self.checked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that they were looked through up to there.
    pub(crate) fn note_checked(&self, now: Checked) {
        let mut checked = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        checked.changesets = checked.changesets.max(now.changesets);
        checked.manifests = checked.manifests.max(now.manifests);
    }

    pub(crate) fn kept_folder(&self) -> Option<&Path> {
        self.kept_folder.as_deref()
    }

    /// How store paths become names on disk.
    pub fn encoding(&self) -> PathEncoding {
        self.encoding
    }

    /// The name on disk, below the store's folder, of a store path such as `data/x.i`.
    pub(crate) fn encode(&self, path: &[u8]) -> Vec<u8> {
        self.encoding.encode(path)
    }

    pub(crate) fn store(&self) -> &Folder {
        &self.store
    }

    /// The state from disk, as of now: for stand-alone use and for start-up.
    ///
    /// While a writer's journal is there, the changelog is as long as the journal says it was before.
    pub fn current_state(&self) -> Result<SnapshotState, StoreError> {
        // The other way round from the order in which a change is applied: what is read later may be newer, and then
        // it only knows more than is asked of it.
        let (bookmarks_folder, bookmarks) = self.bookmarks_file();
        let bookmarks = bookmarks_folder.read(bookmarks, SMALL_FILE_BYTES_MAX)?;
        let obsstore_bytes = self.bytes_before_writer(b"obsstore")?;
        let changelog = self.changelog_extent()?;
        let phaseroots = self.store.read(b"phaseroots", SMALL_FILE_BYTES_MAX)?;
        let manifest = Revlog::open_linked(&self.store, b"00manifest.i", changelog.revisions)?
            .map_or(RevlogExtent::default(), |log| log.extent());
        // Both were looked through for that.
        self.note_checked(Checked { changesets: changelog.revisions, manifests: manifest.revisions });
        let fncache = self.requirements.fncache().then(|| self.store.file(b"fncache")).transpose()?.flatten();
        let fncache_bytes = fncache.map_or(0, |(_, bytes)| bytes);
        let hgrc = self.read_hgrc()?;
        // What is wrong with a manifest of bundles is no reason to serve nothing: without it, clones are only slower.
        let bundles = |name: &[u8]| self.hg.read(name, BUNDLES_BYTES_MAX).ok().flatten();
        let (clonebundles, pullbundles) = (bundles(b"clonebundles.manifest"), bundles(b"pullbundles.manifest"));
        Ok(SnapshotState {
            changelog,
            manifest,
            obsstore_bytes,
            fncache_bytes,
            phaseroots,
            bookmarks,
            hgrc,
            clonebundles,
            pullbundles,
        })
    }

    /// The repository as this state says. Nothing beyond its lengths is ever read.
    pub fn snapshot(self: &Arc<Self>, state: SnapshotState) -> Result<Snapshot, StoreError> {
        Snapshot::open(self.clone(), state)
    }

    fn bookmarks_file(&self) -> (&Folder, &'static [u8]) {
        let folder = match &self.source {
            _ if self.requirements.bookmarks_in_store() => &self.store,
            Some(source) if source.bookmarks => &source.hg,
            _ => &self.hg,
        };
        (folder, b"bookmarks")
    }

    /// The settings that count: in a share that is `share-safe` those of its source first, and last what is not for shares.
    fn read_hgrc(&self) -> Result<Option<Vec<u8>>, StoreError> {
        let of_source = match &self.source {
            Some(source) if self.requirements.share_safe() => source.hg.read(b"hgrc", HGRC_BYTES_MAX)?,
            _ => None,
        };
        let own = self.hg.read(b"hgrc", HGRC_BYTES_MAX)?;
        let last = self.hg.read(b"hgrc-not-shared", HGRC_BYTES_MAX)?;
        Ok([of_source, own, last].into_iter().flatten().reduce(|mut all, next| {
            // A file may end within a line, and a section goes on until the next begins.
            all.extend_from_slice(b"\n");
            all.extend(next);
            all
        }))
    }

    /// The files from which [`Repository::read_hgrc`] takes them, in that order; they need not be there.
    fn hgrc_files(&self) -> Vec<PathBuf> {
        let of_source = self.source.iter().filter(|_| self.requirements.share_safe());
        let own = [&b"hgrc"[..], b"hgrc-not-shared"].map(|name| self.hg.path_of(name));
        of_source.map(|source| source.hg.path_of(b"hgrc")).chain(own).collect()
    }

    /// What counts as its configuration now.
    ///
    /// # Errors
    /// An `hgrc` that can't be read or parsed.
    pub fn current_config(&self) -> Result<Config, StoreError> {
        self.config(self.read_hgrc()?.as_deref())
    }

    /// What counts as its configuration, its `hgrc` being this.
    pub(crate) fn config(&self, hgrc: Option<&[u8]>) -> Result<Config, StoreError> {
        let config = match &self.configure {
            Some(configure) => configure.config(&self.hgrc_files(), hgrc),
            None => Config::parse(hgrc.unwrap_or_default()),
        };
        config.map_err(|error| StoreError::corrupt(self.hg.path_of(b"hgrc"), error.to_string()))
    }

    fn changelog_extent(&self) -> Result<RevlogExtent, StoreError> {
        const PATH: &[u8] = b"00changelog.i";
        let bytes = self.bytes_before_writer(PATH)?;
        Revlog::measure(&self.store, PATH, bytes, Links::Own)
    }

    /// The length of a file that grows, or the one that the journal remembers.
    fn bytes_before_writer(&self, path: &[u8]) -> Result<u64, StoreError> {
        let mut bytes = self.store.file(path)?.map_or(0, |(_, bytes)| bytes);
        for _ in 0..LOOKS_MAX {
            // The journal is there before the first byte is added and goes after the last: looked at between two looks
            // at the length, it tells whether that was a whole one.
            if let Some(before) = journal::bytes_before(&self.store, path)? {
                return Ok(bytes.min(before));
            }
            let again = self.store.file(path)?.map_or(0, |(_, bytes)| bytes);
            if again == bytes {
                break;
            }
            bytes = again;
        }
        Ok(bytes)
    }
}
