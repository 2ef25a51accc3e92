//! End to end: a real fleet, and the real `hg`, `ssh` and `curl` that people use with it.
//!
//! They need those programs on the PATH (`make client` puts `hg` into `.venv`; `make test` sets the PATH).

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod support;

mod access;
mod bad_input;
mod clients;
mod clone_bundles;
mod directory;
mod directory_trouble;
mod doors;
mod failover;
mod faults;
mod jetstream;
mod kills;
mod landing;
mod largefiles;
mod lfs;
mod lfs_uploads;
mod log;
mod machines;
mod membership;
mod one_picture;
mod openssh;
mod policy;
mod push_and_read;
mod push_histories;
mod push_like_stock;
#[cfg(feature = "soak")]
mod real_repositories;
mod refusals;
mod resync;
mod rewrites;
mod session_commands;
mod several_machines;
mod ssh_limits;
mod tokens;
mod trees;
mod volume;
mod web;
