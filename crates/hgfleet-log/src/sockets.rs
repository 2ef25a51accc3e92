//! The folder in which a machine's servers have their sockets, and the sockets in it: for one user alone.

use std::fs::{DirBuilder, Permissions, remove_file, set_permissions};
use std::io::{ErrorKind, Result};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use tokio::net::UnixListener;

/// Makes a folder that only this user can enter, and those above it where they are missing. One that is there is closed to others.
///
/// # Errors
/// It can't be made, or is another user's.
pub fn make_folder(path: &Path) -> Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    set_permissions(path, Permissions::from_mode(0o700))
}

/// Binds a socket in the place of one that a dead process left; only this user may connect.
///
/// # Errors
/// What is there can't be removed, or a socket can't be made there.
pub fn bind(path: &Path) -> Result<UnixListener> {
    match remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(listener)
}
