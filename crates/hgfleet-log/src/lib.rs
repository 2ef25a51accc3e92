//! The log of a fleet: records, the backends that keep them, epochs and the lease, the view and the
//! membership of mirrors, and how a server follows all of it.
//!
//! A **record** ([`Record`]) is one change of the fleet's state, complete and checksummed; what the change
//! of a store looks like inside is opaque here. The **log** ([`Log`]) is the durable, totally ordered
//! sequence of records, and it alone decides who may append: each append names the sequence that it
//! expects to follow and the epoch under which it is made. [`EmbeddedLog`] keeps a log in SQLite, for one
//! machine, [`JetStreamLog`] in a NATS cluster; [`LogLocation`] opens whichever a fleet has. A server reads a log through a [`Follower`], which checks that nothing is missing, doubled,
//! forged or out of order. [`membership`] says what the whole fleet shows its users, [`stream`] is how
//! master and mirrors tell each other.
//!
//! # Limitations
//! Nothing here reads or writes a Mercurial store, and nothing here decides what a push may do.

mod clock;
mod embedded;
mod follower;
pub mod holder;
mod ids;
mod jetstream;
mod lease;
mod location;
mod log;
pub mod membership;
mod name;
pub mod planted;
mod record;
pub mod sockets;
pub mod stop_at;
pub mod stream;
pub mod upload;
pub mod wanted;

pub use clock::boot_time;
pub use embedded::EmbeddedLog;
pub use follower::{Divergence, Follower};
pub use ids::{ChainHash, Epoch, Incarnation, LogId, NotHex, OutOfRange, RecordId, Sequence};
pub use jetstream::{JetStreamLog, JetStreamOptions, TlsFiles};
pub use lease::{LeaseHold, LeaseWatch};
pub use location::{Access, LogLocation, OpenLog};
pub use log::{
    AppendError, Draft, Lease, LeaseError, Log, LogError, Payload, READ_ONLY_BYTES_MAX, Refusal, StoredValue, Tail,
    VALUE_BYTES_MAX, ValueError, ViewError,
};
pub use membership::{DiskUse, Member, MirrorInView, Role, ServerState, View};
pub use name::{NameError, RepositoryName};
pub use record::{Body, ChangePayload, Record, RecordError, StoreKind, StoreRecord, limits};
pub use stop_at::stop_at;
