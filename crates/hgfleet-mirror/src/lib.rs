//! hgfleet-mirror
