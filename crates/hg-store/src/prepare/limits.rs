//! How much one push may bring.

/// Bounds of one [`super::Preparation`]. What is larger is refused by name, before it is allocated.
#[derive(Clone, Debug)]
pub struct PrepareLimits {
    /// Changesets, known ones included.
    pub changesets: u32,
    /// Revisions of changelog, manifest and files together.
    pub revisions: u64,
    /// Tracked files in the changegroup, and different paths that its manifests name anew.
    pub files: u32,
    /// Bytes of one full text, at most 2^31 - 1. Each is rebuilt in memory.
    pub text_bytes: u32,
    /// Bytes of one changeset's text.
    pub changeset_bytes: u32,
    /// Bytes of one tracked file's path.
    pub path_bytes: usize,
    /// Parts of one tracked file's path.
    pub path_parts: usize,
    /// Bytes of the change: what the stores of all servers grow by.
    pub change_bytes: u64,
    /// Obsolescence markers.
    pub markers: usize,
    /// Bytes of a bookmark's name.
    pub bookmark_bytes: usize,
    /// Bytes of full texts kept while one revlog grows.
    pub cache_bytes: usize,
}

impl Default for PrepareLimits {
    fn default() -> Self {
        PrepareLimits {
            changesets: 4_000_000,
            revisions: 40_000_000,
            files: 4_000_000,
            text_bytes: 512 << 20,
            changeset_bytes: 32 << 20,
            path_bytes: 4096,
            path_parts: 256,
            change_bytes: 16 << 30,
            markers: 1_000_000,
            bookmark_bytes: 1024,
            cache_bytes: 32 << 20,
        }
    }
}
