//! The change that leads from one store to another, found by comparing their files.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::Path;

use rustix::fs::OFlags;

use super::{ChangeError, ChangeWriter, check_path};
use crate::apply::Directories;
use crate::digest::{DigestError, state_files};

/// Bytes that are read at once.
const BUFFER_BYTES: usize = 128 << 10;

/// Why two stores could not be compared.
#[derive(Debug, thiserror::Error)]
pub enum BetweenError {
    /// A store could not be read.
    #[error(transparent)]
    Read(#[from] DigestError),
    /// The change could not be written.
    #[error(transparent)]
    Change(#[from] ChangeError),
}

/// Adds to `writer` what leads from the store in `before` (a `.hg` directory; none: from nothing) to that in `after`.
/// Files that no change may name stay out of it.
///
/// # Errors
/// A file that can't be read or is none, the change that can't be written.
pub fn between<W: Write + Seek>(
    before: Option<&Path>,
    after: &Path,
    writer: &mut ChangeWriter<W>,
) -> Result<(), BetweenError> {
    let open = |hg: &Path| Directories::open(hg).map_err(read_error(b".hg"));
    let mut old = before.map(open).transpose()?;
    let mut new = open(after)?;
    for path in state_files(after)?.iter().filter(|path| check_path(path).is_ok()) {
        let mut old = old.as_mut().map(|old| old.file(path, OFlags::RDONLY)).transpose().map_err(read_error(path))?;
        let new = new.file(path, OFlags::RDONLY).map_err(read_error(path))?;
        let new = new.ok_or(io::ErrorKind::NotFound).map_err(read_error(path))?;
        add(path, old.take().flatten(), new, writer)?;
    }
    let Some((before, old)) = before.zip(old.as_mut()) else { return Ok(()) };
    for path in state_files(before)?.iter().filter(|path| check_path(path).is_ok()) {
        if new.stat(path).map_err(read_error(path))?.is_none() {
            let stat = old.stat(path).map_err(read_error(path))?;
            writer.remove(path, stat.map_or(0, |stat| stat.st_size as u64))?;
        }
    }
    Ok(())
}

fn add<W: Write + Seek>(
    path: &[u8],
    old: Option<File>,
    mut new: File,
    writer: &mut ChangeWriter<W>,
) -> Result<(), BetweenError> {
    let old_bytes = match old {
        None => {
            writer.begin_create(path)?;
            None
        }
        Some(mut old) => {
            let same = common(&mut old, &mut new).map_err(read_error(path))?;
            let lengths = old.metadata().and_then(|old| Ok((old.len(), new.metadata()?.len())));
            let (old_bytes, new_bytes) = lengths.map_err(read_error(path))?;
            match same {
                same if same == old_bytes && same == new_bytes => return Ok(()),
                same if same == old_bytes => writer.begin_append(path, old_bytes)?,
                _ => writer.begin_replace(path, Some(old_bytes))?,
            }
            Some(if same == old_bytes { old_bytes } else { 0 })
        }
    };
    new.seek(io::SeekFrom::Start(old_bytes.unwrap_or(0))).map_err(read_error(path))?;
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match new.read(&mut buffer).map_err(read_error(path))? {
            0 => break,
            len => writer.write(&buffer[..len])?,
        }
    }
    writer.end();
    Ok(())
}

/// Returns how many bytes are the same at the beginning of two files.
fn common(a: &mut File, b: &mut File) -> io::Result<u64> {
    let (mut from_a, mut from_b) = (vec![0; BUFFER_BYTES], vec![0; BUFFER_BYTES]);
    let mut same = 0;
    loop {
        let (a, b) = (read_full(a, &mut from_a)?, read_full(b, &mut from_b)?);
        let here = a.iter().zip(b).take_while(|(a, b)| a == b).count();
        same += here as u64;
        if here < BUFFER_BYTES {
            return Ok(same);
        }
    }
}

fn read_full<'b>(file: &mut File, buffer: &'b mut [u8]) -> io::Result<&'b [u8]> {
    let mut len = 0;
    while len < buffer.len() {
        match file.read(&mut buffer[len..])? {
            0 => break,
            more => len += more,
        }
    }
    Ok(&buffer[..len])
}

fn read_error<E: Into<io::Error>>(path: &[u8]) -> impl FnOnce(E) -> DigestError {
    let path = path.escape_ascii().to_string();
    move |source| DigestError::Read { path, source: source.into() }
}
