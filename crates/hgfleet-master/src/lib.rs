//! hgfleet-master
