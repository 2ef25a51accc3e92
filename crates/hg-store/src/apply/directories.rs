//! Files of a store, reached through directory descriptors: no symbolic link is ever followed, so nothing in a
//! damaged or prepared store leads out of it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

/// The directories of one `.hg`, the last ones used kept open.
#[derive(Debug)]
pub struct Directories {
    hg: OwnedFd,
    /// The directories on the way to the last path: name and descriptor, outermost first.
    open: Vec<(Vec<u8>, OwnedFd)>,
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl Directories {
    /// Opens a `.hg`, which is a directory and no link.
    ///
    /// # Errors
    /// A failing system call, as for all that follow.
    pub fn open(hg: &Path) -> io::Result<Self> {
        Ok(Self { hg: rustix::fs::openat(CWD, hg, DIRECTORY, Mode::empty())?, open: Vec::new() })
    }

    /// Returns `.hg` itself.
    pub fn hg(&self) -> BorrowedFd<'_> {
        self.hg.as_fd()
    }

    /// Returns the directory that `path` lies in and its name there; no directory where that does not exist. With
    /// `create`, directories that are missing are made.
    pub(crate) fn parent<'a, 'p>(
        &'a mut self,
        path: &'p [u8],
        create: bool,
    ) -> io::Result<(Option<BorrowedFd<'a>>, &'p [u8])> {
        let (directory, name) = match path.iter().rposition(|&byte| byte == b'/') {
            Some(at) => (&path[..at], &path[at + 1..]),
            None => (&path[..0], path),
        };
        Ok((self.directory(directory, create)?, name))
    }

    /// Returns a directory below `.hg`, which itself is the empty path.
    pub(crate) fn directory(&mut self, path: &[u8], create: bool) -> io::Result<Option<BorrowedFd<'_>>> {
        let parts: Vec<&[u8]> = path.split(|&byte| byte == b'/').filter(|part| !part.is_empty()).collect();
        let same = parts.iter().zip(&self.open).take_while(|(part, (name, _))| **part == name.as_slice()).count();
        self.open.truncate(same);
        for part in &parts[same..] {
            let within = self.open.last().map_or(self.hg.as_fd(), |(_, fd)| fd.as_fd());
            let fd = match rustix::fs::openat(within, *part, DIRECTORY, Mode::empty()) {
                Err(Errno::NOENT) if !create => return Ok(None),
                Err(Errno::NOENT) => {
                    match rustix::fs::mkdirat(within, *part, Mode::from_raw_mode(0o777)) {
                        Ok(()) | Err(Errno::EXIST) => {}
                        Err(error) => return Err(error.into()),
                    }
                    rustix::fs::openat(within, *part, DIRECTORY, Mode::empty())?
                }
                opened => opened?,
            };
            self.open.push((part.to_vec(), fd));
        }
        Ok(Some(self.open.last().map_or(self.hg.as_fd(), |(_, fd)| fd.as_fd())))
    }

    /// Returns what lies at `path`, itself and not what it may point to; `None` where nothing does.
    ///
    /// # Errors
    /// A failing system call; a link on the way.
    pub fn stat(&mut self, path: &[u8]) -> io::Result<Option<Stat>> {
        let (Some(parent), name) = self.parent(path, false)? else { return Ok(None) };
        match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens a regular file with these flags; `None` where there is none. With `CREATE`, missing directories are made.
    ///
    /// # Errors
    /// A failing system call; something there that is no regular file; a link on the way.
    pub fn file(&mut self, path: &[u8], flags: OFlags) -> io::Result<Option<File>> {
        let (Some(parent), name) = self.parent(path, flags.contains(OFlags::CREATE))? else { return Ok(None) };
        // Without NONBLOCK a pipe in the place of a file would hang the open.
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = match rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o666)) {
            Ok(fd) => File::from(fd),
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        if FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) != FileType::RegularFile {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok(Some(file))
    }

    /// Makes a new file; one that is there is not taken.
    ///
    /// # Errors
    /// A failing system call; one that is there.
    pub fn create(&mut self, path: &[u8]) -> io::Result<File> {
        let file = self.file(path, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL)?;
        file.ok_or_else(|| Errno::NOENT.into())
    }

    /// Removes a file; one that is not there is as good as removed.
    ///
    /// # Errors
    /// A failing system call.
    pub fn unlink(&mut self, path: &[u8]) -> io::Result<()> {
        let (Some(parent), name) = self.parent(path, false)? else { return Ok(()) };
        match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
