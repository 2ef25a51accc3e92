//! One server's copy of the stores: what it has applied, and how it gets from one record to the next.
//!
//! A [`Replica`] is a server's folder: the repositories, and `state.sqlite` beside them, which keeps for each
//! repository its sequence, its digest, its snapshot's lengths and small files, and how far all of it is on disk.
//! Master, standby and mirrors have one each and use it alike.
//!
//! Repositories are independent: whatever is wrong with one puts it into quarantine and stops none of the others.

mod error;
mod replica;
mod status;

pub use error::ReplicaError;
pub use replica::{Outcome, Recovery, RedoSource, Replica};
pub use status::{RepositorySnapshot, RepositoryStatus};
