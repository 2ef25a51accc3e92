//! Taking a largefile.

use std::io::Read;

use sha1::{Digest, Sha1};

use crate::largefiles::{LargefileHash, STANDINS};

use super::Preparation;
use super::error::{Place, PrepareError, Refusal};

/// Bytes that are copied at once.
const PIECE_BYTES: usize = 128 << 10;

/// Whether a store path such as `data/x.i` is that of a standin.
pub(super) fn is_of_standin(path: &[u8]) -> bool {
    path.strip_prefix(b"data/").is_some_and(|path| path.starts_with(STANDINS))
}

impl Preparation<'_> {
    /// Takes a largefile, unless the repository has it already; whether it was new.
    ///
    /// # Errors
    /// Content that is not what the hash is of, or too much of it; `content` or the spool fails.
    pub fn add_largefile(&mut self, hash: LargefileHash, content: &mut dyn Read) -> Result<bool, PrepareError> {
        if self.snapshot.repository().largefile(hash)?.is_some() {
            return Ok(false);
        }
        let refused = |what| PrepareError::refused(what, Place::Largefile(hash));
        let (writer, limit) = (&mut self.spool.writer, self.spool.limits.change_bytes);
        // By rename: whoever asks for it meanwhile gets all of it or nothing.
        writer.begin_replace(&hash.path(), None)?;
        let mut found = Sha1::new();
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let bytes = match content.read(&mut piece) {
                Ok(0) => break,
                Ok(bytes) => bytes,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            if writer.data_bytes() + bytes as u64 > limit {
                return Err(refused(Refusal::Limit { limit, unit: "bytes" }));
            }
            found.update(&piece[..bytes]);
            writer.write(&piece[..bytes])?;
        }
        writer.end();
        match LargefileHash::new(found.finalize().into()) == hash {
            true => Ok(true),
            false => Err(refused(Refusal::Hash)),
        }
    }
}
