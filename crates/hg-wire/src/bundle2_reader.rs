//! Bundle2 streams coming in.
