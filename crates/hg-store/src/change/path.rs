//! Which paths a change may name, and which files a store's digest leaves out.

use std::fmt;

use crate::largefiles::{is_dirstate, is_largefile};

/// Longest path, in bytes.
pub const PATH_BYTES_MAX: usize = 4096;
/// Longest part of a path, in bytes (what file systems take).
const PART_BYTES_MAX: usize = 255;

/// Files beside `store/` that a change may name. All else at the top of `.hg` is a working copy's, a cache or not ours.
const TOP_FILES: [&[u8]; 4] = [b"00changelog.i", b"bookmarks", b"hgrc", b"requires"];
/// Files that name bundles.
const MANIFESTS: [&[u8]; 2] = [b"clonebundles.manifest", b"pullbundles.manifest"];
/// The folder of bundles that are handed out as files; each lies in it and not deeper.
const BUNDLES: &[u8] = b"bundle-cache/";

/// A path that no change may touch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("path {path:?} may not be part of a change: {issue}")]
pub struct PathError {
    /// The path, printable.
    pub path: String,
    /// What is wrong with it.
    pub issue: PathIssue,
}

/// What is wrong with a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathIssue {
    /// Empty, or with an empty part (absolute paths begin with one).
    EmptyPart,
    /// Too long, as a whole or in one part.
    TooLong,
    /// A part that is `.` or `..`.
    Dots,
    /// A byte that no encoded store path has: control characters, NUL, backslash, anything past ASCII.
    Byte,
    /// A lock, journal, cache or other place that is no part of a store's state.
    Excluded,
    /// Neither below `store/` nor one of the known files beside it, nor a bundle.
    Unknown,
}

impl fmt::Display for PathIssue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EmptyPart => "it has an empty part",
            Self::TooLong => "it is too long",
            Self::Dots => "it has a part that is . or ..",
            Self::Byte => "it has a byte that no store path has",
            Self::Excluded => "it is no part of a store's state",
            Self::Unknown => "it is no known part of a store",
        })
    }
}

/// Checks that `path`, relative to `.hg`, is one that a change may name.
///
/// # Errors
/// The path and the first thing that is wrong with it.
pub fn check_path(path: &[u8]) -> Result<(), PathError> {
    match issue_of(path) {
        None => Ok(()),
        Some(issue) => Err(PathError { path: path.escape_ascii().to_string(), issue }),
    }
}

/// Whether a client's push may alter the file at this path: settings and bundles are the operators'.
pub fn is_of_a_push(path: &[u8]) -> bool {
    path.starts_with(b"store/") || matches!(path, b"bookmarks" | b"requires") || is_largefile(path)
}

/// Whether the file at this path is a clone or pull bundle, or names them.
pub fn is_of_bundles(path: &[u8]) -> bool {
    path.starts_with(BUNDLES) || MANIFESTS.contains(&path)
}

fn issue_of(path: &[u8]) -> Option<PathIssue> {
    if path.len() > PATH_BYTES_MAX {
        return Some(PathIssue::TooLong);
    }
    for part in path.split(|&byte| byte == b'/') {
        match part {
            b"" => return Some(PathIssue::EmptyPart),
            b"." | b".." => return Some(PathIssue::Dots),
            _ if part.len() > PART_BYTES_MAX => return Some(PathIssue::TooLong),
            _ if !part.iter().all(|&byte| matches!(byte, b' '..=b'~') && byte != b'\\') => {
                return Some(PathIssue::Byte);
            }
            _ => {}
        }
    }
    if is_excluded(path) {
        return Some(PathIssue::Excluded);
    }
    let is_deeper = path.strip_prefix(BUNDLES).is_some_and(|name| name.contains(&b'/'));
    let is_beside = TOP_FILES.contains(&path) || is_largefile(path) || (is_of_bundles(path) && !is_deeper);
    (!path.starts_with(b"store/") && !is_beside).then_some(PathIssue::Unknown)
}

/// Returns whether the file at `path`, relative to `.hg`, is no part of a store's state: caches, locks, what
/// transactions leave, a working copy's own files. By place and not by name alone: a tracked file `undo.backup.x` is
/// `store/data/undo.backup.x.i` and counts.
pub fn is_excluded(path: &[u8]) -> bool {
    let (in_store, below) = match path.strip_prefix(b"store/") {
        Some(below) => (true, below),
        None => (false, path),
    };
    let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
    if (name.starts_with(b"undo.backup.") || name.starts_with(b"journal.backup.")) && name.ends_with(b".bck") {
        return true;
    }
    let at_top = !below.contains(&b'/');
    if at_top && (name.starts_with(b"undo") || name.starts_with(b"journal")) {
        return true;
    }
    if in_store {
        // `lock.break` is what stock holds while it removes a dead owner's lock.
        return below.starts_with(b"data-s/") || matches!(below, b"lock" | b"lock.break");
    }
    below.starts_with(b"cache/")
        || is_dirstate(below)
        || below.starts_with(b"wcache/")
        || (at_top
            && (name.starts_with(b"dirstate")
                || matches!(name, b"wlock" | b"wlock.break" | b"branch" | b"last-message.txt")))
}
