//! Plain repositories on disk, served without a fleet: `hgfleet web PATH...`.

use super::{BundleCache, NotServed, Repositories};
use hg_store::config::Configure;
use hg_store::{Repository, Settings, Snapshot, StoreError};
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

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

/// What a snapshot was made from: of each file that matters its number, length, and times of change.
type Stamp = Vec<Option<(u64, u64, i64, i64)>>;

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
    cached: Mutex<HashMap<PathBuf, (Stamp, Arc<Snapshot>)>>,
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
        Ok(Folders { roots, configure, prefix: String::new(), scheme: "http", cached: Mutex::default(), bundle_cache })
    }

    /// Says below which prefix of paths, and by which scheme, this is reached.
    pub fn at(self, prefix: &str, scheme: &'static str) -> Folders {
        Folders { prefix: prefix.to_owned(), scheme, ..self }
    }

    /// Returns the folder of the repository of that name, if there is one.
    fn path_of(&self, name: &str) -> Option<PathBuf> {
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
            is_repository(&path).then_some(path)
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
        let Some(path) = self.path_of(name) else { return true };
        let config = self.repository(&path).and_then(|repository| repository.current_config());
        // What can't be understood is not served either.
        config.is_ok_and(|config| {
            let settings = Settings::new(config);
            settings.is_hidden() || !settings.may_read(None)
        })
    }

    /// Opens the repository as it is on disk; the last snapshot serves again while nothing was written.
    fn open(&self, name: &str) -> Result<Arc<Snapshot>, NotServed> {
        let path = self.path_of(name).ok_or(NotServed::Unknown)?;
        let cached = || self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, snapshot)) = cached().get(&path).filter(|(stamp, last)| *stamp == stamp_of(last.repository())) {
            return Ok(snapshot.clone());
        }
        let not_served = |error: StoreError| {
            tracing::error!(%error, repository = name, "a repository can't be served");
            let text = match error.unsupported_part() {
                Some(what) => format!("{what} of the repository is not supported by this server"),
                None if error.is_corruption() => "the repository is damaged on this server".to_owned(),
                None => "the repository is not readable on this server".to_owned(),
            };
            NotServed::Unavailable { text, retry: false }
        };
        // Only this reads more than names and times.
        let (stamp, made) = tokio::task::block_in_place(|| {
            let repository = self.repository(&path)?;
            // Before the files themselves: what is written meanwhile is seen the next time.
            let stamp = stamp_of(&repository);
            Ok((stamp, repository.snapshot(repository.current_state()?)?))
        })
        .map_err(not_served)?;
        let snapshot = Arc::new(made);
        let mut cached = cached();
        if cached.len() >= CACHED_MAX {
            cached.clear();
        }
        cached.insert(path, (stamp, snapshot.clone()));
        Ok(snapshot)
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
        self.path_of(name).is_some()
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
    fs::symlink_metadata(path.join(".hg")).is_ok_and(|metadata| metadata.is_dir())
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

fn stamp_of(repository: &Repository) -> Stamp {
    let of = |path: &PathBuf| {
        let metadata = fs::symlink_metadata(path).ok()?;
        Some((metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec()))
    };
    repository.watched_files().iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[tokio::test(flavor = "multi_thread")]
    async fn snapshot_serves_again_until_something_is_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("one");
        let make = || crate::http::tests::make_repository(&root);
        make();
        let folders = Folders::new(&[folder.path().to_owned()], None).expect("a folder");
        let open = || folders.open("one").ok();
        let first = open().expect("there");
        assert!(Arc::ptr_eq(&first, &open().expect("there")));
        fs::write(root.join(".hg/hgrc"), "[server]\n").expect("written");
        let second = open().expect("there");
        assert!(!Arc::ptr_eq(&first, &second));
        // Another repository in its place, while the first one's folder is still there under another name.
        fs::rename(root.join(".hg"), root.join("old")).expect("moved");
        assert!(open().is_none() && !folders.has("one").await);
        make();
        assert!(!Arc::ptr_eq(&second, &open().expect("there")));
    }

    #[test]
    fn two_folders_of_one_name_are_refused() {
        let folder = folder_with(&["a/same/one", "b/same/two"]);
        let paths = [folder.path().join("a/same"), folder.path().join("b/same")];
        assert!(matches!(Folders::new(&paths, None), Err(FoldersError::SameName { .. })));
    }
}
