//! hgfleet-log
