//! Numbers of the format that reading and writing share.

/// Decodes the extents of one operation: pairs of offset and length, 8 bytes each, little-endian.
pub(super) fn extents(encoded: &[u8]) -> impl Iterator<Item = (usize, usize)> + use<'_> {
    encoded.as_chunks::<16>().0.iter().map(|pair| {
        let word = u128::from_le_bytes(*pair);
        (word as u64 as usize, (word >> 64) as u64 as usize)
    })
}
