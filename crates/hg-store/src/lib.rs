//! One Mercurial repository on disk: read it, take a snapshot of it, digest it, prepare a change, apply one.
//!
//! A [`Repository`] is a folder with `.hg`; a [`Snapshot`] is that repository as it was at one moment: lengths of its
//! growing files and the contents of its small ones ([`SnapshotState`]). Everything that a reader sees comes from a
//! snapshot, so an apply that goes on beside it is never seen. Files are mapped; nothing here ever truncates one.
//!
//! Nothing in this crate knows of a network or of a fleet.

pub mod apply;
pub mod bookmarks;
pub mod branchmap;
pub mod change;
pub mod changeset;
pub mod config;
#[cfg(test)]
mod damage_tests;
pub mod delta;
pub mod digest;
pub mod error;
pub mod filter;
pub mod fncache;
mod folder;
mod kept_index;
pub mod largefiles;
pub mod lfs;
pub mod lookup;
pub mod manifest;
pub mod names;
pub mod node;
pub mod observe;
pub mod obsstore;
mod opened_filelogs;
pub mod path_encoding;
pub mod phases;
pub mod prepare;
pub mod repository;
pub mod requirements;
pub mod revlog;
pub mod settings;
pub mod snapshot;
pub mod store_files;
pub mod tags;
pub mod verify;
pub mod view;
pub mod walk;

pub use bookmarks::Bookmarks;
pub use branchmap::Branchmap;
pub use changeset::Changeset;
pub use error::StoreError;
pub use filter::Filter;
pub use fncache::Fncache;
pub use node::{Node, Revision, Unnamed};
pub use obsstore::{Marker, Obsstore};
pub use phases::{Phase, Phases};
pub use repository::{Repository, StoreFormat};
pub use requirements::Requirements;
pub use revlog::{ChunkReader, PrefixMatch, Revlog, RevlogExtent, Texts};
pub use settings::{Bundle1Action, Settings};
pub use snapshot::{Snapshot, SnapshotState};
pub use store_files::{StoreFile, StoreFiles};
pub use tags::Tags;
pub use verify::{VerifyReport, verify};
pub use view::View;
