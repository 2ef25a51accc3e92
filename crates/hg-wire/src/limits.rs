//! Bounds on what a client may ask for. Real clients stay far below all of them.

/// The longest value of one argument, in bytes. A discovery with 25,000 heads fits.
pub const ARGUMENT_BYTES_MAX: usize = 4 << 20;
/// All arguments of one command together, in bytes.
pub const ARGUMENTS_BYTES_MAX: usize = 8 << 20;
/// Arguments of one command.
pub const ARGUMENTS_MAX: usize = 64;
/// The longest line that names a command or an argument over SSH, in bytes.
pub const LINE_BYTES_MAX: usize = 1024;
/// Hashes in one argument.
pub const NODES_MAX: usize = 100_000;
/// Arguments up to which an answer from memory takes well below a millisecond, in bytes.
pub const QUICK_ARGUMENTS_BYTES_MAX: usize = 16 << 10;
/// The same for the served heads in hexadecimal digits: 1,600 of them.
pub const QUICK_HEADS_BYTES_MAX: usize = 64 << 10;
/// The same for the sub-commands of one `batch`.
pub const QUICK_BATCH_COMMANDS_MAX: usize = 4;
/// Sub-commands of one `batch`.
pub const BATCH_COMMANDS_MAX: usize = 1_000;
/// The answer of one `batch`, in bytes.
pub const BATCH_ANSWER_BYTES_MAX: usize = 64 << 20;
/// The key of a `lookup`, in bytes.
pub const LOOKUP_KEY_BYTES_MAX: usize = 1_024;
/// Words of `bundlecaps`, and of one bundle2 capability.
pub const BUNDLECAPS_MAX: usize = 1_000;
