//! Both backends answer alike, and LDAP bears what servers and entries do to it.

#![allow(clippy::unwrap_used)]

mod conformance;
mod entries;
mod fake;
mod limits;
mod slapd;
mod transport;
