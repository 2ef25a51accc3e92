//! The format's numbers, and the table's entries. `docs/formats/change.md` says the same in words.

use super::path::check_path;
use super::{ChangeError, Content, Operation};

/// First bytes of a change.
pub(super) const MAGIC: &[u8; 8] = b"hgchange";
/// The one version there is so far.
pub(super) const VERSION: u16 = 1;
/// Bytes of the header.
pub(super) const HEADER_BYTES: usize = 96;
/// Where in the header the digest over header and table lies; it covers what is before it.
pub(super) const HEAD_DIGEST_AT: usize = 64;
/// Bytes of an entry without its path and extents.
const ENTRY_BYTES: usize = 24;
/// Bytes of one extent.
const EXTENT_BYTES: usize = 16;
/// Most operations of one change.
pub(super) const OPERATIONS_MAX: u32 = 1 << 24;
/// Longest file that a change may make: what a revlog's 48-bit offsets can reach.
const FILE_BYTES_MAX: u64 = 1 << 48;
/// Most bytes of a change's run.
pub(super) const DATA_BYTES_MAX: u64 = 1 << 48;

/// What an entry asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Create,
    Append,
    Replace,
    Remove,
}

impl Kind {
    fn code(self) -> u8 {
        match self {
            Self::Create => 1,
            Self::Append => 2,
            Self::Replace => 3,
            Self::Remove => 4,
        }
    }
}

/// Returns where in the order of application a path stands. Any prefix of that order leaves the old state to a
/// reader: a revision is in its revlog before the changelog names it, a `.d` is whole before its `.i` names it, and
/// the small files that name changesets come when these exist.
pub(super) fn rank(path: &[u8]) -> u8 {
    match path {
        b"store/fncache" => 2,
        b"store/00manifest.d" => 3,
        b"store/00manifest.i" => 4,
        b"store/phaseroots" => 5,
        b"store/00changelog.d" => 6,
        b"store/00changelog.i" => 7,
        b"store/obsstore" => 8,
        b"store/bookmarks" | b"bookmarks" => 9,
        _ if !path.starts_with(b"store/") => 10,
        // Not by file: the names of a long path's `.i` and `.d` are hashes that have nothing in common.
        _ if path.ends_with(b".d") => 0,
        _ => 1,
    }
}

/// Writes one entry of the table.
pub(super) fn write_entry(
    table: &mut Vec<u8>,
    kind: Kind,
    path: &[u8],
    old_bytes: Option<u64>,
    extents: &[(u64, u64)],
) -> Result<(), ChangeError> {
    let too_large = |what, limit| ChangeError::TooLarge { what, limit };
    let path_bytes = u16::try_from(path.len()).map_err(|_| too_large("bytes in a path", u16::MAX.into()))?;
    let count = u32::try_from(extents.len()).map_err(|_| too_large("pieces of a file", u32::MAX.into()))?;
    let bytes: u64 = extents.iter().map(|&(_, len)| len).sum();
    if old_bytes.unwrap_or(0).saturating_add(bytes) > FILE_BYTES_MAX {
        return Err(too_large("bytes in a file", FILE_BYTES_MAX));
    }
    table.push(kind.code());
    table.push(old_bytes.is_some().into());
    table.extend_from_slice(&path_bytes.to_be_bytes());
    table.extend_from_slice(&count.to_be_bytes());
    table.extend_from_slice(&old_bytes.unwrap_or(0).to_be_bytes());
    table.extend_from_slice(&bytes.to_be_bytes());
    table.extend_from_slice(path);
    for (offset, len) in extents {
        table.extend_from_slice(&offset.to_be_bytes());
        table.extend_from_slice(&len.to_be_bytes());
    }
    Ok(())
}

/// Reads the first entry of `table`; returns it with what follows. Everything about it is checked but its place in
/// the order.
pub(super) fn read_entry<'a>(table: &'a [u8], data: &'a [u8]) -> Result<(Operation<'a>, &'a [u8]), ChangeError> {
    const CUT: ChangeError = ChangeError::Damaged("the table ends within an entry");
    let (head, rest) = table.split_first_chunk::<ENTRY_BYTES>().ok_or(CUT)?;
    let path_bytes = u16::from_be_bytes([head[2], head[3]]) as usize;
    let count = u32::from_be_bytes([head[4], head[5], head[6], head[7]]) as usize;
    let old = u64_at(head, 8);
    let bytes = u64_at(head, 16);
    let (path, rest) = rest.split_at_checked(path_bytes).ok_or(CUT)?;
    let (extents, rest) = rest.split_at_checked(count.saturating_mul(EXTENT_BYTES)).ok_or(CUT)?;
    check_path(path)?;
    let mut sum = 0u64;
    for (offset, len) in self::extents(extents) {
        let end = offset.checked_add(len).filter(|&end| end <= data.len() as u64);
        if end.is_none() || len == 0 {
            return Err(ChangeError::Damaged("a piece lies outside the change"));
        }
        sum = sum.saturating_add(len);
    }
    if sum != bytes || old.saturating_add(bytes) > FILE_BYTES_MAX {
        return Err(ChangeError::Damaged("the lengths of an entry don't add up"));
    }
    let has_old = match (head[1], old) {
        (0, 0) => false,
        (1, _) => true,
        _ => return Err(ChangeError::Damaged("an entry has an unknown flag")),
    };
    let content = Content { data, extents, bytes };
    let operation = match (head[0], has_old) {
        (1, false) => Operation::Create { path, bytes: content },
        (2, true) => Operation::Append { path, old_bytes: old, bytes: content },
        (3, _) => Operation::Replace { path, old_bytes: has_old.then_some(old), bytes: content },
        (4, true) if bytes == 0 => Operation::Remove { path, old_bytes: old },
        _ => return Err(ChangeError::Damaged("an entry is of no known kind")),
    };
    Ok((operation, rest))
}

/// Decodes an entry's extents: pairs of offset and length, in bytes.
pub(super) fn extents(encoded: &[u8]) -> impl Iterator<Item = (u64, u64)> + use<'_> {
    let (pairs, _) = encoded.as_chunks::<EXTENT_BYTES>();
    pairs.iter().map(|pair| (u64_at(pair, 0), u64_at(pair, 8)))
}

/// Reads a number at a constant place of a fixed array.
pub(super) fn u64_at<const N: usize>(bytes: &[u8; N], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_be_bytes(word)
}

/// The digest over header and table.
pub(super) fn head_digest(header: &[u8], table: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(header);
    hasher.update(table);
    hasher.finalize().into()
}
