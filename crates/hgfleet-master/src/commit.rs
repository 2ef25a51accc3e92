//! From a prepared change to a reply: the pure state machine and the order of appends.

pub mod machine;
pub mod turns;
