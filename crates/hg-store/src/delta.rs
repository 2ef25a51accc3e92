//! Mercurial's deltas: hunks of (start, end, length: 4 bytes each, big-endian) and the bytes that replace `start..end`.

mod apply;
mod diff;
#[cfg(test)]
mod tests;

pub use apply::{Hunk, apply, apply_chain, apply_into, hunks};
pub use diff::diff;

/// A delta can't be applied to its base.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeltaError {
    /// A hunk's header or bytes end after the delta does.
    #[error("delta ends within a hunk")]
    Cut,
    /// A hunk starts before the one before has ended, or ends before it starts.
    #[error("delta has hunks out of order")]
    Order,
    /// A hunk ends past the text that it changes.
    #[error("delta has a hunk that ends past its base")]
    PastEnd,
    /// The text would be longer than the bound.
    #[error("delta makes a text of more than {bound} bytes")]
    TooLong {
        /// Bytes that were allowed.
        bound: usize,
    },
}
