//! The file in which a mirror keeps the fleet's tokens. Its time says when the log was read last.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use hgfleet_log::VALUE_BYTES_MAX;

/// A file whose time lies ahead by more was not stamped by this clock.
const AHEAD_MAX: Duration = Duration::from_secs(5);

/// What lies in the file, and how long ago the log was read; none: nobody can tell.
pub(super) fn load(path: &Path) -> io::Result<(Vec<u8>, Option<Duration>)> {
    let bytes = watched_file::read_bounded(path, VALUE_BYTES_MAX as u64)?;
    let stamped = fs::metadata(path)?.modified()?;
    let age = match SystemTime::now().duration_since(stamped) {
        Ok(age) => Some(age),
        Err(ahead) => (ahead.duration() <= AHEAD_MAX).then_some(Duration::ZERO),
    };
    Ok((bytes, age))
}

/// Puts a document into the file, whole or not at all; only its owner reads it.
pub(super) fn keep(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

/// Says that the log had what lies in the file.
pub(super) fn stamp(path: &Path) -> io::Result<()> {
    File::options().write(true).open(path)?.set_modified(SystemTime::now())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_file_is_its_owners_and_says_how_old_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tokens");
        assert_eq!(load(&path).expect_err("absent").kind(), io::ErrorKind::NotFound);
        keep(&path, b"one").expect("kept");
        keep(&path, b"two").expect("kept");
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        let set = |time| File::options().write(true).open(&path).and_then(|file| file.set_modified(time)).expect("set");
        let age = || load(&path).expect("loaded").1;
        assert!(age().is_some_and(|age| age < Duration::from_secs(60)));
        set(SystemTime::now() - Duration::from_secs(1000));
        assert!(age().is_some_and(|age| age >= Duration::from_secs(1000)));
        set(SystemTime::now() + Duration::from_secs(1000));
        assert_eq!(load(&path).expect("loaded"), (b"two".to_vec(), None), "another clock's time says nothing");
        stamp(&path).expect("stamped");
        assert!(age().is_some_and(|age| age < Duration::from_secs(60)));
    }
}
