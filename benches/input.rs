//! What is measured on.

use crate::measure::{HG, stock};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// The two bundles, and a scratch folder.
pub struct Input {
    bundles: PathBuf,
    scratch: TempDir,
}

impl Input {
    /// Finds the bundles; none where they are absent.
    pub fn find() -> Option<Input> {
        let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
        let bundles = std::env::var_os("HGFLEET_BENCH_DATA").map_or(beside, PathBuf::from).canonicalize().ok()?;
        let there = ["cargo", "vct"].iter().all(|name| bundles.join(name).with_extension("hg").exists());
        let scratch = tempfile::Builder::new().prefix("hgfleet-bench-").tempdir().expect("a scratch folder");
        there.then_some(Input { bundles, scratch })
    }

    /// The bundle `cargo` or `vct`.
    pub fn bundle(&self, name: &str) -> PathBuf {
        self.bundles.join(name).with_extension("hg")
    }

    /// A path in the scratch folder.
    pub fn scratch(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// The repository that stock makes of a bundle, made once; not to be written to.
    pub fn repository(&self, name: &str) -> PathBuf {
        let path = self.scratch(&format!("stock-{name}"));
        if !path.exists() {
            stock(HG, &["init", text(&path)]);
            stock(HG, &["-R", text(&path), "unbundle", "-q", text(&self.bundle(name))]);
        }
        path
    }

    /// A fresh home folder, and the key pair in it.
    pub fn home_with_key(&self, name: &str) -> (PathBuf, PathBuf) {
        let home = self.scratch(name);
        std::fs::create_dir_all(home.join(".ssh")).expect("made");
        let key = home.join(".ssh/id_ed25519");
        stock("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", text(&key)]);
        (home, key)
    }
}

/// A path as an argument.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("a path of ours is UTF-8")
}
