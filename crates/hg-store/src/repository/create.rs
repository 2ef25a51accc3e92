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
