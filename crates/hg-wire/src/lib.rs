//! Mercurial's wire protocol, version 1: commands, bundles, streams, and their framing over SSH and HTTP.
//!
//! The crate is blocking and knows neither sockets nor a fleet: a session hands it a [`Read`](std::io::Read), a
//! [`Write`](std::io::Write) and a [`Host`], a web server hands it one parsed request and a
//! [`Snapshot`](hg_store::Snapshot). Everything that a client sends is parsed by parsers with bounds
//! ([`limits`]) that refuse what they don't know; a refusal is a text that an `hg` client prints
//! ([`CommandError`]) and costs that one request.
//!
//! What is advertised ([`capabilities`]) equals what works.

pub mod arguments;
mod base85;
pub mod bundle2_reader;
pub mod bundle2_writer;
pub mod bundle_file;
pub mod capabilities;
pub mod changegroup_reader;
pub mod changegroup_writer;
pub mod client;
pub mod clone_bundles;
pub mod command;
pub mod commands;
pub mod compression;
pub mod decompression;
pub mod error;
pub mod getbundle;
pub mod hidden_access;
pub mod host;
pub mod http;
pub mod limits;
pub mod outgoing;
pub mod pull_bundles;
pub mod pushkey;
mod quoting;
pub mod ssh;
pub mod standalone;
pub mod stream_clone;
pub mod unbundle;

pub use error::CommandError;
pub use host::{CommandOutcome, CommitError, Host, HostError, Push, PushLimits};
