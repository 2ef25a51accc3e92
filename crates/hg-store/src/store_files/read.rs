//! Reading one of the files, as it lay.

use std::io::{self, Write};
use std::os::unix::fs::FileExt;

use super::{Kind, StoreFile, StoreFiles};
use crate::StoreError;
use crate::revlog::index::{self, Header};

/// Bytes that are read at once.
const PIECE_BYTES: usize = 128 << 10;

/// What one file after the other is read by: one for each stream.
pub struct StoreFileReader<'a> {
    files: &'a StoreFiles,
    piece: Vec<u8>,
}

impl StoreFiles {
    /// Returns what reads them.
    pub fn reader(&self) -> StoreFileReader<'_> {
        StoreFileReader { files: self, piece: vec![0; PIECE_BYTES] }
    }
}

impl StoreFileReader<'_> {
    /// Writes a file's bytes, exactly as many as it was said to have.
    ///
    /// # Errors
    /// The file is gone or shorter than it was; `output` fails.
    pub fn write<E>(&mut self, file: &StoreFile, output: &mut dyn Write) -> Result<(), E>
    where
        E: From<StoreError> + From<io::Error>,
    {
        let snapshot = &self.files.snapshot;
        if file.kind == Kind::Phaseroots {
            return Ok(output.write_all(snapshot.state().phaseroots.as_deref().unwrap_or_default())?);
        }
        let store = snapshot.repository().store();
        let name = snapshot.repository().encode(&file.path);
        let path = || store.path_of(&name);
        let Some((opened, present)) = store.file(&name)? else {
            return Err(StoreError::corrupt(path(), "gone while it was sent").into());
        };
        let mut at = 0;
        while at < file.bytes {
            if file.kind == Kind::Growing && present < file.bytes {
                let what = format!("{present} bytes long, {} are expected", file.bytes);
                return Err(StoreError::corrupt(path(), what).into());
            }
            let wanted = usize::try_from(file.bytes - at).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
            let piece = &mut self.piece[..wanted];
            let read = opened.read_at(piece, at).map_err(|source| StoreError::io("read", path(), source))?;
            if at == 0 && file.kind == Kind::Inline && !Header::parse(&piece[..read], &path())?.inline {
                return self.write_split(file, output);
            }
            if read == 0 {
                return Err(StoreError::corrupt(path(), "became shorter while it was sent").into());
            }
            output.write_all(&piece[..read])?;
            at += read as u64;
        }
        Ok(())
    }

    /// Puts a revlog together again that was split since.
    fn write_split<E>(&self, file: &StoreFile, output: &mut dyn Write) -> Result<(), E>
    where
        E: From<StoreError> + From<io::Error>,
    {
        let snapshot = &self.files.snapshot;
        let log = snapshot.revlog_at(&file.path)?;
        let log = log.filter(|log| {
            let extent = log.extent();
            extent.index_bytes + extent.data_bytes == file.bytes
        });
        let Some(log) = log else {
            let path = snapshot.repository().store().path_of(&file.path);
            return Err(StoreError::corrupt(path, "another file, since it was sent").into());
        };
        for revision in log.revisions() {
            let mut entry = *log.raw_entry(revision);
            if revision.get() == 0 {
                index::set_inline(&mut entry);
            }
            output.write_all(&entry)?;
            output.write_all(log.raw_chunk(revision))?;
        }
        Ok(())
    }
}
