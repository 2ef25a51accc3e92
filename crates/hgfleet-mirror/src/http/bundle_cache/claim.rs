//! Who makes a bundle, while others wait for it to begin.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use hg_wire::http::StreamBody;
use tokio::sync::watch;

use super::maker::Maker;
use super::{BundleCache, BundleReader, Key, MadeBundle, State};

/// Bytes that must be free where bundles are kept; below that, none is.
const FREE_BYTES_MIN: u64 = 256 << 20;

/// The right, and the duty, to make one bundle. Dropped, it passes to the next who asks.
pub(crate) struct Claim {
    cache: Arc<BundleCache>,
    key: Key,
    /// Dropped with this: wakes who waits.
    _begun: watch::Sender<()>,
    is_kept: bool,
}

impl Claim {
    pub(super) fn new(cache: Arc<BundleCache>, key: Key, begun: watch::Sender<()>) -> Claim {
        Claim { cache, key, _begun: begun, is_kept: false }
    }

    /// Makes the bundle in a thread of its own, and returns what reads it meanwhile.
    ///
    /// # Errors
    /// There is no room for it, or no file: the stream is given back, to be sent as it is made.
    pub(crate) fn make(mut self, stream: StreamBody) -> Result<BundleReader, StreamBody> {
        let file = match self.file() {
            Ok(file) => file,
            Err(error) => {
                tracing::debug!(%error, "a bundle is not kept");
                return Err(stream);
            }
        };
        let bundle = Arc::new(MadeBundle::new(file));
        let Some(reader) = bundle.reader() else { return Err(stream) };
        {
            let mut kept = self.cache.kept();
            let Some(slot) = kept.slots.get_mut(&self.key) else { return Err(stream) };
            slot.state = State::Made(bundle.clone());
        }
        self.is_kept = true;
        let maker = Maker::new(self.cache.clone(), self.key.clone(), bundle);
        tokio::task::spawn_blocking(move || maker.run(stream));
        Ok(reader)
    }

    /// A file without a name, in the first folder that can have it.
    fn file(&self) -> io::Result<fs::File> {
        let (own, others) = self.cache.folders.split_first().ok_or(io::ErrorKind::NotFound)?;
        let failed = match fs::create_dir_all(own).and_then(|()| unnamed_file_in(own)) {
            Ok(file) => return Ok(file),
            Err(error) => error,
        };
        others.iter().find_map(|folder| unnamed_file_in(folder).ok()).ok_or(failed)
    }
}

fn unnamed_file_in(folder: &Path) -> io::Result<fs::File> {
    let disk = rustix::fs::statvfs(folder)?;
    if disk.f_bavail.saturating_mul(disk.f_frsize) < FREE_BYTES_MIN {
        return Err(io::ErrorKind::StorageFull.into());
    }
    tempfile::tempfile_in(folder)
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.is_kept {
            self.cache.forget_claim(&self.key);
        }
    }
}
