//! What the fleet as a whole shows its users, and which servers belong to it.

mod keeper;
mod mirror;

pub use keeper::{Keeper, KeeperTimes, ViewKeeper};
pub use mirror::MirrorService;

use serde::{Deserialize, Serialize};

use crate::ids::{Epoch, Incarnation, Sequence};

/// Most mirrors in a view.
pub const MIRRORS_MAX: usize = 1024;
/// A server that has said nothing for longer is out, in milliseconds.
pub const SILENT_MS: u64 = 4_000;
/// Longest name of a server, in bytes.
pub const SERVER_NAME_BYTES_MAX: usize = 64;

/// Which mirrors are in service, and up to where the whole fleet shows the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// The epoch under which it was written.
    pub epoch: Epoch,
    /// Grows by one with each view, over all epochs.
    pub version: u64,
    /// The visible position: every mirror in service has staged it. It never goes back. None: nothing is visible yet.
    pub visible: Option<Sequence>,
    /// The mirrors in service, by name.
    pub mirrors: Vec<MirrorInView>,
}

impl View {
    /// Returns whether this incarnation of this mirror is in service.
    pub fn names(&self, mirror: &MirrorInView) -> bool {
        self.mirrors.contains(mirror)
    }
}

/// One mirror, in one life of its disk.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MirrorInView {
    /// Its name in the configuration.
    pub name: String,
    /// Its disk's incarnation.
    pub incarnation: Incarnation,
}

/// What a server is in the fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Takes the pushes.
    Master,
    /// Ready to become master.
    Standby,
    /// Serves reads.
    Mirror,
    /// The front door.
    Balancer,
}

/// How a server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServerState {
    /// It serves.
    InService,
    /// It is behind, and works on it.
    CatchingUp,
    /// It ends what it has begun and takes nothing new.
    Draining,
    /// It doesn't serve.
    Out,
}

/// What a server says of itself with each heartbeat.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Member {
    /// Its name in the configuration.
    pub name: String,
    /// What it is.
    pub role: Role,
    /// How it is.
    pub state: ServerState,
    /// Where it listens.
    pub address: String,
    /// Its process.
    pub pid: u32,
    /// Its disk's incarnation, where it has one.
    pub incarnation: Option<Incarnation>,
    /// Up to where the log is durable on its disk.
    pub staged_position: Option<Sequence>,
    /// Up to where it has applied the log.
    pub position: Option<Sequence>,
    /// How long ago the oldest record was made that it has not applied, in seconds; 0 when it has all.
    pub lag_seconds: f64,
    /// Why it isn't in service, for people; empty when it is.
    pub reason: String,
    /// When it said this, by its own clock: Unix time in milliseconds.
    pub at_ms: u64,
    /// Its disk.
    pub disk: DiskUse,
}

impl Member {
    /// Returns for how long it has said nothing, in milliseconds, at this Unix time in milliseconds.
    pub fn silent_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.at_ms)
    }
}

/// Bytes on a server's disk, by what they are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskUse {
    /// The log.
    pub log_bytes: u64,
    /// Records staged and not yet in the stores.
    pub staged_bytes: u64,
    /// The stores.
    pub store_bytes: u64,
    /// What is free.
    pub free_bytes: u64,
}

macro_rules! words {
    ($type:ident { $($variant:ident => $word:literal),* $(,)? }) => {
        impl $type {
            /// Returns the word for it that `status` shows.
            pub const fn as_str(self) -> &'static str {
                match self { $($type::$variant => $word),* }
            }

            /// Returns what the word stands for.
            pub fn from_word(word: &str) -> Option<$type> {
                match word { $($word => Some($type::$variant),)* _ => None }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words!(Role { Master => "master", Standby => "standby", Mirror => "mirror", Balancer => "balancer" });
words!(ServerState {
    InService => "in-service",
    CatchingUp => "catching-up",
    Draining => "draining",
    Out => "out",
});
