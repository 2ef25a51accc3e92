//! Mercurial's deltas: hunks of (start, end, length: 4 bytes each, big-endian) and the bytes that replace `start..end`.

/// A delta can't be applied to its base.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeltaError {
    /// A hunk's header or bytes end after the delta does.
    #[error("delta ends within a hunk")]
    Cut,
    /// A hunk starts before the one before has ended, or ends before it starts.
    #[error("hunks out of order")]
    Order,
    /// A hunk ends past the text that it changes.
    #[error("hunk ends past its base")]
    PastEnd,
    /// The text would be longer than the bound.
    #[error("text is longer than {bound} bytes")]
    TooLong {
        /// Bytes that were allowed.
        bound: usize,
    },
}

/// Applies one delta. The result may have at most `bound` bytes.
pub fn apply(base: &[u8], delta: &[u8], bound: usize) -> Result<Vec<u8>, DeltaError> {
    let _ = (base, delta, bound);
    todo!()
}

/// Applies deltas one after the other, without building the texts between. Each text may have at most `bound` bytes.
pub fn apply_chain(base: &[u8], deltas: &[&[u8]], bound: usize) -> Result<Vec<u8>, DeltaError> {
    let _ = (base, deltas, bound);
    todo!()
}

/// A delta that makes `new` from `old`, hunks at line ends. Empty when they are equal.
pub fn diff(old: &[u8], new: &[u8]) -> Vec<u8> {
    let _ = (old, new);
    todo!()
}
