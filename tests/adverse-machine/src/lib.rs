//! A library to be preloaded (`LD_PRELOAD`) into the fleet's processes, whose machine then misbehaves as a test commands:
//!
//! * it notes each write and each sync of a file below [`format::ROOT`], with what was there before, so that after a kill the
//!   test can take away what was not synced, or leave a torn part of it: a power cut;
//! * syncs take longer, and disks are full;
//! * the wall clock is wrong, and the machine's boot has another name.
//!
//! It sees what goes through the C library: all of SQLite and of Rust's standard library, and `rustix` where that is built
//! with its feature `use-libc`. Names (create, rename, remove) count as durable at once, which a file system may do; that they are
//! lost without a sync of their folder is not simulated.
//!
//! Nothing of this is in the program that is shipped.

mod clock;
pub mod format;
mod machine;
mod space;
mod sync;
mod write;
