//! The authorities whose user certificates count: a file with a public key on each line.

use std::path::Path;
use std::sync::Arc;

use hgfleet_directory::{PublicKey, PublicKeyError};
use watched_file::WatchedFile;

use crate::options::MasterError;

/// Longest file, bytes.
const FILE_BYTES_MAX: u64 = 64 << 10;
/// Authorities in it.
const AUTHORITIES_MAX: usize = 32;

/// Why a file of authorities is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthoritiesError {
    /// A line is no key that may sign.
    #[error("line {line}: {error}")]
    Key {
        /// Which line, from 1.
        line: usize,
        /// What is wrong.
        error: PublicKeyError,
    },
    /// A security key.
    #[error("line {line}: an authority's key can't lie in a security key here: nobody sees whether it was touched")]
    SecurityKey {
        /// Which line, from 1.
        line: usize,
    },
    /// More than anybody has.
    #[error("there are more than {AUTHORITIES_MAX} keys in it")]
    TooMany,
}

/// The keys, as the file has them now.
#[derive(Debug, Default)]
pub(super) struct Authorities(Option<WatchedFile<Vec<PublicKey>, AuthoritiesError>>);

impl Authorities {
    /// Reads the file, where there is to be one.
    pub(super) fn open(path: Option<&Path>) -> Result<Authorities, MasterError> {
        let file = path.map(|path| WatchedFile::open(path.to_owned(), FILE_BYTES_MAX, parse)).transpose()?;
        Ok(Authorities(file))
    }

    pub(super) fn are_any(&self) -> bool {
        self.0.is_some()
    }

    pub(super) fn keys(&self) -> Arc<Vec<PublicKey>> {
        self.0.as_ref().map(WatchedFile::content).unwrap_or_default()
    }
}

fn parse(text: &[u8]) -> Result<Vec<PublicKey>, AuthoritiesError> {
    let mut keys = Vec::new();
    for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let line_number = index + 1;
        match PublicKey::parse_line(line) {
            Err(PublicKeyError::Empty) => {}
            Err(error) => return Err(AuthoritiesError::Key { line: line_number, error }),
            Ok(key) if key.algorithm().is_security_key() => {
                return Err(AuthoritiesError::SecurityKey { line: line_number });
            }
            Ok(_) if keys.len() == AUTHORITIES_MAX => return Err(AuthoritiesError::TooMany),
            Ok(key) => keys.push(key),
        }
    }
    Ok(keys)
}
