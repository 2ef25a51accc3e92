//! A file that people edit while a server runs.
//!
//! Each look costs a look at the file's length and times; the file is read again where they have changed. One that is broken then, or
//! gone, changes nothing: the last good content counts on, and the log says so once for each broken edit.

use std::fmt::Display;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// Why a file is not taken.
#[derive(Debug, thiserror::Error)]
pub enum WatchError<E> {
    /// It can't be read, or is longer than its bound.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// What is in it.
    #[error("{}: {error}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: E,
    },
}

/// A file's content, as of its last look.
#[derive(Debug)]
pub struct WatchedFile<T, E> {
    path: PathBuf,
    bytes_max: u64,
    parse: fn(&[u8]) -> Result<T, E>,
    state: Mutex<State<T>>,
}

#[derive(Debug)]
struct State<T> {
    seen: Option<Stamp>,
    content: Arc<T>,
}

impl<T, E: Display> WatchedFile<T, E> {
    /// Reads a file of at most so many bytes. It must be there, and sound.
    ///
    /// # Errors
    /// What keeps it from being taken.
    pub fn open(
        path: PathBuf,
        bytes_max: u64,
        parse: fn(&[u8]) -> Result<T, E>,
    ) -> Result<WatchedFile<T, E>, WatchError<E>> {
        let (seen, content) = read_and_parse(&path, bytes_max, parse)?;
        Ok(WatchedFile { path, bytes_max, parse, state: Mutex::new(State { seen, content: Arc::new(content) }) })
    }

    /// What is in it now, or was when it was sound last.
    pub fn content(&self) -> Arc<T> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Stamp::at(&self.path);
        if now.is_none() || now != state.seen {
            match read_and_parse(&self.path, self.bytes_max, self.parse) {
                Ok((seen, content)) => *state = State { seen, content: Arc::new(content) },
                Err(error) => {
                    tracing::error!(%error, "the file is not taken; its last good content counts on");
                    state.seen = now;
                }
            }
        }
        state.content.clone()
    }
}

/// Reads a file whole, of at most so many bytes, as a [`WatchedFile`] does.
///
/// # Errors
/// The system's; the file is longer.
pub fn read_bounded(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    read(path, bytes_max).map(|(_, bytes)| bytes)
}

fn read_and_parse<T, E>(
    path: &Path,
    bytes_max: u64,
    parse: fn(&[u8]) -> Result<T, E>,
) -> Result<(Option<Stamp>, T), WatchError<E>> {
    let (seen, bytes) = read(path, bytes_max).map_err(|source| WatchError::Io { path: path.to_owned(), source })?;
    let content = parse(&bytes).map_err(|error| WatchError::Content { path: path.to_owned(), error })?;
    Ok((seen, content))
}

/// A file that was changed this short before it was read may change again without its stat showing it.
const SETTLED: Duration = Duration::from_millis(100);

/// What a file's stat says of its content.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// Of the file that is there now; `None` where there is none.
    fn at(path: &Path) -> Option<Stamp> {
        fs::metadata(path).ok().map(|metadata| Stamp::of(&metadata))
    }

    fn of(metadata: &fs::Metadata) -> Stamp {
        Stamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// Reads a file whole, of at most so many bytes. The stamp is `None` where the file may still be changing under it.
fn read(path: &Path, bytes_max: u64) -> io::Result<(Option<Stamp>, Vec<u8>)> {
    let file = File::open(path)?;
    let before = Stamp::of(&file.metadata()?);
    let mut text = Vec::new();
    (&file).take(bytes_max + 1).read_to_end(&mut text)?;
    if text.len() as u64 > bytes_max {
        return Err(io::Error::other(format!("the file is larger than {} MiB", bytes_max >> 20)));
    }
    let metadata = file.metadata()?;
    let settled = metadata
        .modified()
        .ok()
        .is_some_and(|modified| SystemTime::now().duration_since(modified).is_ok_and(|age| age > SETTLED));
    let after = Stamp::of(&metadata);
    Ok(((settled && before == after).then_some(after), text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(bytes: &[u8]) -> Result<u32, String> {
        let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
        text.trim().parse().map_err(|_| format!("{text:?} is no number"))
    }

    #[test]
    fn a_changed_file_counts_at_once_and_a_broken_one_never() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("number");
        let open = || WatchedFile::open(path.clone(), 10, number);
        assert!(matches!(open(), Err(WatchError::Io { .. })));
        std::fs::write(&path, "x").expect("written");
        assert!(matches!(open(), Err(WatchError::Content { .. })));
        std::fs::write(&path, "1").expect("written");
        let file = open().expect("a number");
        assert_eq!(*file.content(), 1);
        std::fs::write(&path, "2").expect("written");
        assert_eq!(*file.content(), 2);
        std::thread::sleep(2 * SETTLED);
        assert_eq!(*file.content(), 2);
        for broken in ["x", "12345678901"] {
            std::fs::write(&path, broken).expect("written");
            assert_eq!(*file.content(), 2);
        }
        std::fs::remove_file(&path).expect("removed");
        assert_eq!(*file.content(), 2);
        std::fs::write(&path, "3").expect("written");
        assert_eq!(*file.content(), 3);
    }
}
