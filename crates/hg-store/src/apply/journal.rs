//! The journal of an apply that goes on, in the format of stock Mercurial's transactions.
//!
//! `store/journal` has a line `NAME NUL LENGTH LF` for each file that grows, with length 0 for one that is made; the name
//! is the one before encoding. `store/journal.backupfiles` begins with the line `2` and has a line `LOCATION NUL PATH NUL
//! BACKUP NUL 0 LF` for each file that is replaced (the backup is a hard link), or made under a name that is a hash (no
//! backup: `hg recover` removes it). The location `plain` takes paths below `.hg` as they are on disk.

use std::io::{self, Read as _, Write as _};

use rustix::fs::{AtFlags, OFlags};
use rustix::io::Errno;

use super::{ApplyError, ApplyMode, Directories, Step};
use crate::Requirements;
use crate::change::{ChangeRef, Operation};
use crate::path_encoding::{self, PathEncoding};
use crate::requirements::REQUIRES_BYTES_MAX;

/// What plain `hg` looks for before it writes.
const JOURNAL: &[u8] = b"store/journal";
const BACKUPS: &[u8] = b"store/journal.backupfiles";
/// What `hg rollback` would go back to: a state that knows nothing of this change.
const UNDO: &[u8] = b"store/undo";
const FNCACHE: &[u8] = b"store/fncache";
const REQUIREMENTS: [&[u8]; 2] = [b"requires", b"store/requires"];
/// Most bytes of fncache that are searched for the name of a file whose path is a hash.
const FNCACHE_BYTES_MAX: u64 = 1 << 30;

pub(super) struct Journal<'a> {
    directories: &'a mut Directories,
    step: &'a mut dyn FnMut(Step<'_>) -> io::Result<()>,
    encoding: PathEncoding,
    /// Lines of fncache, read where a name has to be found there.
    fncache: Option<Vec<u8>>,
}

impl<'a> Journal<'a> {
    pub(super) fn new(directories: &'a mut Directories, step: &'a mut dyn FnMut(Step<'_>) -> io::Result<()>) -> Self {
        Self { directories, step, encoding: PathEncoding::default(), fncache: None }
    }

    /// Returns the name that encodes to a path of the store, where it can be read from that path.
    fn readable_name(&self, path: &[u8]) -> Option<Vec<u8>> {
        self.encoding.decode(path.strip_prefix(b"store/")?)
    }

    /// Writes both files: the journal last, so that whoever finds it finds the backups whole.
    ///
    /// A redo leaves what the interrupted apply wrote. Where that got no further than before the journal, or past it,
    /// backups can't be told from what the change itself wrote, so there are none: `hg recover` at that moment leaves
    /// replaced files as they are, and the next redo puts everything right all the same.
    pub(super) fn begin(&mut self, change: &ChangeRef<'_>, mode: ApplyMode) -> Result<(), ApplyError> {
        let exists = self.directories.stat(JOURNAL).map_err(ApplyError::io("stat", JOURNAL))?.is_some();
        match (exists, mode) {
            (true, ApplyMode::Normal) => return Err(ApplyError::Interrupted),
            (true, ApplyMode::Redo) => return Ok(()),
            (false, _) => {}
        }
        self.remove(UNDO)?;
        self.encoding = encoding_of(self.directories)?;
        let mut journal = Vec::new();
        let mut backups = b"2\n".to_vec();
        for (number, operation) in change.operations().enumerate() {
            match &operation {
                Operation::Append { path, old_bytes, .. } if *old_bytes > 0 => {
                    if let Some(name) = self.tracked_name(path)? {
                        write_line(&mut journal, &name, *old_bytes);
                    }
                }
                Operation::Create { path, .. } | Operation::Append { path, .. } => match self.readable_name(path) {
                    Some(name) => write_line(&mut journal, &name, 0),
                    None => write_backup_line(&mut backups, path, b""),
                },
                Operation::Replace { path, .. } | Operation::Remove { path, .. } if mode == ApplyMode::Normal => {
                    let backup = self.back_up(path, number)?;
                    write_backup_line(&mut backups, path, &backup);
                }
                Operation::Replace { .. } | Operation::Remove { .. } => {}
            }
        }
        self.write(BACKUPS, &backups)?;
        self.write(JOURNAL, &journal)
    }

    /// Removes the journal, first of all: from then on the change is applied.
    pub(super) fn end(&mut self, change: &ChangeRef<'_>) -> Result<(), ApplyError> {
        self.remove(JOURNAL)?;
        self.remove(BACKUPS)?;
        for (number, operation) in change.operations().enumerate() {
            if let Operation::Replace { path, .. } | Operation::Remove { path, .. } = operation {
                self.remove(&beside(path, "old", number))?;
            }
        }
        Ok(())
    }

    /// Keeps a file that is about to be replaced under a second name; returns that, or nothing where there is no file.
    fn back_up(&mut self, path: &[u8], number: usize) -> Result<Vec<u8>, ApplyError> {
        let backup = beside(path, "old", number);
        if self.directories.stat(path).map_err(ApplyError::io("stat", path))?.is_none() {
            return Ok(Vec::new());
        }
        // One may be there, of an apply that was killed past its end.
        self.remove(&backup)?;
        let (parent, name) = self.directories.parent(path, false).map_err(ApplyError::io("open", path))?;
        let parent = parent.ok_or(Errno::NOENT).map_err(ApplyError::io("open", path))?;
        rustix::fs::linkat(parent, name, parent, name_of(&backup), AtFlags::empty())
            .map_err(ApplyError::io("link", &backup))?;
        Ok(backup)
    }

    fn write(&mut self, path: &[u8], bytes: &[u8]) -> Result<(), ApplyError> {
        // What may be there is of an apply that ended between removing its journal and this.
        self.remove(path)?;
        let mut file = self.directories.create(path).map_err(ApplyError::io("create", path))?;
        (self.step)(Step { verb: "write", path }).map_err(ApplyError::io("write", path))?;
        file.write_all(bytes).map_err(ApplyError::io("write", path))
    }

    fn remove(&mut self, path: &[u8]) -> Result<(), ApplyError> {
        (self.step)(Step { verb: "remove", path }).map_err(ApplyError::io("remove", path))?;
        self.directories.unlink(path).map_err(ApplyError::io("remove", path))
    }

    /// Returns the name by which stock knows a file of the store: the one that encodes to its path. `None` where there
    /// is none; that file is not in the journal then, and `hg recover` leaves what was added to it.
    fn tracked_name(&mut self, path: &[u8]) -> Result<Option<Vec<u8>>, ApplyError> {
        if let Some(name) = self.readable_name(path) {
            return Ok(Some(name));
        }
        let Some(path) = path.strip_prefix(b"store/") else { return Ok(None) };
        // A long name is a hash on disk, with a few readable letters.
        if self.fncache.is_none() {
            self.fncache = Some(self.read_fncache()?);
        }
        let lines = self.fncache.as_deref().unwrap_or_default().split(|&byte| byte == b'\n');
        let extension = &path[path.len().saturating_sub(2)..];
        Ok(lines
            .filter(|line| line.ends_with(extension))
            .map(path_encoding::decode_directories)
            .find(|name| self.encoding.encode(name) == path))
    }

    fn read_fncache(&mut self) -> Result<Vec<u8>, ApplyError> {
        let mut lines = Vec::new();
        if let Some(file) = self.directories.file(FNCACHE, OFlags::RDONLY).map_err(ApplyError::io("open", FNCACHE))? {
            file.take(FNCACHE_BYTES_MAX).read_to_end(&mut lines).map_err(ApplyError::io("read", FNCACHE))?;
        }
        Ok(lines)
    }
}

/// Reads how names are encoded. A store that has no requirements yet is just being made, and no name in it is looked up.
fn encoding_of(directories: &mut Directories) -> Result<PathEncoding, ApplyError> {
    let mut content = Vec::new();
    for path in REQUIREMENTS {
        if let Some(file) = directories.file(path, OFlags::RDONLY).map_err(ApplyError::io("open", path))? {
            file.take(REQUIRES_BYTES_MAX).read_to_end(&mut content).map_err(ApplyError::io("read", path))?;
            // Its last line may have no end.
            content.push(b'\n');
        }
    }
    match content.is_empty() {
        true => Ok(PathEncoding::default()),
        false => Ok(PathEncoding::of(&Requirements::unchecked(&content))),
    }
}

fn write_line(lines: &mut Vec<u8>, name: &[u8], old_bytes: u64) {
    lines.extend_from_slice(name);
    lines.extend_from_slice(format!("\0{old_bytes}\n").as_bytes());
}

fn write_backup_line(lines: &mut Vec<u8>, path: &[u8], backup: &[u8]) {
    for field in [b"plain".as_slice(), path, backup] {
        lines.extend_from_slice(field);
        lines.push(0);
    }
    lines.extend_from_slice(b"0\n");
}

/// Returns a name for a passing file in the same directory as `path`. It is one that no digest counts and no tracked
/// file can have; `number`, the operation's place in its change, makes it the same again in a redo.
pub(super) fn beside(path: &[u8], what: &str, number: usize) -> Vec<u8> {
    let directory = path.iter().rposition(|&byte| byte == b'/').map_or(0, |at| at + 1);
    [&path[..directory], format!("journal.backup.{what}-{number}.bck").as_bytes()].concat()
}

/// Returns the last part of a path.
pub(super) fn name_of(path: &[u8]) -> &[u8] {
    path.rsplit(|&byte| byte == b'/').next().unwrap_or_default()
}
