//! Mercurial's configuration grammar, as far as a repository's `hgrc` needs it.
//!
//! Sections, `key = value`, continuation lines, comments, `%unset`. `%include` is never followed.

/// Sections, keys and values in the order of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    _private: (),
}

/// A line that isn't one of the grammar.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: unexpected text")]
pub struct ConfigError {
    /// The line, counted from 1.
    pub line: usize,
}

impl Config {
    /// Parses a file's content.
    pub fn parse(bytes: &[u8]) -> Result<Config, ConfigError> {
        let _ = bytes;
        todo!()
    }

    /// The last value of a key.
    pub fn get(&self, section: &[u8], key: &[u8]) -> Option<&[u8]> {
        let _ = (section, key);
        todo!()
    }

    /// A truth value: `yes`, `on`, `true`, `1`, `always` and their opposites, of any case; else `None`.
    pub fn get_bool(&self, section: &[u8], key: &[u8]) -> Option<bool> {
        let _ = (section, key);
        todo!()
    }

    /// All keys of a section with their values.
    pub fn section(&self, section: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
        let _ = section;
        std::iter::from_fn(|| todo!())
    }
}
