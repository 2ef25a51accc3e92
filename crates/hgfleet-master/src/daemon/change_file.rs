//! A push's change, as the daemon has it: its own copy, which nobody else can alter.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use hgfleet_log::{ChangePayload, Payload};
use memmap2::Mmap;

/// Up to this length a change is kept in memory.
const SMALL_BYTES_MAX: u64 = 1 << 20;

/// The bytes of a change.
#[derive(Debug, Clone)]
pub(crate) enum ChangeFile {
    /// None at all.
    Empty,
    /// Few.
    Small(Arc<Vec<u8>>),
    /// Many: an unlinked file of the daemon's own, and a mapping of it.
    Large(Arc<(File, Mmap)>),
}

impl ChangeFile {
    /// Copies `bytes` bytes from the start of a file that somebody else may still write to.
    pub(crate) fn copy(from: &File, bytes: u64, run: &Path) -> io::Result<ChangeFile> {
        let mut from = from;
        from.seek(SeekFrom::Start(0))?;
        let short = || io::Error::new(io::ErrorKind::UnexpectedEof, "the change is shorter than announced");
        if bytes <= SMALL_BYTES_MAX {
            let mut small = Vec::with_capacity(bytes as usize);
            if from.take(bytes).read_to_end(&mut small)? as u64 != bytes {
                return Err(short());
            }
            return Ok(ChangeFile::Small(Arc::new(small)));
        }
        let mut file = tempfile::tempfile_in(run)?;
        if io::copy(&mut from.take(bytes), &mut file)? != bytes {
            return Err(short());
        }
        ChangeFile::own(file)
    }

    /// Takes a whole file that nobody else has open.
    pub(crate) fn own(file: File) -> io::Result<ChangeFile> {
        // SAFETY: the file is unlinked and this process alone has it open, so nobody can cut it while it is mapped.
        let map = unsafe { Mmap::map(&file)? };
        Ok(ChangeFile::Large(Arc::new((file, map))))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            ChangeFile::Empty => &[],
            ChangeFile::Small(bytes) => bytes,
            ChangeFile::Large(large) => &large.1,
        }
    }

    /// What the record says of it.
    pub(crate) fn description(&self) -> ChangePayload {
        match self {
            ChangeFile::Large(large) => {
                let mut hasher = blake3::Hasher::new();
                hasher.update(&large.1);
                ChangePayload { bytes: large.1.len() as u64, digest: *hasher.finalize().as_bytes() }
            }
            other => ChangePayload::of(other.bytes()),
        }
    }

    /// What the log takes.
    pub(crate) fn payload(&self) -> io::Result<Payload> {
        Ok(match self {
            ChangeFile::Empty => Payload::Empty,
            ChangeFile::Small(bytes) => Payload::Bytes(bytes.to_vec()),
            ChangeFile::Large(large) => Payload::File { file: large.0.try_clone()?, bytes: large.1.len() as u64 },
        })
    }
}
