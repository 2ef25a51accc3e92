//! A fleet of its own for each test, and the real clients that talk to it.

pub mod beside_stock;
pub mod clients;
pub mod fleet;
pub mod guide;
pub mod machines;
#[path = "../../crates/hgfleet-log/tests/nats/server.rs"]
pub mod nats;
pub mod network;
pub mod run;
pub mod sshd;
pub mod status;
pub mod steps;
pub mod store;
