//! The text of a changeset.

use crate::Node;

/// A changeset's text is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("changeset {what}")]
pub struct ChangesetError {
    what: &'static str,
}

/// One changeset: manifest, user, time, extra, files, description.
///
/// Format: `40hex LF user LF seconds offset[ extra] LF`, files one a line, an empty line, the description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changeset {
    /// The manifest; null when the changeset tracks no file.
    pub manifest: Node,
    /// Who made it.
    pub user: Vec<u8>,
    /// When, in seconds since 1970.
    pub time: i64,
    /// Seconds west of UTC.
    pub offset: i32,
    /// Keys and values in the order of the text, unescaped. `branch` is left out for branch `default`.
    pub extra: Vec<(Vec<u8>, Vec<u8>)>,
    /// Files that it touched.
    pub files: Vec<Vec<u8>>,
    /// What it says.
    pub description: Vec<u8>,
}

impl Changeset {
    /// Parses a text; strict, since both stores and clients bring them.
    pub fn parse(text: &[u8]) -> Result<Changeset, ChangesetError> {
        let _ = text;
        todo!()
    }

    /// The value of an extra key.
    pub fn extra_value(&self, key: &[u8]) -> Option<&[u8]> {
        self.extra
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value.as_slice())
    }

    /// The named branch that it is on.
    pub fn branch(&self) -> &[u8] {
        self.extra_value(b"branch").unwrap_or(b"default")
    }

    /// Whether it closes its branch's head.
    pub fn closes_branch(&self) -> bool {
        self.extra_value(b"close").is_some()
    }
}
