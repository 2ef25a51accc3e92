//! The text of a manifest: sorted lines `path NUL 40hex [flag] LF`.

use crate::Node;

/// A manifest's text is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("manifest {what}")]
pub struct ManifestError {
    what: &'static str,
}

/// What a tracked file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flag {
    /// An ordinary file.
    Plain,
    /// An executable file, `x`.
    Executable,
    /// A symbolic link, `l`.
    Link,
}

/// One line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ManifestLine<'a> {
    /// The tracked file.
    pub path: &'a [u8],
    /// Its revision.
    pub node: Node,
    /// What it is.
    pub flag: Flag,
}

/// The lines in order. Order is checked: a line that isn't above the one before is an error. Ends after an error.
pub fn lines(text: &[u8]) -> impl Iterator<Item = Result<ManifestLine<'_>, ManifestError>> {
    let _ = text;
    std::iter::from_fn(|| todo!())
}

/// The line of one path, by binary search.
pub fn find<'a>(text: &'a [u8], path: &[u8]) -> Result<Option<ManifestLine<'a>>, ManifestError> {
    let _ = (text, path);
    todo!()
}
