//! hg-store
