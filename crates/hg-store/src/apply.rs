//! Applies a change to a store.
