//! The operations of a change, one after the other.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use rustix::fs::{FileType, OFlags, Stat};
use rustix::io::Errno;

use super::journal::{Journal, beside, name_of};
use super::{Apply, ApplyError, ApplyMode, Directories, Step, StoreLock};
use crate::change::{ChangeRef, Content, Operation};

/// Bytes of one write. Tests take few, so that a kill may hit the middle of a file.
const WRITE_BYTES: usize = if cfg!(test) { 997 } else { 1 << 20 };

pub(super) fn run(apply: Apply<'_>, lock: &StoreLock, change: &ChangeRef<'_>) -> Result<(), ApplyError> {
    let Apply { mode, skip, step } = apply;
    let directories = &mut *lock.directories();
    if mode == ApplyMode::Normal {
        change.operations().try_for_each(|operation| check(directories, &operation))?;
    }
    Journal::new(directories, step).begin(change, mode)?;
    for (number, operation) in change.operations().enumerate() {
        if !skip(operation.path()) {
            Writer { directories, step, mode, number }.write(&operation)?;
        }
    }
    Journal::new(directories, step).end(change)
}

/// Checks that the file is what the operation expects, before the first byte of the change is written.
fn check(directories: &mut Directories, operation: &Operation<'_>) -> Result<(), ApplyError> {
    let path = operation.path();
    let stat = directories.stat(path).map_err(ApplyError::io("stat", path))?;
    if stat.as_ref().is_some_and(|stat| FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile) {
        return Err(ApplyError::unexpected(path, "not a regular file"));
    }
    operation.check_old(stat.map(|stat| stat.st_size as u64)).map_err(|why| ApplyError::unexpected(path, why))
}

struct Writer<'a> {
    directories: &'a mut Directories,
    step: &'a mut dyn FnMut(Step<'_>) -> io::Result<()>,
    mode: ApplyMode,
    /// The operation's place in its change.
    number: usize,
}

impl Writer<'_> {
    fn write(&mut self, operation: &Operation<'_>) -> Result<(), ApplyError> {
        match operation {
            Operation::Create { path, bytes } => self.grow(path, 0, bytes),
            Operation::Append { path, old_bytes, bytes } => self.grow(path, *old_bytes, bytes),
            Operation::Replace { path, bytes, .. } => self.replace(path, None, bytes),
            Operation::Remove { path, .. } => {
                self.ask("remove", path)?;
                self.directories.unlink(path).map_err(ApplyError::io("remove", path))
            }
        }
    }

    /// Writes at an offset of a file, which is made where it is missing.
    fn grow(&mut self, path: &[u8], offset: u64, bytes: &Content<'_>) -> Result<(), ApplyError> {
        // In a redo it may be missing although it has a beginning: where a later change removes it. (Where it does not,
        // the beginning is on disk, or the durable sequence would be lower; and digests are compared in the end.)
        let create = offset == 0 || self.mode == ApplyMode::Redo;
        let flags = if create { OFlags::WRONLY | OFlags::CREATE } else { OFlags::WRONLY };
        self.ask("open", path)?;
        let file = self.directories.file(path, flags).map_err(ApplyError::io("open", path))?;
        let file = file.ok_or(Errno::NOENT).map_err(ApplyError::io("open", path))?;
        let stat = rustix::fs::fstat(&file).map_err(ApplyError::io("stat", path))?;
        if stat.st_nlink > 1 {
            // A local `hg clone` shares files with its source by hard links. What is added here must not show there.
            return self.replace(path, Some((offset, stat)), bytes);
        }
        self.write_at(&file, path, offset, bytes)
    }

    /// Writes a file beside the one that is there and renames it: a whole new content, or a copy of the old file
    /// (`from`: with `bytes` at an offset).
    fn replace(&mut self, path: &[u8], from: Option<(u64, Stat)>, bytes: &Content<'_>) -> Result<(), ApplyError> {
        let passing = beside(path, "new", self.number);
        // One may be there, of an apply that was interrupted.
        self.directories.unlink(&passing).map_err(ApplyError::io("remove", &passing))?;
        self.ask("create", &passing)?;
        let mut file = self.directories.create(&passing).map_err(ApplyError::io("create", &passing))?;
        let offset = match from {
            None => 0,
            Some((offset, stat)) => {
                let old = self.directories.file(path, OFlags::RDONLY).map_err(ApplyError::io("open", path))?;
                let mut old = old.ok_or(Errno::NOENT).map_err(ApplyError::io("open", path))?;
                // All of it: in a redo, later changes may have added to it already.
                io::copy(&mut old, &mut file).map_err(ApplyError::io("copy", path))?;
                rustix::fs::fchmod(&file, stat.st_mode.into()).map_err(ApplyError::io("copy", path))?;
                offset
            }
        };
        self.write_at(&file, &passing, offset, bytes)?;
        self.ask("rename", path)?;
        let (parent, name) = self.directories.parent(path, false).map_err(ApplyError::io("open", path))?;
        let parent = parent.ok_or(Errno::NOENT).map_err(ApplyError::io("open", path))?;
        rustix::fs::renameat(parent, name_of(&passing), parent, name).map_err(ApplyError::io("rename", path))
    }

    fn write_at(&mut self, file: &File, path: &[u8], offset: u64, bytes: &Content<'_>) -> Result<(), ApplyError> {
        let mut at = offset;
        for piece in bytes.pieces().flat_map(|piece| piece.chunks(WRITE_BYTES)) {
            self.ask("write", path)?;
            file.write_all_at(piece, at).map_err(ApplyError::io("write", path))?;
            at += piece.len() as u64;
        }
        Ok(())
    }

    fn ask(&mut self, verb: &'static str, path: &[u8]) -> Result<(), ApplyError> {
        (self.step)(Step { verb, path }).map_err(ApplyError::io(verb, path))
    }
}
