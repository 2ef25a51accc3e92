//! The digest of a store's state.
