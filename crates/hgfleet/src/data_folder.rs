//! The data folder: what lies where, and making what is missing.

use anyhow::{Context, bail};
use rustix::fs::{FlockOperation, flock};
use std::fs::{File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The version of the layout that this release reads and writes.
const FORMAT: u32 = 1;

/// A data folder that this process alone may run a fleet on, until it drops this.
#[derive(Debug)]
pub struct DataFolder {
    path: PathBuf,
    _lock: File,
}

impl DataFolder {
    /// Makes the folder where it is missing, takes its lock, and checks its format.
    ///
    /// # Errors
    ///
    /// The folder can't be made or written; another fleet runs on it; a newer release has written it.
    pub fn open(path: &Path) -> anyhow::Result<DataFolder> {
        std::fs::create_dir_all(path).with_context(|| format!("cannot make the data folder {}", path.display()))?;
        let path = path.canonicalize().with_context(|| format!("cannot resolve the data folder {}", path.display()))?;
        let lock = take_lock(&path)?;
        check_format(&path)?;
        for private in ["keys", "run"] {
            let folder = path.join(private);
            std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
            std::fs::set_permissions(&folder, Permissions::from_mode(0o700))
                .with_context(|| format!("cannot close {} to others", folder.display()))?;
        }
        Ok(DataFolder { path, _lock: lock })
    }

    /// The folder, absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn take_lock(folder: &Path) -> anyhow::Result<File> {
    let path = folder.join("lock");
    let mut lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        let holder = std::fs::read_to_string(&path).unwrap_or_default();
        bail!(
            "another fleet runs on the data folder {} (process {}); stop it, or choose another folder with --data",
            folder.display(),
            holder.trim()
        );
    }
    lock.set_len(0)
        .and_then(|()| writeln!(lock, "{}", std::process::id()))
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(lock)
}

fn check_format(folder: &Path) -> anyhow::Result<()> {
    let path = folder.join("format");
    match std::fs::read_to_string(&path) {
        Ok(text) => match text.trim().parse::<u32>() {
            Ok(FORMAT) => Ok(()),
            Ok(newer) if newer > FORMAT => bail!(
                "{} says that the data folder has format {newer}, and this release knows up to {FORMAT}; use a newer hgfleet",
                path.display()
            ),
            _ => bail!("{} holds {:?} where a format's number was expected; restore it", path.display(), text.trim()),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            write_new(&path, format!("{FORMAT}\n").as_bytes(), 0o644)
        }
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Writes a file whole or not at all, and refuses to write over one that is there.
///
/// # Errors
///
/// What the file system says.
pub fn write_new(path: &Path, bytes: &[u8], mode: u32) -> anyhow::Result<()> {
    let write = || -> std::io::Result<()> {
        let folder = path.parent().unwrap_or(Path::new("."));
        let mut file = tempfile::Builder::new().permissions(Permissions::from_mode(mode)).tempfile_in(folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist_noclobber(path)?;
        File::open(folder)?.sync_all()
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_fleets_on_one_data_folder_are_refused_while_the_first_runs() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = DataFolder::open(folder.path()).expect("free");
        let refusal = format!("{:#}", DataFolder::open(folder.path()).expect_err("taken"));
        assert!(refusal.contains(&std::process::id().to_string()), "{refusal}");
        drop(first);
        DataFolder::open(folder.path()).expect("free again");
    }

    #[test]
    fn a_newer_format_is_refused_by_its_number() {
        let folder = tempfile::tempdir().expect("a folder");
        for (text, expected) in [("2\n", "format 2"), ("x", "expected")] {
            std::fs::write(folder.path().join("format"), text).expect("written");
            let refusal = format!("{:#}", DataFolder::open(folder.path()).expect_err("refused"));
            assert!(refusal.contains(expected), "{refusal}");
        }
    }

    #[test]
    fn keys_and_sockets_are_closed_to_others() {
        let folder = tempfile::tempdir().expect("a folder");
        let data = DataFolder::open(folder.path()).expect("made");
        for private in ["keys", "run"] {
            let mode = std::fs::metadata(data.path().join(private)).expect("there").permissions().mode();
            assert_eq!(mode & 0o777, 0o700);
        }
    }
}
