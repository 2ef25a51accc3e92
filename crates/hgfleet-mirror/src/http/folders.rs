//! Plain repositories on disk, served without a fleet: `hgfleet web PATH...`.

mod kept;
mod watch;

use super::{BundleCache, NotServed, Repositories};
use hg_store::config::Configure;
use hg_store::{Repository, Settings, Snapshot, StoreError};
use kept::Slot;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use watch::Watcher;

/// How deep below a given folder repositories are looked for.
const DEPTH_MAX: usize = 8;
/// Repositories of which the last snapshot is kept.
const CACHED_MAX: usize = 256;

/// Bytes of bundles that are kept for the next client, in the folder for temporary files.
const BUNDLE_CACHE_BYTES: u64 = 256 << 20;

/// A path that can't be served.
#[derive(Debug, thiserror::Error)]
pub enum FoldersError {
    /// It can't be looked at.
    #[error("can't look at {}: {source}", path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is a repository that can't be read here.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Two of the given paths would have repositories of one name.
    #[error("two of the paths are named '{name}': give the folder above them")]
    SameName {
        /// The name.
        name: String,
    },
}

/// A repository, or a folder with some in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// How its name begins, or the whole of it: words with `/` between, or nothing.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// How many parts a repository's path below it may have; 0: it is one itself.
    pub depth: usize,
}

/// One repository at the root, or folders with repositories in them.
pub struct Folders {
    /// By name.
    roots: BTreeMap<String, Root>,
    configure: Option<Arc<dyn Configure>>,
    prefix: String,
    scheme: &'static str,
    /// By name.
    cached: Mutex<HashMap<String, Arc<Slot>>>,
    watcher: Watcher,
    bundle_cache: Arc<BundleCache>,
}

impl Folders {
    /// Looks at the given paths. One that is a repository, and the only one, is served at the root; further ones under
    /// their folders' names; repositories in folders under their paths below the folder. `configure` says what their configuration
    /// is, beyond what their `hgrc` says.
    ///
    /// # Errors
    /// A path that can't be looked at, a repository that can't be read, two of one name.
    pub fn new(paths: &[PathBuf], configure: Option<Arc<dyn Configure>>) -> Result<Folders, FoldersError> {
        let mut roots = Vec::new();
        for path in paths {
            let path = fs::canonicalize(path).map_err(|source| FoldersError::Io { path: path.clone(), source })?;
            let mut name = String::new();
            let depth = if is_repository(&path) {
                // Says at once what is wrong with it, if anything is.
                Repository::open(&path)?;
                if paths.len() > 1 {
                    name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
                }
                0
            } else {
                fs::read_dir(&path).map_err(|source| FoldersError::Io { path: path.clone(), source })?;
                if paths.len() > 1 {
                    name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
                }
                DEPTH_MAX
            };
            roots.push(Root { name, path, depth });
        }
        Folders::of(roots, configure)
    }

    /// Serves these.
    ///
    /// # Errors
    /// Two of one name.
    pub fn of(all: Vec<Root>, configure: Option<Arc<dyn Configure>>) -> Result<Folders, FoldersError> {
        let mut roots = BTreeMap::new();
        for root in all {
            let name = root.name.clone();
            if roots.insert(name.clone(), root).is_some() {
                return Err(FoldersError::SameName { name });
            }
        }
        let bundle_cache = Arc::new(BundleCache::new(std::env::temp_dir(), BUNDLE_CACHE_BYTES));
        let (prefix, cached, watcher) = (String::new(), Mutex::default(), Watcher::new());
        Ok(Folders { roots, configure, prefix, scheme: "http", cached, watcher, bundle_cache })
    }

    /// Says below which prefix of paths, and by which scheme, this is reached.
    pub fn at(self, prefix: &str, scheme: &'static str) -> Folders {
        Folders { prefix: prefix.to_owned(), scheme, ..self }
    }

    /// Returns the folder of the repository of that name, if there is one, and which `.hg` is in it, by its device and its number there.
    fn path_of(&self, name: &str) -> Option<(PathBuf, (u64, u64))> {
        let below = |root: &Root, rest: &str| {
            let mut path = root.path.clone();
            if !rest.is_empty() && rest.split('/').count() > root.depth {
                return None;
            }
            for part in rest.split('/').filter(|_| !rest.is_empty()) {
                if part.is_empty() || part.starts_with('.') || part.contains(['\\', '\0']) {
                    return None;
                }
                path.push(part);
            }
            repository_at(&path).map(|identity| (path, identity))
        };
        self.roots.iter().find_map(|(root_name, root)| {
            let rest = if root_name.is_empty() {
                name
            } else {
                let rest = name.strip_prefix(root_name.as_str())?;
                if rest.is_empty() { rest } else { rest.strip_prefix('/')? }
            };
            // Nothing inside a repository is another.
            if !rest.is_empty() && is_repository(&root.path) {
                return None;
            }
            below(root, rest)
        })
    }

    fn list(&self) -> Vec<String> {
        let mut names = Vec::new();
        for (name, root) in &self.roots {
            list_below(&root.path, name, root.depth, &mut names);
        }
        names.sort_unstable();
        names.dedup();
        names
    }

    fn repository(&self, path: &Path) -> Result<Arc<Repository>, StoreError> {
        match &self.configure {
            Some(configure) => Repository::open_configured(path, configure.clone()),
            None => Repository::open(path),
        }
    }

    /// Whether it stands in no list: it says so, or whoever asks may not read it.
    fn is_hidden(&self, name: &str) -> bool {
        let Some((path, _)) = self.path_of(name) else { return true };
        let config = self.repository(&path).and_then(|repository| repository.current_config());
        // What can't be understood is not served either.
        config.is_ok_and(|config| {
            let settings = Settings::new(config);
            settings.is_hidden() || !settings.may_read(None)
        })
    }

    /// Opens the repository as it is on disk; the last snapshot serves again while nothing was written.
    fn open(&self, name: &str) -> Result<Arc<Snapshot>, NotServed> {
        let Some((path, identity)) = self.path_of(name) else {
            self.cached().remove(name);
            return Err(NotServed::Unknown);
        };
        let slot = self.slot(name);
        if let Some(snapshot) = slot.current(identity, &self.watcher) {
            return Ok(snapshot);
        }
        // Only this reads more than names and times.
        let opened = tokio::task::block_in_place(|| slot.open(identity, &self.watcher, || self.repository(&path)));
        opened.map_err(|error| {
            tracing::error!(%error, repository = name, "a repository can't be served");
            let text = match error.unsupported_part() {
                Some(what) => format!("{what} of the repository is not supported by this server"),
                None if error.is_corruption() => "the repository is damaged on this server".to_owned(),
                None => "the repository is not readable on this server".to_owned(),
            };
            NotServed::Unavailable { text, retry: false }
        })
    }

    fn slot(&self, name: &str) -> Arc<Slot> {
        let mut cached = self.cached();
        if let Some(slot) = cached.get(name) {
            return slot.clone();
        }
        if cached.len() >= CACHED_MAX {
            cached.clear();
        }
        cached.entry(name.to_owned()).or_default().clone()
    }

    fn cached(&self) -> MutexGuard<'_, HashMap<String, Arc<Slot>>> {
        self.cached.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Repositories for Folders {
    // All of these look at the disk for microseconds; only opening a snapshot reads, and does so on its own thread.
    async fn names(&self) -> Vec<String> {
        tokio::task::block_in_place(|| {
            let mut names = self.list();
            names.retain(|name| !self.is_hidden(name));
            names
        })
    }

    async fn has(&self, name: &str) -> bool {
        // Whether it still is there is looked at when it is opened.
        self.cached().contains_key(name) || self.path_of(name).is_some()
    }

    async fn snapshot(&self, name: &str) -> Result<Arc<Snapshot>, NotServed> {
        self.open(name)
    }

    fn prefix(&self) -> &str {
        &self.prefix
    }

    fn scheme(&self) -> &str {
        self.scheme
    }

    fn bundle_cache(&self) -> Option<&Arc<BundleCache>> {
        Some(&self.bundle_cache)
    }
}

fn is_repository(path: &Path) -> bool {
    repository_at(path).is_some()
}

/// Which `.hg` is in a folder, if one is.
fn repository_at(path: &Path) -> Option<(u64, u64)> {
    let metadata = fs::symlink_metadata(path.join(".hg")).ok().filter(fs::Metadata::is_dir)?;
    Some((metadata.dev(), metadata.ino()))
}

fn list_below(path: &Path, name: &str, left: usize, names: &mut Vec<String>) {
    if is_repository(path) {
        names.push(name.to_owned());
        return;
    }
    let Ok(entries) = fs::read_dir(path) else { return };
    for entry in entries.flatten().filter(|_| left > 0) {
        let Ok(part) = entry.file_name().into_string() else { continue };
        if part.starts_with('.') || part.contains('\\') || !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let name = if name.is_empty() { part } else { format!("{name}/{part}") };
        list_below(&entry.path(), &name, left - 1, names);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    fn folder_with(names: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for name in names {
            fs::create_dir_all(folder.path().join(name).join(".hg")).expect("a repository");
        }
        folder
    }

    #[test]
    fn repositories_below_a_folder_are_found_by_their_paths() {
        let folder = folder_with(&["one", "team/two", "team/two/inner", ".hidden/three"]);
        let folders = Folders::new(&[folder.path().to_owned()], None).expect("a folder");
        assert_eq!(folders.list(), ["one", "team/two"]);
        assert!(folders.path_of("team/two").is_some());
        for name in
            ["", "team", "two", "team/../one", "../x", "/one", "one/", "one/.hg", "team//two", ".hidden/three", "one\0"]
        {
            assert!(folders.path_of(name).is_none(), "{name:?}");
        }
    }

    #[test]
    fn a_root_reaches_as_deep_as_it_says() {
        let folder = folder_with(&["one", "team/two"]);
        let root = |name: &str, depth| Root { name: name.to_owned(), path: folder.path().to_owned(), depth };
        let single = Root { path: folder.path().join("one"), ..root("x", 0) };
        let folders = Folders::of(vec![root("", 1), root("deep", 8), single], None).expect("names of their own");
        assert_eq!(folders.list(), ["deep/one", "deep/team/two", "one", "x"]);
        assert!(folders.path_of("team/two").is_none() && folders.path_of("deep/team/two").is_some());
        assert!(folders.path_of("x").is_some() && folders.path_of("x/one").is_none());
    }

    /// With a repository `one`, watched where the system can do that, or not.
    fn with_one(watcher: Watcher) -> (tempfile::TempDir, PathBuf, Folders) {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("one");
        crate::http::tests::make_repository(&root);
        let folders = Folders::new(&[folder.path().to_owned()], None).expect("a folder");
        (folder, root, Folders { watcher, ..folders })
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn snapshot_serves_again_until_something_is_written() {
        for watcher in [Watcher::new(), Watcher::none()] {
            let (_folder, root, folders) = with_one(watcher);
            let open = || folders.open("one").ok();
            let mut last = open().expect("there");
            let mut assert_new = |what: &str| {
                let next = open().expect("there");
                assert!(!Arc::ptr_eq(&last, &next), "{what}");
                assert!(Arc::ptr_eq(&next, &open().expect("there")), "{what}");
                last = next;
            };
            let hg = root.join(".hg");
            // At once, each time, whatever came before.
            for length in 1..50 {
                fs::write(hg.join("hgrc"), "#".repeat(length)).expect("written");
                assert_new("written in place");
                fs::write(hg.join("store/phaseroots.new"), format!("1 {}\n", "0".repeat(40)).repeat(length))
                    .expect("written");
                fs::rename(hg.join("store/phaseroots.new"), hg.join("store/phaseroots")).expect("renamed");
                assert_new("renamed");
            }
            fs::write(hg.join("bookmarks"), "").expect("written");
            assert_new("come to be");
            fs::remove_file(hg.join("bookmarks")).expect("removed");
            assert_new("gone");
            // Others write to locks and caches.
            let before = open().expect("there");
            fs::write(hg.join("store/lock.new"), "").expect("written");
            fs::create_dir_all(hg.join("cache")).expect("made");
            assert!(Arc::ptr_eq(&before, &open().expect("there")));
            // Another repository in its place, while the first one's folder is still there under another name.
            fs::rename(&hg, root.join("old")).expect("moved");
            assert!(open().is_none() && !folders.has("one").await);
            crate::http::tests::make_repository(&root);
            assert!(!Arc::ptr_eq(&before, &open().expect("there")));
            let before = open().expect("there");
            fs::rename(&root, root.with_file_name("two")).expect("moved");
            crate::http::tests::make_repository(&root);
            assert!(!Arc::ptr_eq(&before, &open().expect("there")), "a folder above was exchanged");
        }
    }

    #[test]
    fn who_comes_together_gets_one_snapshot() {
        for watcher in [Watcher::new(), Watcher::none()] {
            let (_folder, _root, folders) = with_one(watcher);
            let together = std::sync::Barrier::new(16);
            let open = || {
                together.wait();
                folders.open("one").expect("there")
            };
            let snapshots: Vec<_> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..16).map(|_| scope.spawn(open)).collect();
                threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
            });
            assert!(snapshots.iter().all(|snapshot| Arc::ptr_eq(snapshot, &snapshots[0])));
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_no_event_tells_is_seen_soon() {
        let (_folder, root, folders) = with_one(Watcher::new());
        let hgrc = root.join(".hg/hgrc");
        fs::write(&hgrc, "#").expect("written");
        let first = folders.open("one").expect("there");
        let file = fs::File::options().read(true).write(true).open(&hgrc).expect("opened");
        // SAFETY: nobody else has the file.
        let mut mapped = unsafe { memmap2::MmapMut::map_mut(&file) }.expect("mapped");
        std::thread::sleep(Duration::from_millis(20));
        mapped[0] = b';';
        mapped.flush().expect("written");
        let end = Instant::now() + Duration::from_secs(20);
        while Arc::ptr_eq(&first, &folders.open("one").expect("there")) {
            assert!(Instant::now() < end, "never seen");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_share_is_looked_at_where_its_source_is() {
        let (folder, root, folders) = with_one(Watcher::new());
        let share = folder.path().join("share/.hg");
        fs::create_dir_all(&share).expect("made");
        let requires = fs::read_to_string(root.join(".hg/requires")).expect("read");
        fs::write(share.join("requires"), format!("{requires}shared\n")).expect("written");
        fs::write(share.join("sharedpath"), root.join(".hg").to_str().expect("text")).expect("written");
        let first = folders.open("share").expect("there");
        assert!(Arc::ptr_eq(&first, &folders.open("share").expect("there")));
        fs::write(root.join(".hg/store/obsstore"), "").expect("written");
        assert!(!Arc::ptr_eq(&first, &folders.open("share").expect("there")));
    }

    #[test]
    fn two_folders_of_one_name_are_refused() {
        let folder = folder_with(&["a/same/one", "b/same/two"]);
        let paths = [folder.path().join("a/same"), folder.path().join("b/same")];
        assert!(matches!(Folders::new(&paths, None), Err(FoldersError::SameName { .. })));
    }
}
