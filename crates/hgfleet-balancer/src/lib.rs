//! hgfleet-balancer
