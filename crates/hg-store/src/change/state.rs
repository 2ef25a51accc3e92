//! What a snapshot's state is after a change, told from the change alone.

use super::{ChangeError, ChangeRef, Operation};
use crate::repository::BUNDLES_BYTES_MAX;
use crate::{RevlogExtent, SnapshotState};

/// Bytes of a revlog's index entry.
const ENTRY_BYTES: u64 = 64;

impl ChangeRef<'_> {
    /// Returns the state of the repository after this change, `before` being the one that it was made for. No file is
    /// read.
    ///
    /// # Errors
    /// An index that ends within an entry.
    pub fn state_after(&self, before: &SnapshotState) -> Result<SnapshotState, ChangeError> {
        let mut after = before.clone();
        // `.d` comes before `.i` in the order of operations: by then it is known whether there is one.
        for operation in self.operations() {
            match operation.path() {
                b"store/00changelog.d" => after.changelog.data_bytes = bytes_after(&operation),
                b"store/00manifest.d" => after.manifest.data_bytes = bytes_after(&operation),
                b"store/00changelog.i" => after.changelog = index_after(after.changelog, &operation)?,
                b"store/00manifest.i" => after.manifest = index_after(after.manifest, &operation)?,
                b"store/obsstore" => after.obsstore_bytes = bytes_after(&operation),
                b"store/fncache" => after.fncache_bytes = bytes_after(&operation),
                b"store/phaseroots" => after.phaseroots = content_after(after.phaseroots, &operation),
                b"store/bookmarks" | b"bookmarks" => after.bookmarks = content_after(after.bookmarks, &operation),
                b"hgrc" => after.hgrc = content_after(after.hgrc, &operation),
                b"clonebundles.manifest" => after.clonebundles = manifest_after(after.clonebundles, &operation),
                b"pullbundles.manifest" => after.pullbundles = manifest_after(after.pullbundles, &operation),
                _ => {}
            }
        }
        Ok(after)
    }
}

/// Returns a file's length after an operation.
fn bytes_after(operation: &Operation<'_>) -> u64 {
    match operation {
        Operation::Append { old_bytes, bytes, .. } => old_bytes + bytes.len(),
        other => other.content().len(),
    }
}

fn content_after(before: Option<Vec<u8>>, operation: &Operation<'_>) -> Option<Vec<u8>> {
    let added = operation.content().contiguous();
    match operation {
        Operation::Remove { .. } => None,
        Operation::Append { .. } => {
            let mut content = before.unwrap_or_default();
            content.extend_from_slice(&added);
            Some(content)
        }
        Operation::Create { .. } | Operation::Replace { .. } => Some(added.into_owned()),
    }
}

/// The same of a manifest of bundles; one that is longer than it may be counts as absent, here as where it is read from disk.
fn manifest_after(before: Option<Vec<u8>>, operation: &Operation<'_>) -> Option<Vec<u8>> {
    if bytes_after(operation) > BUNDLES_BYTES_MAX {
        return None;
    }
    content_after(before, operation)
}

/// Counts the revisions that an operation on an index adds; `extent` has the data's length after the change.
fn index_after(extent: RevlogExtent, operation: &Operation<'_>) -> Result<RevlogExtent, ChangeError> {
    const CUT: ChangeError = ChangeError::Damaged("an index ends within an entry");
    let added = operation.content().contiguous();
    let index_bytes = bytes_after(operation);
    let begins = index_bytes == added.len() as u64;
    let before = if begins { 0 } else { extent.revisions };
    // The first entry says whether data follows each entry. Later ones don't, but then there is data beside it; or none
    // at all, and both ways of counting come to the same.
    let inline = match added.first_chunk::<4>() {
        Some(header) if begins => u32::from_be_bytes(*header) & 1 << 16 != 0,
        _ => extent.data_bytes == 0,
    };
    let mut revisions = u64::from(before);
    if !inline {
        if !(added.len() as u64).is_multiple_of(ENTRY_BYTES) {
            return Err(CUT);
        }
        revisions += added.len() as u64 / ENTRY_BYTES;
    } else {
        let mut rest = &added[..];
        while !rest.is_empty() {
            let (entry, after) = rest.split_first_chunk::<64>().ok_or(CUT)?;
            let chunk = u32::from_be_bytes([entry[8], entry[9], entry[10], entry[11]]) as usize;
            rest = after.get(chunk..).ok_or(CUT)?;
            revisions += 1;
        }
    }
    let revisions = u32::try_from(revisions).map_err(|_| CUT)?;
    let data_bytes = if inline { 0 } else { extent.data_bytes };
    Ok(RevlogExtent { revisions, index_bytes, data_bytes })
}
