//! A mirror: a read-only server with a disk of its own, fed by the log alone.
//!
//! The way of a record, in order: [`follow`](self) reads it from the log, *stages* it (durable on
//! this mirror's disk, acknowledged to the master), *shows* it (applied to the store) once the
//! master says that the whole fleet may, and serves it over HTTP.

pub mod http;
mod options;

use std::future::Future;

pub use options::{MirrorError, MirrorOptions, MirrorTimes};

/// Runs one mirror until `shutdown` completes, then ends it in an orderly way: no new requests,
/// those that run get `MirrorTimes::drain` to end.
///
/// Needs a tokio runtime with more than one thread: applying and reading stores block.
///
/// # Errors
///
/// What keeps a mirror from starting: a folder that can't be used, a socket that can't be bound.
/// Later trouble (log away, master away, one repository damaged) is logged and lived with.
pub async fn run(
    options: MirrorOptions,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), MirrorError> {
    let _ = (options, shutdown);
    todo!()
}
