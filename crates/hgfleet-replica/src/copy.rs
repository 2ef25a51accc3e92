//! Copying a store's files on one machine.

use std::path::{Path, PathBuf};

use hg_store::apply::Directories;
use hg_store::digest::state_files;
use rustix::fs::OFlags;

use crate::ReplicaError;

/// Copies the files that are a store's state from one `.hg` folder to another, which is empty; `step` comes after each. The
/// system shares their blocks, or lets the server of a volume copy them, where that can be. Nothing is brought to disk.
///
/// # Errors
/// A file that is gone when its turn comes, or that can't be read or written.
pub(crate) fn copy_store(from: &Path, to: &Path, mut step: impl FnMut()) -> Result<(), ReplicaError> {
    let mut old = Directories::open(from).map_err(ReplicaError::io("open", from))?;
    let mut new = Directories::open(to).map_err(ReplicaError::io("open", to))?;
    for path in state_files(from)? {
        let shown = PathBuf::from(path.escape_ascii().to_string());
        let file = old.file(&path, OFlags::RDONLY).map_err(ReplicaError::io("open", &shown))?;
        let copied = match file {
            Some(mut file) => new.create(&path).and_then(|mut copy| std::io::copy(&mut file, &mut copy)),
            None => Err(std::io::ErrorKind::NotFound.into()),
        };
        copied.map_err(ReplicaError::io("copy", &shown))?;
        step();
    }
    Ok(())
}
