//! hgfleet-directory
