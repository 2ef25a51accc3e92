//! A fleet of its own for each test, and the real clients that talk to it.

pub mod beside_stock;
pub mod bundle;
pub mod clients;
pub mod fleet;
pub mod guide;
#[allow(dead_code, reason = "the store's own tests use all of it")]
#[path = "../../crates/hg-store/tests/support/history.rs"]
pub mod history;
pub mod ldap_server;
pub mod machines;
#[path = "../../crates/hgfleet-log/tests/nats/server.rs"]
pub mod nats;
pub mod network;
pub mod run;
pub mod sshd;
pub mod status;
pub mod steps;
pub mod store;
#[allow(dead_code, reason = "the store's own tests use all of it")]
#[path = "../../crates/hg-store/tests/support/tree_history.rs"]
pub mod tree_history;
pub mod troubled_line;
pub mod two_doors;
pub mod wire_client;
