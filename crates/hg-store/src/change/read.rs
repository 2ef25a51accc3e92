//! Reading a change.

use super::format::{
    HEAD_DIGEST_AT, HEADER_BYTES, MAGIC, OPERATIONS_MAX, VERSION, head_digest, rank, read_entry, u64_at,
};
use super::{ChangeError, Operation};

/// A change in a slice, usually of a mapping. It is checked as a whole before anything of it is handed out.
#[derive(Debug, Clone, Copy)]
pub struct ChangeRef<'a> {
    data: &'a [u8],
    table: &'a [u8],
    operations: u32,
    digest: &'a [u8; 32],
}

impl<'a> ChangeRef<'a> {
    /// Reads a change: format, bounds, digests, paths and order.
    ///
    /// # Errors
    /// What is wrong with it. Any altered, missing or added byte is found.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ChangeError> {
        let (header, rest) =
            bytes.split_first_chunk::<HEADER_BYTES>().ok_or(ChangeError::NotAChange("it is shorter than a header"))?;
        if !header.starts_with(MAGIC) {
            return Err(ChangeError::NotAChange("it begins with other bytes"));
        }
        let version = u16::from_be_bytes([header[8], header[9]]);
        if version != VERSION {
            return Err(ChangeError::Version(version));
        }
        let operations = u32::from_be_bytes([header[12], header[13], header[14], header[15]]);
        let data_bytes = u64_at(header, 16);
        let table_bytes = u64_at(header, 24);
        if data_bytes.checked_add(table_bytes) != Some(rest.len() as u64) {
            return Err(ChangeError::Damaged("it is not as long as its header says"));
        }
        let (data, table) = rest.split_at(data_bytes as usize);
        // Before a single entry is looked at: a table that passes was written by a `ChangeWriter`, or forged whole.
        if head_digest(&header[..HEAD_DIGEST_AT], table) != header[HEAD_DIGEST_AT..] {
            return Err(ChangeError::Damaged("its table does not have the digest that it says"));
        }
        if blake3::hash(data).as_bytes() != &header[32..HEAD_DIGEST_AT] {
            return Err(ChangeError::Damaged("its bytes do not have the digest that it says"));
        }
        if header[10..12] != [0, 0] || operations > OPERATIONS_MAX {
            return Err(ChangeError::Damaged("its header has an unknown value"));
        }
        check_table(data, table, operations)?;
        let digest = header.last_chunk().ok_or(ChangeError::NotAChange("it is shorter than a header"))?;
        Ok(Self { data, table, operations, digest })
    }

    /// Returns the operations, in the order in which they are applied.
    pub fn operations(&self) -> Operations<'a> {
        Operations { data: self.data, rest: self.table }
    }

    /// Returns a digest over the whole change.
    pub fn digest(&self) -> &'a [u8; 32] {
        self.digest
    }

    /// Returns how many operations there are.
    pub fn len(&self) -> usize {
        self.operations as usize
    }

    /// Returns whether there is no operation.
    pub fn is_empty(&self) -> bool {
        self.operations == 0
    }

    /// Returns how many bytes all operations write together.
    pub fn data_bytes(&self) -> u64 {
        self.data.len() as u64
    }
}

/// Checks each entry, that there are as many as `operations`, that they stand in order (so no path comes twice), and
/// that they use as many bytes as there are: a small change can't unfold into a large one.
fn check_table(data: &[u8], table: &[u8], operations: u32) -> Result<(), ChangeError> {
    let mut rest = table;
    let mut used = 0u64;
    let mut previous: Option<(u8, &[u8])> = None;
    for _ in 0..operations {
        let (operation, after) = read_entry(rest, data)?;
        let place = (rank(operation.path()), operation.path());
        if previous.is_some_and(|previous| previous >= place) {
            return Err(ChangeError::Damaged("its entries are out of order"));
        }
        previous = Some(place);
        used = used.saturating_add(operation.content().len());
        rest = after;
    }
    if !rest.is_empty() {
        return Err(ChangeError::Damaged("its table goes on after the last entry"));
    }
    if used != data.len() as u64 {
        return Err(ChangeError::Damaged("its entries don't use the bytes that it has"));
    }
    Ok(())
}

/// Iterator over a change's operations, in the order in which they are applied.
#[derive(Debug, Clone)]
pub struct Operations<'a> {
    data: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Iterator for Operations<'a> {
    type Item = Operation<'a>;

    fn next(&mut self) -> Option<Operation<'a>> {
        // `parse` has read every entry once, so the only error here is the end.
        let (operation, rest) = read_entry(self.rest, self.data).ok()?;
        self.rest = rest;
        Some(operation)
    }
}
