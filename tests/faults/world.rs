//! What all parts of a run share.

use super::found::Found;
use super::machine::Machine;
use super::pusher::Ledger;
use super::reader::Reads;
use crate::support::fleet::Fleet;
use std::path::PathBuf;
use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// What is known of a fleet, whatever it runs on.
#[derive(Default)]
pub struct Shared {
    /// The pushes to each repository
    pub ledgers: Vec<Ledger>,
    /// What readers met
    pub reads: Reads,
    /// What does not hold
    pub found: Found,
    /// Whether some servers can't reach others: a door that is cut off shows what it had
    pub cut_off: AtomicBool,
    /// Nothing more is pushed
    pub stop_pushing: AtomicBool,
    /// Nothing more is read
    pub stop_reading: AtomicBool,
}

impl Shared {
    /// Nothing was pushed to these repositories yet.
    pub fn new(repositories: &[&'static str]) -> Shared {
        Shared { ledgers: repositories.iter().map(|name| Ledger::new(name)).collect(), ..Shared::default() }
    }

    /// Whether readers go on.
    pub fn is_read(&self) -> bool {
        !self.stop_reading.load(Ordering::Relaxed)
    }
}

/// A fleet under which the machine misbehaves, and what is known of it.
pub struct World {
    /// The fleet
    pub fleet: Fleet,
    /// The machine under it
    pub machine: Machine,
    /// The folder of `HGFLEET_STOP_AT`
    pub steps: PathBuf,
    /// What is known of it
    pub shared: Shared,
    /// Written where the log's files are exchanged, so that nobody looks meanwhile
    pub log_in_use: RwLock<()>,
    /// How often the power was cut
    pub power_cuts: AtomicUsize,
}
