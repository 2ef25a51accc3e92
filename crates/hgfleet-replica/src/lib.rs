//! hgfleet-replica
