//! Repositories over HTTP/1.1: what the mirror and `hgfleet web` share.
//!
//! [`serve`] accepts connections of a listener (TCP or Unix) and hands requests to a [`Service`]; [`answer`] answers
//! one request from a set of [`Repositories`]: a command of the wire protocol when the query has `cmd`, else a page.
//!
//! Bounds, all of them for one connection: [`HEAD_SECONDS_MAX`] for a request's head (and between two requests),
//! [`HEADERS_MAX`] header fields, [`HEAD_BYTES_MAX`] of head; a body must come at [`BODY_BYTES_PER_SECOND_MIN`]; a client
//! that takes nothing of its answer for [`IDLE_SECONDS_MAX`] is cut. No lock is held meanwhile, only a mapping of the
//! store.

mod answer;
mod bundle_cache;
mod checks;
mod folders;
mod lfs;
mod listener;
mod repositories;
mod request_body;
mod response_body;
mod serve;
mod site;
#[cfg(test)]
mod tests;
mod timed_io;

pub(crate) use answer::CHALLENGE;
pub use answer::answer;
pub use bundle_cache::BundleCache;
pub use folders::{Folders, FoldersError, Root};
pub use listener::Listener;
pub use repositories::{Absent, Addresses, NotServed, Repositories};
pub use response_body::ResponseBody;
pub use serve::{FromRepositories, Peer, Service, serve};
pub use site::{NoteAccess, Site};

/// A request's head must be complete after this time, and a connection that is kept open must bring the next one.
pub const HEAD_SECONDS_MAX: u64 = 10;
/// Header fields of one request. Clients that can't post arguments cut them into fields of 1,024 bytes.
pub const HEADERS_MAX: usize = 1_024;
/// Bytes of a request's head.
pub const HEAD_BYTES_MAX: usize = 1_280 * 1_024;
/// Bytes of one header field's value.
pub const HEADER_BYTES_MAX: usize = 16 * 1_024;
/// A body must come at least this fast, after the first 30 s.
pub const BODY_BYTES_PER_SECOND_MIN: u64 = 4 * 1_024;
/// A client that takes no byte of an answer for this time is cut.
pub const IDLE_SECONDS_MAX: u64 = 60;
/// Connections of one listener; further ones wait to be accepted.
pub const CONNECTIONS_MAX: u32 = 4_096;
