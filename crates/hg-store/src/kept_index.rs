//! What must not cost more as history grows: from names to changesets and manifests, the branch of each changeset, heads.
//!
//! Files in a folder outside `.hg`, moved forward after each change and made anew when absent, torn, or of another
//! store: they only ever save work. One process moves them, any number read them at the same time: entries are only
//! added, and a reader looks at no changeset that its snapshot lacks. Nothing is flushed to disk; instead the files
//! are good for one start of the machine only.
//!
//! Header of either, 64 bytes, numbers little-endian:
//!
//! | bytes | field |
//! |---|---|
//! | 0-7 | `hgfnode2`, `hgfbran1` or `hgfhead1` |
//! | 8-11 | changesets covered; `manifest-nodes`: manifests |
//! | 12-15 | `nodes`, `manifest-nodes`: the table has 2 to the power of this many slots; `branches`: bytes of `branch-names`; `heads`: its own bytes behind the header |
//! | 16-31 | this start of the machine |
//! | 32-39 | first bytes of the name of the last one covered |
//! | 40-47 | `heads`: first bytes of the SHA-1 of what is behind the header; else zeros |
//! | 48-55 | zeros |
//! | 56-63 | first bytes of the SHA-1 of all before |
//!
//! Whether a file is about this store is told by the last changeset that both it and the snapshot have: a changeset's
//! name covers all its ancestors. Whoever puts another store in place removes the folder all the same.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use sha1::{Digest, Sha1};

use crate::{Revision, Revlog};

mod branches;
mod checked;
mod heads;
mod nodes;

pub(crate) use branches::KeptBranches;
pub(crate) use checked::Checked;
pub(crate) use heads::KeptHeads;
pub(crate) use nodes::{KeptNodes, Table};

const HEADER_BYTES: usize = 64;
/// A header that is being written is looked at again.
const LOOKS_MAX: usize = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    magic: [u8; 8],
    covered: u32,
    extra: u32,
    last_name: [u8; 8],
    check: [u8; 8],
}

impl Header {
    /// Of a file that covers a whole revlog.
    fn of(magic: [u8; 8], revlog: &Revlog, extra: u32) -> Header {
        let covered = revlog.len() as u32;
        Header { magic, covered, extra, last_name: name_of_last(revlog, covered), check: [0; 8] }
    }

    fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&self.magic);
        bytes[8..12].copy_from_slice(&self.covered.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.extra.to_le_bytes());
        bytes[16..32].copy_from_slice(&this_start());
        bytes[32..40].copy_from_slice(&self.last_name);
        bytes[40..48].copy_from_slice(&self.check);
        let check = Sha1::digest(&bytes[..56]);
        bytes[56..].copy_from_slice(&check[..8]);
        bytes
    }

    /// `None` when it is torn, or from before the machine was started.
    fn decode(bytes: &[u8; HEADER_BYTES], magic: [u8; 8]) -> Option<Header> {
        let number = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let name = |at: usize| std::array::from_fn(|n| bytes[at + n]);
        let header = Header { magic, covered: number(8), extra: number(12), last_name: name(32), check: name(40) };
        (header.encode() == *bytes).then_some(header)
    }

    fn read(file: &File, magic: [u8; 8]) -> Option<Header> {
        (0..LOOKS_MAX).find_map(|_| {
            let mut bytes = [0; HEADER_BYTES];
            file.read_exact_at(&mut bytes, 0).ok()?;
            Header::decode(&bytes, magic)
        })
    }

    /// The last one that both this and the revlog have.
    fn last_common(&self, revlog: &Revlog) -> Option<Revision> {
        revlog.revision((revlog.len() as u32).min(self.covered).checked_sub(1)?)
    }
}

/// The first bytes of the name of the last of so many revisions; zeros where there is none.
fn name_of_last(revlog: &Revlog, count: u32) -> [u8; 8] {
    let last = count.checked_sub(1).and_then(|last| revlog.revision(last));
    last.map_or([0; 8], |last| std::array::from_fn(|n| revlog.node(last).as_bytes()[n]))
}

/// What tells one start of the machine from the next: after a power cut, pages of the files may be missing.
fn this_start() -> [u8; 16] {
    static START: std::sync::OnceLock<[u8; 16]> = std::sync::OnceLock::new();
    *START.get_or_init(|| {
        let id = std::fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let digest = Sha1::digest(id);
        let mut start = [0; 16];
        start.copy_from_slice(&digest[..16]);
        start
    })
}

/// Puts a file in place of another at once, for readers that have the old one open too.
fn replace(folder: &Path, name: &str, parts: &[&[u8]]) -> io::Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    for part in parts {
        file.write_all(part)?;
    }
    file.persist(folder.join(name)).map_err(|error| error.error)?;
    Ok(())
}

/// Opens a file of ours for reading, or for both.
fn open(folder: &Path, name: &str, write: bool) -> Option<File> {
    File::options().read(true).write(write).open(folder.join(name)).ok()
}

#[cfg(test)]
mod tests;
