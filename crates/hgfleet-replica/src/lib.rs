//! One server's copy of the stores: what it has applied, and how it gets from one record to the next.
//!
//! A [`Replica`] is a server's folder: the repositories, and `state.sqlite` beside them, which keeps for each
//! repository its sequence, its digest, its snapshot's lengths and small files, and how far all of it is on disk.
//! Master, standby and mirrors have one each and use it alike.
//!
//! ```text
//! SERVER/repos/NAME/.hg    the repositories
//!        deleted/SEQUENCE  what a record deleted, until another one gives it up
//!        old/SEQUENCE.NUMBER  what another store has taken the place of, until its readers have ended
//!        new/SEQUENCE      what a record is making
//!        copy/SEQUENCE     what is being copied from another server, of the repository that a record made
//!        altered/          what a copy has taken the place of, and somebody had written to
//!        index/SEQUENCE    what speeds up reading the repository that a record made
//!        state.sqlite      sequences, digests, snapshots' lengths, nodes of the digests
//! ```
//!
//! In a [`Volume`] that several servers share, the folder is a tree of one epoch, and repositories may lie in older trees, which
//! are only read; they are copied before anything is written to them.
//!
//! Repositories are independent: whatever is wrong with one puts it into quarantine and stops none of the others.
//!
//! # What is on disk when
//!
//! The log has a record before anything here is written, so whatever a crash tears can be written again. Before the
//! first byte of a change the repository's *intent* is committed to `state.sqlite`, after the last one its sequence,
//! digest and lengths; neither commit is fsynced on the way of a push, nor is the data. A thread of the replica's own
//! fsyncs the data, commits the *durable sequence*, and fsyncs the commits, in this order.
//!
//! * A killed process loses nothing that it wrote: the kept intent is exact, and redoing from the durable sequence to
//!   the intent makes the store whole.
//! * A power cut may take any commit that was not fsynced (the later ones first) and any part of the data above the
//!   durable sequence. So the kept intent may be too low. After a boot of the machine the redo therefore goes on to the
//!   highest record that may have been begun, which the caller of [`Replica::recover`] knows from the log.
//! * What is durable is never redone from: the commit of a durable sequence comes after the fsync of its data, and it
//!   counts (for trimming the log) only after its own.

mod alter;
mod barrier;
mod copy;
mod error;
mod exchange;
mod folders;
mod jump;
mod lifecycle;
mod listing;
mod position;
mod recover;
mod replica;
mod repository;
mod scrub;
mod state;
mod status;
mod sync;
mod tree;
mod volume;

pub use error::ReplicaError;
pub use exchange::Copied;
pub use jump::Theirs;
pub use listing::{ListedFile, Listing};
pub use recover::{Fetched, Recovery, RedoSource};
pub use replica::{Outcome, Replica};
pub use scrub::{ALTERED, Scrubbed};
pub use status::{DeletedRepository, FolderId, RepositorySnapshot, RepositoryStatus};
pub use volume::{TreeNote, Volume};

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
