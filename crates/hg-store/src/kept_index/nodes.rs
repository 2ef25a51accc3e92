//! The file `nodes`: behind the header an open-addressed table of changesets plus one, 4 bytes each; 0 is free. The first
//! bits of a name say where it would be.

use std::io;
use std::ops::{ControlFlow, RangeInclusive};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use memmap2::{MmapMut, MmapOptions, MmapRaw};

use super::{HEADER_BYTES, Header};
use crate::revlog::visit_slots;
use crate::{Node, Revision, Revlog};

const FILE: &str = "nodes";
const MAGIC: [u8; 8] = *b"hgfnode1";
/// A new table has at least this many slots for each changeset, and is made anew at two.
const SLOTS_PER_CHANGESET: usize = 4;
const SLOTS_BITS_MAX: u32 = 34;

/// The table, mapped.
pub(crate) struct KeptNodes {
    map: MmapRaw,
    bits: u32,
    covered: u32,
}

impl KeptNodes {
    /// `None` when there is no usable table.
    pub(crate) fn open(folder: &Path, changelog: &Revlog) -> Option<KeptNodes> {
        let file = super::open(folder, FILE, false)?;
        let header = Header::read(&file, MAGIC)?;
        let bytes = table_bytes(header.extra)?;
        if file.metadata().ok()?.len() < (HEADER_BYTES + bytes) as u64 {
            return None;
        }
        let map = MmapOptions::new().len(HEADER_BYTES + bytes).map_raw_read_only(&file).ok()?;
        let kept = KeptNodes { map, bits: header.extra, covered: header.changesets };
        let last = header.last_common(changelog);
        last.is_none_or(|last| kept.get(changelog, &changelog.node(last)) == Some(last)).then_some(kept)
    }

    /// How many changesets are in the table, from the first on.
    pub(crate) fn covered(&self) -> u32 {
        self.covered
    }

    /// The changeset of this name, if it is covered and in the changelog.
    pub(crate) fn get(&self, changelog: &Revlog, node: &Node) -> Option<Revision> {
        let slots = slots_of(self.map.as_ptr(), self.bits);
        let mut slot = first_slot(node, self.bits);
        for _ in 0..slots.len() {
            let number = u32::from_le(slots[slot].load(Ordering::Relaxed)).checked_sub(1)?;
            if let Some(revision) = changelog.revision(number).filter(|revision| changelog.node(*revision) == *node) {
                return Some(revision);
            }
            slot = (slot + 1) & (slots.len() - 1);
        }
        None
    }

    /// Shows each number whose changeset's name may have its first bits in a range, and others, until `visit` says stop. The
    /// numbers are as they lie in the file.
    pub(crate) fn visit_range(&self, range: &RangeInclusive<u64>, visit: impl FnMut(u32) -> ControlFlow<()>) {
        let slots = slots_of(self.map.as_ptr(), self.bits);
        let number = |slot: usize| u32::from_le(slots[slot].load(Ordering::Relaxed));
        visit_slots(range, 64 - self.bits.max(1), slots.len(), number, visit);
    }

    /// Brings the file up to the changelog's length.
    pub(crate) fn update(folder: &Path, changelog: &Revlog) -> io::Result<()> {
        match KeptNodes::forward(folder, changelog)? {
            Some(()) => Ok(()),
            None => KeptNodes::make(folder, changelog),
        }
    }

    fn header(changelog: &Revlog, bits: u32) -> Header {
        Header { magic: MAGIC, changesets: changelog.len() as u32, extra: bits }
    }

    /// `None` when the file can't be moved forward.
    fn forward(folder: &Path, changelog: &Revlog) -> io::Result<Option<()>> {
        let Some(old) = KeptNodes::open(folder, changelog) else { return Ok(None) };
        let Some(file) = super::open(folder, FILE, true) else { return Ok(None) };
        if old.covered() as usize >= changelog.len() {
            return Ok(Some(()));
        }
        if changelog.len() * 2 > 1 << old.bits {
            return Ok(None);
        }
        // SAFETY: only this process writes the file, nobody makes it shorter, and slots are only touched as atomics.
        let mut map = unsafe { MmapMut::map_mut(&file) }?;
        let slots = slots_of(map.as_mut_ptr(), old.bits);
        for revision in changelog.revisions().skip(old.covered() as usize) {
            let mut slot = first_slot(&changelog.node(revision), old.bits);
            let number = (revision.get() + 1).to_le();
            // A process that was killed may have left it there.
            while !matches!(slots[slot].load(Ordering::Relaxed), taken if taken == 0 || taken == number) {
                slot = (slot + 1) & (slots.len() - 1);
            }
            slots[slot].store(number, Ordering::Relaxed);
        }
        drop(map);
        file.write_all_at(&KeptNodes::header(changelog, old.bits).encode(), 0)?;
        Ok(Some(()))
    }

    fn make(folder: &Path, changelog: &Revlog) -> io::Result<()> {
        let slots = (changelog.len() * SLOTS_PER_CHANGESET).next_power_of_two().max(1024);
        let bits = slots.trailing_zeros();
        let mut table = vec![0_u32; slots];
        for revision in changelog.revisions() {
            let mut slot = first_slot(&changelog.node(revision), bits);
            while table[slot] != 0 {
                slot = (slot + 1) & (slots - 1);
            }
            table[slot] = revision.get() + 1;
        }
        let table: Vec<u8> = table.into_iter().flat_map(u32::to_le_bytes).collect();
        super::replace(folder, FILE, &[&KeptNodes::header(changelog, bits).encode(), &table])
    }
}

fn table_bytes(bits: u32) -> Option<usize> {
    (bits <= SLOTS_BITS_MAX).then(|| 4_usize << bits)
}

/// The slots of a mapped table of this many bits.
fn slots_of<'a>(map: *const u8, bits: u32) -> &'a [AtomicU32] {
    // SAFETY: the callers' maps have the header and the table's bytes, live as long as the slice is used, and begin at a
    // page, so that the table is aligned. Other processes may change slots: they are atomics.
    unsafe { std::slice::from_raw_parts(map.add(HEADER_BYTES).cast::<AtomicU32>(), 1 << bits) }
}

fn first_slot(node: &Node, bits: u32) -> usize {
    let mut first = [0; 8];
    first.copy_from_slice(&node.as_bytes()[..8]);
    (u64::from_be_bytes(first) >> (64 - bits.max(1))) as usize
}
