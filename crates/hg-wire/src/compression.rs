//! Compression of streams.
