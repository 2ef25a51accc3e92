//! hg-wire
