//! The commands that read.
