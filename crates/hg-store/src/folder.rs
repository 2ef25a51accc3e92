//! Files below one directory, opened by descriptor: no symbolic link is followed, only regular files are read.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::StoreError;

/// Files up to this size are read, larger ones are mapped: two system calls less, and no page wasted.
const MAPPED_BYTES_MIN: u64 = 64 << 10;

/// How deep folders may lie in a working copy, and below `store/data`; a tracked file's path has at most half of its 4,096 bytes as separators.
pub(crate) const DEPTH_MAX: usize = 2_100;

/// Opening never blocks (a FIFO would) and never leads to another file than the one named.
const FILE_FLAGS: OFlags =
    OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

/// A directory, held open: it stays the same one when its name is given to another.
pub(crate) struct Folder {
    descriptor: OwnedFd,
    path: PathBuf,
}

impl Folder {
    /// Opens a directory by path; its last part must not be a symbolic link unless `follow`.
    pub(crate) fn open(path: &Path, follow: bool) -> Result<Folder, StoreError> {
        let mut flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::DIRECTORY;
        if !follow {
            flags |= OFlags::NOFOLLOW;
        }
        let descriptor = rustix::fs::openat(CWD, path, flags, Mode::empty())
            .map_err(|errno| StoreError::io("open", path, errno.into()))?;
        Ok(Folder { descriptor, path: path.to_owned() })
    }

    /// The same directory, opened again.
    pub(crate) fn again(&self) -> Result<Folder, StoreError> {
        let descriptor = self.descriptor.try_clone();
        let descriptor = descriptor.map_err(|source| StoreError::io("open", &self.path, source))?;
        Ok(Folder { descriptor, path: self.path.clone() })
    }

    /// Opens a directory in this one; `None` when there is nothing of that name.
    pub(crate) fn folder(&self, name: &str) -> Result<Option<Folder>, StoreError> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        let path = self.path.join(name);
        match rustix::fs::openat(&self.descriptor, name, flags, Mode::empty()) {
            Ok(descriptor) => Ok(Some(Folder { descriptor, path })),
            Err(Errno::NOENT) => Ok(None),
            Err(Errno::LOOP | Errno::NOTDIR) => Err(StoreError::corrupt(path, "not a directory")),
            Err(errno) => Err(StoreError::io("open", path, errno.into())),
        }
    }

    /// Which directory it is: its device, and its number there.
    pub(crate) fn identity(&self) -> Result<(u64, u64), StoreError> {
        let stat = rustix::fs::fstat(&self.descriptor);
        let stat = stat.map_err(|errno| StoreError::io("stat", &self.path, errno.into()))?;
        Ok((stat.st_dev, stat.st_ino))
    }

    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }

    /// Where the directory was when it was opened.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The path of a file in it, for messages.
    pub(crate) fn path_of(&self, relative: &[u8]) -> PathBuf {
        self.path.join(OsStr::from_bytes(relative))
    }

    /// Opens a regular file for reading, with its length; `None` when there is none of that name.
    pub(crate) fn file(&self, relative: &[u8]) -> Result<Option<(File, u64)>, StoreError> {
        let descriptor = match self.open_beneath(relative) {
            Ok(descriptor) => descriptor,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(Errno::LOOP) => {
                return Err(StoreError::corrupt(self.path_of(relative), "a symbolic link"));
            }
            Err(Errno::NXIO) => {
                return Err(StoreError::corrupt(self.path_of(relative), "not a regular file"));
            }
            Err(errno) => {
                return Err(StoreError::io("open", self.path_of(relative), errno.into()));
            }
        };
        let stat = rustix::fs::fstat(&descriptor)
            .map_err(|errno| StoreError::io("stat", self.path_of(relative), errno.into()))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(StoreError::corrupt(self.path_of(relative), "not a regular file"));
        }
        Ok(Some((File::from(descriptor), stat.st_size as u64)))
    }

    fn open_beneath(&self, relative: &[u8]) -> Result<OwnedFd, Errno> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let name = OsStr::from_bytes(relative);
        match rustix::fs::openat2(&self.descriptor, name, FILE_FLAGS, Mode::empty(), resolve) {
            // Kernels before 5.6 lack the call, and some sandboxes forbid it.
            Err(Errno::NOSYS | Errno::PERM) => self.open_part_by_part(relative),
            other => other,
        }
    }

    fn open_part_by_part(&self, relative: &[u8]) -> Result<OwnedFd, Errno> {
        let folder_flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        let mut folder: Option<OwnedFd> = None;
        let mut parts = relative.split(|byte| *byte == b'/').peekable();
        while let Some(part) = parts.next() {
            if part == b".." || part.is_empty() {
                return Err(Errno::XDEV);
            }
            let parent = folder.as_ref().unwrap_or(&self.descriptor);
            let part = OsStr::from_bytes(part);
            if parts.peek().is_none() {
                return rustix::fs::openat(parent, part, FILE_FLAGS, Mode::empty());
            }
            folder = Some(rustix::fs::openat(parent, part, folder_flags, Mode::empty())?);
        }
        Err(Errno::NOENT)
    }

    /// The names in a folder below this one, and whether each is a folder; none where there is no such folder. Whatever is neither a
    /// folder nor a regular file is left out.
    pub(crate) fn names(&self, relative: &[u8]) -> Result<Vec<(Vec<u8>, bool)>, StoreError> {
        let failed = |errno: Errno| StoreError::io("list", self.path_of(relative), errno.into());
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        let opened = match rustix::fs::openat(&self.descriptor, OsStr::from_bytes(relative), flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(Vec::new()),
            opened => opened.map_err(failed)?,
        };
        let mut names = Vec::new();
        for entry in Dir::read_from(&opened).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let kind = match entry.file_type() {
                // Some file systems don't say.
                FileType::Unknown => {
                    let stat =
                        rustix::fs::statat(&opened, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
                    FileType::from_raw_mode(stat.st_mode)
                }
                kind => kind,
            };
            if matches!(kind, FileType::Directory | FileType::RegularFile) {
                names.push((name.to_vec(), kind == FileType::Directory));
            }
        }
        Ok(names)
    }

    /// Calls `found` with each regular file below a folder, by its path from here. None where there is no such folder.
    pub(crate) fn each_file(
        &self,
        folder: &[u8],
        found: &mut dyn FnMut(&[u8]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.each_file_at(folder, 0, found)
    }

    fn each_file_at(
        &self,
        folder: &[u8],
        depth: usize,
        found: &mut dyn FnMut(&[u8]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        if depth > DEPTH_MAX {
            return Err(StoreError::corrupt(self.path_of(folder), "too deep a folder"));
        }
        for (name, is_folder) in self.names(folder)? {
            let path = [folder, b"/", &name].concat();
            if is_folder {
                self.each_file_at(&path, depth + 1, found)?;
            } else {
                found(&path)?;
            }
        }
        Ok(())
    }

    /// Reads a whole small file; one that is larger than the bound is an error.
    pub(crate) fn read(&self, relative: &[u8], bytes_max: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let Some((file, bytes)) = self.file(relative)? else { return Ok(None) };
        if bytes > bytes_max {
            let what = format!("{bytes} bytes long, more than {bytes_max}");
            return Err(StoreError::corrupt(self.path_of(relative), what));
        }
        let mut content = Vec::with_capacity(bytes as usize + 1);
        file.take(bytes_max)
            .read_to_end(&mut content)
            .map_err(|source| StoreError::io("read", self.path_of(relative), source))?;
        Ok(Some(content))
    }

    /// Reads or maps the first `bytes` bytes of a file. A shorter file is an error, an absent one only if `bytes` > 0.
    pub(crate) fn map(&self, relative: &[u8], bytes: u64) -> Result<FileBytes, StoreError> {
        if bytes == 0 {
            return Ok(FileBytes::Read(Vec::new()));
        }
        let Some((file, present)) = self.file(relative)? else {
            return Err(StoreError::corrupt(self.path_of(relative), "missing"));
        };
        if present < bytes {
            let what = format!("{present} bytes long, {bytes} are expected");
            return Err(StoreError::corrupt(self.path_of(relative), what));
        }
        self.map_file(relative, file, bytes)
    }

    /// Reads or maps the first `bytes` bytes of an open file, which has at least that many.
    pub(crate) fn map_file(&self, relative: &[u8], mut file: File, bytes: u64) -> Result<FileBytes, StoreError> {
        let size = usize::try_from(bytes)
            .map_err(|_| StoreError::corrupt(self.path_of(relative), format!("{bytes} bytes long")))?;
        if bytes < MAPPED_BYTES_MIN {
            let mut content = vec![0; size];
            file.read_exact(&mut content).map_err(|source| StoreError::io("read", self.path_of(relative), source))?;
            return Ok(FileBytes::Read(content));
        }
        // SAFETY: the files of a store only grow or are replaced by rename, nobody truncates or rewrites one in place,
        // so the mapped range stays as it is.
        let map = unsafe { memmap2::MmapOptions::new().len(size).map(&file) }
            .map_err(|source| StoreError::io("map", self.path_of(relative), source))?;
        Ok(FileBytes::Mapped(map))
    }
}

/// The bytes of a file, read or mapped.
pub(crate) enum FileBytes {
    Read(Vec<u8>),
    Mapped(memmap2::Mmap),
}

impl FileBytes {
    /// Bytes of memory that it takes; what is mapped counts for nothing.
    pub(crate) fn memory_bytes(&self) -> usize {
        match self {
            FileBytes::Read(bytes) => bytes.capacity(),
            FileBytes::Mapped(_) => 0,
        }
    }
}

impl std::ops::Deref for FileBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            FileBytes::Read(bytes) => bytes,
            FileBytes::Mapped(map) => map,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_below_the_folder_are_read() {
        let scratch = tempfile::tempdir().expect("a folder");
        let path = scratch.path();
        std::fs::create_dir(path.join("d")).expect("written");
        std::fs::write(path.join("d/plain"), b"text").expect("written");
        std::os::unix::fs::symlink("d/plain", path.join("link")).expect("written");
        std::os::unix::fs::symlink("d", path.join("linked")).expect("written");
        rustix::fs::mkfifoat(CWD, path.join("pipe"), Mode::RUSR | Mode::WUSR).expect("written");
        let folder = Folder::open(path, true).expect("opened");
        assert_eq!(folder.read(b"d/plain", 10).expect("read").as_deref(), Some(b"text".as_slice()));
        assert!(folder.read(b"d/plain", 3).expect_err("too long").is_corruption());
        assert!(folder.read(b"absent", 10).expect("looked for").is_none());
        assert!(folder.read(b"d/plain/x", 10).expect("looked for").is_none());
        for odd in ["link", "linked/plain", "pipe", "d"] {
            let error = folder.read(odd.as_bytes(), 10).expect_err(odd);
            assert!(error.is_corruption(), "{odd}: {error}");
            let by_parts = folder.open_part_by_part(odd.as_bytes());
            assert!(odd == "pipe" || odd == "d" || by_parts.is_err(), "{odd}");
        }
        assert!(folder.read(b"../x", 10).is_err());
        assert!(folder.open_part_by_part(b"d/plain").is_ok());
        assert!(folder.map(b"d/plain", 5).is_err_and(|error| error.is_corruption()));
        assert_eq!(&*folder.map(b"d/plain", 3).expect("mapped"), b"tex");
    }
}
