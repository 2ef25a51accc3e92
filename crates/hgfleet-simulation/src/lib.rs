//! The whole fleet in one process: real masters, sessions, mirrors and balancers, with simulated time, network, disk and log. A
//! seed repeats a run.

pub mod check;
pub mod fleet;
pub mod history;
pub mod kit;
pub mod log;
pub mod push;
pub mod read;
mod real;
pub mod run;
mod stand_ins;
pub mod world;
