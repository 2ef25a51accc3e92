//! Writing a change.

use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;

use rustc_hash::FxHashMap;

use super::ChangeError;
use super::format::{
    DATA_BYTES_MAX, HEADER_BYTES, Kind, MAGIC, OPERATIONS_MAX, VERSION, head_digest, rank, write_entry,
};
use super::path::check_path;

/// Bytes of one path that wait before they are written out: fewer, larger pieces.
const PENDING_BYTES_PER_PATH: usize = 256 << 10;
/// Bytes of all paths together that wait.
const PENDING_BYTES_MAX: usize = 8 << 20;
/// Buffer before the file, so that many small pieces are few system calls.
const BUFFER_BYTES: usize = 256 << 10;

/// Writes a change into a file as it is made.
///
/// Calls may come in any order and for different paths in turn. Several calls of the same kind for one path add
/// their bytes one after the other; each of them names the same `old_bytes`, the file's length before the change.
#[derive(Debug)]
pub struct ChangeWriter<W: Write + Seek> {
    file: BufWriter<W>,
    hasher: blake3::Hasher,
    /// Bytes of the run that are written.
    written: u64,
    /// Bytes that wait, of all entries.
    pending: usize,
    entries: Vec<Entry>,
    by_path: FxHashMap<Vec<u8>, usize>,
    /// The entry that `write` adds to.
    open: Option<usize>,
}

#[derive(Debug)]
struct Entry {
    path: Vec<u8>,
    kind: Kind,
    old_bytes: Option<u64>,
    /// Offset in the run, length.
    extents: Vec<(u64, u64)>,
    pending: Vec<u8>,
}

impl<W: Write + Seek> ChangeWriter<W> {
    /// Begins a change at the start of `file`, which is empty.
    ///
    /// # Errors
    /// Where the file can't be written.
    pub fn new(file: W) -> Result<Self, ChangeError> {
        let mut file = BufWriter::with_capacity(BUFFER_BYTES, file);
        file.seek(SeekFrom::Start(0))?;
        // The header is written last: until then it is no change.
        file.write_all(&[0; HEADER_BYTES])?;
        Ok(Self {
            file,
            hasher: blake3::Hasher::new(),
            written: 0,
            pending: 0,
            entries: Vec::new(),
            by_path: FxHashMap::default(),
            open: None,
        })
    }

    /// Adds a new file, or more bytes to one that this change creates.
    ///
    /// # Errors
    /// A path that is not allowed, another kind of operation on this path before, too much, a failing file.
    pub fn create(&mut self, path: &[u8], bytes: &[u8]) -> Result<(), ChangeError> {
        self.add(Kind::Create, path, None, bytes)
    }

    /// Adds bytes to the end of a file of `old_bytes` bytes.
    ///
    /// # Errors
    /// As for [`Self::create`].
    pub fn append(&mut self, path: &[u8], old_bytes: u64, bytes: &[u8]) -> Result<(), ChangeError> {
        self.add(Kind::Append, path, Some(old_bytes), bytes)
    }

    /// Replaces a file as a whole. `old_bytes`: its length before; `None` where it may be absent.
    ///
    /// # Errors
    /// As for [`Self::create`].
    pub fn replace(&mut self, path: &[u8], old_bytes: Option<u64>, bytes: &[u8]) -> Result<(), ChangeError> {
        self.add(Kind::Replace, path, old_bytes, bytes)
    }

    /// Removes a file of `old_bytes` bytes.
    ///
    /// # Errors
    /// As for [`Self::create`].
    pub fn remove(&mut self, path: &[u8], old_bytes: u64) -> Result<(), ChangeError> {
        self.add(Kind::Remove, path, Some(old_bytes), b"")
    }

    /// Opens a new file for [`Self::write`], until [`Self::end`].
    ///
    /// # Errors
    /// As for [`Self::create`]; another operation is open.
    pub fn begin_create(&mut self, path: &[u8]) -> Result<(), ChangeError> {
        self.begin(Kind::Create, path, None)
    }

    /// Opens the end of a file of `old_bytes` bytes for [`Self::write`], until [`Self::end`].
    ///
    /// # Errors
    /// As for [`Self::begin_create`].
    pub fn begin_append(&mut self, path: &[u8], old_bytes: u64) -> Result<(), ChangeError> {
        self.begin(Kind::Append, path, Some(old_bytes))
    }

    /// Opens a file that is replaced as a whole for [`Self::write`], until [`Self::end`].
    ///
    /// # Errors
    /// As for [`Self::begin_create`].
    pub fn begin_replace(&mut self, path: &[u8], old_bytes: Option<u64>) -> Result<(), ChangeError> {
        self.begin(Kind::Replace, path, old_bytes)
    }

    fn begin(&mut self, kind: Kind, path: &[u8], old_bytes: Option<u64>) -> Result<(), ChangeError> {
        if self.open.is_some() {
            return Err(ChangeError::Conflict { path: path.escape_ascii().to_string() });
        }
        let place = self.place(kind, path, old_bytes)?;
        // What waits for it comes first.
        self.write_pending(place)?;
        self.open = Some(place);
        Ok(())
    }

    /// Adds bytes to the operation that is open, at [`Self::position`]. Nothing is held back but for a buffer, see
    /// [`Self::flush`].
    ///
    /// # Errors
    /// No operation is open; too much; a failing file.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), ChangeError> {
        let place = self.open.ok_or(ChangeError::NothingOpen)?;
        self.check_room(bytes)?;
        self.write_piece(place, bytes)
    }

    /// Closes the operation that is open.
    pub fn end(&mut self) {
        self.open = None;
    }

    /// Returns where in the file the next byte of [`Self::write`] will lie, in bytes from its start.
    pub fn position(&self) -> u64 {
        HEADER_BYTES as u64 + self.written
    }

    /// Hands what [`Self::write`] was given to the file, so that it can be read there at the positions that
    /// [`Self::position`] told.
    ///
    /// # Errors
    /// A failing file.
    pub fn flush(&mut self) -> Result<(), ChangeError> {
        Ok(self.file.flush()?)
    }

    /// Returns whether nothing was added so far.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns how many bytes the operations write together, so far.
    pub fn data_bytes(&self) -> u64 {
        self.written + self.pending as u64
    }

    fn add(&mut self, kind: Kind, path: &[u8], old_bytes: Option<u64>, bytes: &[u8]) -> Result<(), ChangeError> {
        let place = self.place(kind, path, old_bytes)?;
        if self.open == Some(place) {
            return Err(ChangeError::Conflict { path: path.escape_ascii().to_string() });
        }
        self.check_room(bytes)?;
        if self.entries[place].pending.len() + bytes.len() > PENDING_BYTES_PER_PATH {
            self.write_pending(place)?;
        }
        if bytes.len() > PENDING_BYTES_PER_PATH {
            return self.write_piece(place, bytes);
        }
        self.entries[place].pending.extend_from_slice(bytes);
        self.pending += bytes.len();
        if self.pending > PENDING_BYTES_MAX {
            (0..self.entries.len()).try_for_each(|place| self.write_pending(place))?;
        }
        Ok(())
    }

    fn check_room(&self, bytes: &[u8]) -> Result<(), ChangeError> {
        match self.data_bytes().saturating_add(bytes.len() as u64) {
            0..=DATA_BYTES_MAX => Ok(()),
            _ => Err(ChangeError::TooLarge { what: "bytes", limit: DATA_BYTES_MAX }),
        }
    }

    /// Returns the entry for a path, a new one where this is the first call for it.
    fn place(&mut self, kind: Kind, path: &[u8], old_bytes: Option<u64>) -> Result<usize, ChangeError> {
        let Some(&place) = self.by_path.get(path) else {
            return self.add_entry(kind, path, old_bytes);
        };
        let entry = &self.entries[place];
        if entry.kind != kind || entry.old_bytes != old_bytes || kind == Kind::Remove {
            return Err(ChangeError::Conflict { path: path.escape_ascii().to_string() });
        }
        Ok(place)
    }

    fn add_entry(&mut self, kind: Kind, path: &[u8], old_bytes: Option<u64>) -> Result<usize, ChangeError> {
        check_path(path)?;
        if self.entries.len() as u64 >= OPERATIONS_MAX.into() {
            return Err(ChangeError::TooLarge { what: "operations", limit: OPERATIONS_MAX.into() });
        }
        let place = self.entries.len();
        self.entries.push(Entry { path: path.to_vec(), kind, old_bytes, extents: Vec::new(), pending: Vec::new() });
        self.by_path.insert(path.to_vec(), place);
        Ok(place)
    }

    /// Writes what waits for one entry.
    fn write_pending(&mut self, place: usize) -> Result<(), ChangeError> {
        let pending = std::mem::take(&mut self.entries[place].pending);
        self.pending -= pending.len();
        self.write_piece(place, &pending)
    }

    fn write_piece(&mut self, place: usize, bytes: &[u8]) -> Result<(), ChangeError> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.file.write_all(bytes)?;
        self.hasher.update(bytes);
        let len = bytes.len() as u64;
        let extents = &mut self.entries[place].extents;
        match extents.last_mut() {
            Some((offset, before)) if *offset + *before == self.written => *before += len,
            _ => extents.push((self.written, len)),
        }
        self.written += len;
        Ok(())
    }

    /// Returns the paths that it names so far, in no order.
    pub fn paths(&self) -> impl Iterator<Item = &[u8]> {
        self.entries.iter().map(|entry| entry.path.as_slice())
    }

    /// Writes the table and the header; returns the file and the change's length in bytes.
    ///
    /// # Errors
    /// A failing file; a file that would become longer than a revlog can be.
    pub fn finish(mut self) -> Result<(W, u64), ChangeError> {
        let mut order: Vec<usize> = (0..self.entries.len()).collect();
        order.sort_unstable_by(|&a, &b| {
            let (a, b) = (&self.entries[a].path, &self.entries[b].path);
            (rank(a), a).cmp(&(rank(b), b))
        });
        let mut table = Vec::new();
        for &place in &order {
            self.write_pending(place)?;
            let entry = &self.entries[place];
            write_entry(&mut table, entry.kind, &entry.path, entry.old_bytes, &entry.extents)?;
        }
        self.file.write_all(&table)?;

        let mut header = Vec::with_capacity(HEADER_BYTES);
        header.extend_from_slice(MAGIC);
        header.extend_from_slice(&VERSION.to_be_bytes());
        header.extend_from_slice(&[0; 2]);
        header.extend_from_slice(&(self.entries.len() as u32).to_be_bytes());
        header.extend_from_slice(&self.written.to_be_bytes());
        header.extend_from_slice(&(table.len() as u64).to_be_bytes());
        header.extend_from_slice(self.hasher.finalize().as_bytes());
        let digest = head_digest(&header, &table);
        header.extend_from_slice(&digest);
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(&header)?;
        let bytes = HEADER_BYTES as u64 + self.written + table.len() as u64;
        let file = self.file.into_inner().map_err(|error| error.into_error())?;
        Ok((file, bytes))
    }
}

impl ChangeWriter<File> {
    /// Reads back what was added for one path: from `offset`, counted in the added bytes, as many as `into` holds. The file
    /// must be open for reading too.
    ///
    /// # Errors
    /// A failing file; bytes that were not added.
    pub fn read_back(&mut self, path: &[u8], mut offset: u64, mut into: &mut [u8]) -> Result<(), ChangeError> {
        let missing = || io::Error::new(io::ErrorKind::UnexpectedEof, "bytes that were not added");
        let entry = self.by_path.get(path).map(|&place| &self.entries[place]).ok_or_else(missing)?;
        self.file.flush()?;
        for &(start, len) in &entry.extents {
            if offset >= len {
                offset -= len;
                continue;
            }
            let bytes = into.len().min((len - offset) as usize);
            let (now, later) = into.split_at_mut(bytes);
            self.file.get_ref().read_exact_at(now, HEADER_BYTES as u64 + start + offset)?;
            into = later;
            offset = 0;
            if into.is_empty() {
                return Ok(());
            }
        }
        let waiting = entry.pending.get(offset as usize..).and_then(|waiting| waiting.get(..into.len()));
        into.copy_from_slice(waiting.ok_or_else(missing)?);
        Ok(())
    }
}
