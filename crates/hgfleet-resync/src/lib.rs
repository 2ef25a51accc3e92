//! How a server's stores stay whole: it reads them again ([`scrub`](ScrubOptions)), and takes a copy of what is damaged,
//! or of what it lacks, from another server.
//!
//! Each server opens an inner *door*, `run/NAME.copies.sock`, over which it gives the others what a copy is made of, and
//! takes an operator's wish for one. It speaks HTTP/1.1 with messages in postcard's encoding; `docs/formats/copy.md` has
//! it. Only the fleet's own user can connect. What comes over it is checked all the same: paths, lengths, the hash of
//! each file, and the digest of all of them against the log's own record.
//!
//! A repository is copied beside what is there, and taken in by an exchange of folders
//! ([`hgfleet_replica::Replica::exchange`]). A copy that broke off goes on with what lies on disk.
//!
//! # Limitations
//! Peers are found by their sockets in the fleet's `run` folder: servers on other machines can't be asked yet.

mod body;
mod door;
mod gap;
mod host;
mod pace;
mod peer;
mod progress;
mod repair;
mod scrub;
mod take;
mod wire;

pub use gap::{GapError, Stock, stock_at, tail_before};
pub use host::{Held, Host};
pub use peer::{Peer, PeerError, peers};
pub use progress::Progress;
pub use repair::{Resync, StopOnDrop};
pub use wire::{RepositoryAnswer, ServerAnswer};

use std::path::PathBuf;
use std::time::Duration;

/// Ending of a door's name in the fleet's `run` folder.
pub const DOOR_ENDING: &str = ".copies.sock";

/// What a server is told about copies and scrubs.
#[derive(Debug, Clone)]
pub struct ResyncOptions {
    /// The fleet's folder of sockets.
    pub run: PathBuf,
    /// Bytes that all copies together take in a second; 0, as many as come.
    pub bytes_per_second: u64,
    /// How the stores are read again.
    pub scrub: ScrubOptions,
}

/// How a server reads its stores again.
#[derive(Debug, Clone)]
pub struct ScrubOptions {
    /// Bytes read in a second. None: as many as it takes to be through within [`Self::every`]. 0: never.
    pub bytes_per_second: Option<u64>,
    /// How old the last scrub of a repository may become.
    pub every: Duration,
}

impl Default for ScrubOptions {
    fn default() -> Self {
        Self { bytes_per_second: None, every: Duration::from_secs(20 * 3600) }
    }
}

impl ResyncOptions {
    /// The defaults, for the fleet with this folder of sockets.
    pub fn new(run: PathBuf) -> Self {
        Self { run, bytes_per_second: 200 << 20, scrub: ScrubOptions::default() }
    }
}
