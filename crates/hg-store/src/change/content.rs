//! The bytes of one operation.

use std::borrow::Cow;

/// The bytes of one operation: pieces of the change's run of bytes, in order.
#[derive(Debug, Clone, Default)]
pub struct Content<'a> {
    /// The change's run of bytes.
    pub(super) data: &'a [u8],
    /// Encoded extents: pairs of offset and length, checked by `ChangeRef::parse`.
    pub(super) extents: &'a [u8],
    /// Sum of the extents' lengths, in bytes.
    pub(super) bytes: u64,
}

impl<'a> Content<'a> {
    /// Returns the length, in bytes.
    pub fn len(&self) -> u64 {
        self.bytes
    }

    /// Returns whether there is no byte.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Returns the pieces, in order.
    pub fn pieces(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let data = self.data;
        super::format::extents(self.extents).map(move |(offset, len)| {
            // `parse` has looked at every extent; an empty slice here would be a fault of this module.
            let (start, end) = (offset as usize, (offset + len) as usize);
            data.get(start..end).unwrap_or_default()
        })
    }

    /// Returns all of it in one slice, copied only where it has several pieces.
    pub fn contiguous(&self) -> Cow<'a, [u8]> {
        let mut pieces = self.pieces();
        match (pieces.next(), pieces.next()) {
            (None, _) => Cow::Borrowed(&[]),
            (Some(only), None) => Cow::Borrowed(only),
            (Some(first), Some(second)) => {
                let mut all = Vec::with_capacity(self.bytes as usize);
                all.extend_from_slice(first);
                all.extend_from_slice(second);
                pieces.for_each(|piece| all.extend_from_slice(piece));
                Cow::Owned(all)
            }
        }
    }
}
