//! A fleet of its own for each test, and the real clients that talk to it.

pub mod beside_stock;
pub mod fleet;
pub mod run;
pub mod steps;
pub mod store;
