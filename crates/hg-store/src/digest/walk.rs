//! The files of a store that are its state.

use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType};

use super::DigestError;
use crate::apply::Directories;
use crate::change::is_excluded;

/// Deepest directory that is looked into.
const DEPTH_MAX: usize = 200;

/// Returns the paths below `hg` of all files that count for a digest, in order.
///
/// # Errors
/// Something that is neither a regular file nor a directory; a directory that can't be read.
pub fn state_files(hg: &Path) -> Result<Vec<Vec<u8>>, DigestError> {
    let mut directories = Directories::open(hg).map_err(DigestError::read(b".hg"))?;
    let mut files = Vec::new();
    let mut waiting = vec![Vec::new()];
    while let Some(directory) = waiting.pop() {
        list(&mut directories, &directory, &mut files, &mut waiting)?;
    }
    files.sort_unstable();
    Ok(files)
}

fn list(
    directories: &mut Directories,
    directory: &[u8],
    files: &mut Vec<Vec<u8>>,
    waiting: &mut Vec<Vec<u8>>,
) -> Result<(), DigestError> {
    let fd = directories.directory(directory, false).map_err(DigestError::read(directory))?;
    let Some(fd) = fd else { return Ok(()) };
    for entry in Dir::read_from(fd).map_err(DigestError::read(directory))? {
        let entry = entry.map_err(DigestError::read(directory))?;
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." {
            continue;
        }
        let path = if directory.is_empty() { name.to_vec() } else { [directory, b"/", name].concat() };
        let kind = match entry.file_type() {
            FileType::Unknown => {
                let stat = rustix::fs::statat(fd, name, AtFlags::SYMLINK_NOFOLLOW);
                FileType::from_raw_mode(stat.map_err(DigestError::read(&path))?.st_mode)
            }
            kind => kind,
        };
        match kind {
            // A directory is left out by what would be in it.
            FileType::Directory if is_excluded(&[&path, b"/x".as_slice()].concat()) => {}
            FileType::Directory if path.iter().filter(|&&byte| byte == b'/').count() >= DEPTH_MAX => {
                return Err(DigestError::unexpected(&path, "it lies too deep"));
            }
            FileType::Directory => waiting.push(path),
            // Locks are links, so this comes before the next.
            _ if is_excluded(&path) => {}
            FileType::RegularFile => files.push(path),
            _ => return Err(DigestError::unexpected(&path, "it is neither a file nor a directory")),
        }
    }
    Ok(())
}
