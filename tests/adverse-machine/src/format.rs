//! What the preloaded library and the test share: the journal of writes, and the page by which the test commands.

/// Names the folder with `journal`, `control` and `boot_id`.
pub const FOLDER: &str = "ADVERSE_MACHINE";
/// Names the folder whose files are on the adverse disks: each folder in it is a disk of its own.
pub const ROOT: &str = "ADVERSE_ROOT";

/// The folders below [`ROOT`] that are disks; other files are of no interest.
pub const DISKS: [&str; 6] = ["master", "standby", "mirror-1", "mirror-2", "log", "volume"];

/// Bytes of `control`: 64-bit words, little-endian.
pub const CONTROL_BYTES: usize = 4096;
/// The word with the wall clock's error, in seconds, signed.
pub const CLOCK_WORD: usize = 0;
/// The word with the time that a sync takes longer on a disk, in milliseconds.
pub const fn slow_word(disk: usize) -> usize {
    1 + 3 * disk
}
/// The word with the bytes that are free on a disk; [`u64::MAX`]: as many as there are.
pub const fn free_word(disk: usize) -> usize {
    2 + 3 * disk
}
/// The word that says, where it is not 0, that nobody is told how many bytes are free: another takes them before they are used.
pub const fn hidden_word(disk: usize) -> usize {
    3 + 3 * disk
}

/// Begins and ends each entry of the journal, so that one which a kill has cut is known.
pub const MAGIC: [u8; 8] = *b"\x91adverse";

/// What an entry says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Bytes are about to be written at an offset.
    Write = 1,
    /// A file is about to be cut to a length, or stretched.
    Cut = 2,
    /// What was written to one file is synced.
    Sync = 3,
    /// What was written to all files is synced.
    SyncAll = 4,
}

/// One entry: the magic, [`Entry::HEAD_BYTES`] of numbers (little-endian), the old bytes, the new ones, the magic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it says.
    pub kind: Kind,
    /// The file's number, and when it was made (nanoseconds): numbers are used again.
    pub file: (u64, u64),
    /// Where bytes are written; or the new length.
    pub offset: u64,
    /// The file's length before.
    pub length: u64,
    /// What was there.
    pub old: Vec<u8>,
    /// What is written.
    pub new: Vec<u8>,
}

impl Entry {
    /// Bytes between the magic and the old bytes.
    pub const HEAD_BYTES: usize = 1 + 4 * 8 + 2 * 4;

    /// As it is in the journal.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(2 * MAGIC.len() + Self::HEAD_BYTES + self.old.len() + self.new.len());
        bytes.extend(MAGIC);
        bytes.push(self.kind as u8);
        for number in [self.file.0, self.file.1, self.offset, self.length] {
            bytes.extend(number.to_le_bytes());
        }
        for length in [self.old.len(), self.new.len()] {
            bytes.extend((length as u32).to_le_bytes());
        }
        bytes.extend(&self.old);
        bytes.extend(&self.new);
        bytes.extend(MAGIC);
        bytes
    }
}
