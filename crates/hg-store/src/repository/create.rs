//! The files of a new repository.

use crate::Repository;

/// Which stores a new repository makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum StoreFormat {
    /// As `hg init` of Mercurial 7.x: `share-safe`, zstd; 5.8 and later open it.
    #[default]
    Current,
    /// Opened by every Mercurial since 4.9: no `share-safe`, zlib.
    Since49,
}

/// Keeps a Mercurial from before 2008 away.
const DUMMY_CHANGELOG: &[u8] = b"\0\0\xff\xff dummy changelog to prevent using the old repo layout";

impl Repository {
    /// The files of a new, empty repository: path below `.hg` and content.
    pub fn create_files(format: StoreFormat, hgrc: Option<&[u8]>) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut files = vec![(b"00changelog.i".to_vec(), DUMMY_CHANGELOG.to_vec())];
        match format {
            StoreFormat::Current => {
                files.push((b"requires".to_vec(), b"share-safe\n".to_vec()));
                let store =
                    b"dotencode\nfncache\ngeneraldelta\nrevlog-compression-zstd\nrevlogv1\nsparserevlog\nstore\n";
                files.push((b"store/requires".to_vec(), store.to_vec()));
            }
            StoreFormat::Since49 => {
                let all = b"dotencode\nfncache\ngeneraldelta\nrevlogv1\nsparserevlog\nstore\n";
                files.push((b"requires".to_vec(), all.to_vec()));
                // So that the folder `store` comes to be.
                files.push((b"store/fncache".to_vec(), Vec::new()));
            }
        }
        if let Some(hgrc) = hgrc {
            files.push((b"hgrc".to_vec(), hgrc.to_vec()));
        }
        files
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `hg init` of 7.2.4 wrote them.
    #[test]
    fn current_files_are_stock_s() {
        let files = Repository::create_files(StoreFormat::Current, None);
        let named = |name: &str| {
            let found = files.iter().find(|(path, _)| path == name.as_bytes());
            found.map(|(_, content)| content.escape_ascii().to_string()).unwrap_or_default()
        };
        assert_eq!(files.len(), 3);
        assert_eq!(named("requires"), "share-safe\\n");
        assert_eq!(
            named("store/requires"),
            "dotencode\\nfncache\\ngeneraldelta\\nrevlog-compression-zstd\\nrevlogv1\\nsparserevlog\\nstore\\n"
        );
        assert_eq!(named("00changelog.i"), "\\x00\\x00\\xff\\xff dummy changelog to prevent using the old repo layout");
    }

    #[test]
    fn both_formats_open() {
        for format in [StoreFormat::Current, StoreFormat::Since49] {
            let folder = tempfile::tempdir().expect("a folder");
            for (path, content) in Repository::create_files(format, Some(b"[web]\nname = x\n")) {
                let path = folder.path().join(".hg").join(String::from_utf8(path).expect("a plain name"));
                std::fs::create_dir_all(path.parent().expect("below .hg")).expect("made");
                std::fs::write(path, content).expect("written");
            }
            let repository = Repository::open(folder.path()).expect("opened");
            assert_eq!(repository.requirements().zstd(), format == StoreFormat::Current);
            let snapshot = repository.snapshot(repository.current_state().expect("read")).expect("opened");
            assert!(snapshot.changelog().is_empty() && snapshot.served().expect("read").heads().is_empty());
            assert_eq!(snapshot.settings().name(), Some(b"x".as_slice()));
        }
    }
}
