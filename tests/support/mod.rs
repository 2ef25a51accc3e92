//! A fleet of its own for each test, and the real clients that talk to it.

pub mod beside_stock;
pub mod fleet;
#[path = "../../crates/hgfleet-log/tests/nats/server.rs"]
pub mod nats;
pub mod networks;
pub mod run;
pub mod steps;
pub mod store;
