//! The files `nodes` and `manifest-nodes`: behind the header an open-addressed table of revisions of changelog or manifest plus one,
//! 4 bytes each; 0 is free. The first bits of a name say where it would be.

use std::io;
use std::ops::{ControlFlow, RangeInclusive};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use memmap2::{MmapMut, MmapOptions, MmapRaw};

use super::{HEADER_BYTES, Header};
use crate::revlog::visit_slots;
use crate::{Node, Revision, Revlog};

pub(super) const MAGIC: [u8; 8] = *b"hgfnode2";
/// A new table has at least this many slots for each revision, and is made anew at two.
const SLOTS_PER_REVISION: usize = 4;
const SLOTS_BITS_MAX: u32 = 34;

/// Of which revlog a table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Table {
    /// The changelog.
    Changesets,
    /// The manifest of the top folder.
    Manifests,
}

impl Table {
    /// The name of its file.
    pub(super) fn file(self) -> &'static str {
        match self {
            Table::Changesets => "nodes",
            Table::Manifests => "manifest-nodes",
        }
    }
}

/// The table, mapped.
pub(crate) struct KeptNodes {
    map: MmapRaw,
    bits: u32,
    covered: u32,
}

impl KeptNodes {
    /// `None` when there is no usable table.
    pub(crate) fn open(folder: &Path, table: Table, revlog: &Revlog) -> Option<KeptNodes> {
        let file = super::open(folder, table.file(), false)?;
        let header = Header::read(&file, MAGIC)?;
        let bytes = table_bytes(header.extra)?;
        if file.metadata().ok()?.len() < (HEADER_BYTES + bytes) as u64 {
            return None;
        }
        let map = MmapOptions::new().len(HEADER_BYTES + bytes).map_raw_read_only(&file).ok()?;
        let kept = KeptNodes { map, bits: header.extra, covered: header.covered };
        let last = header.last_common(revlog);
        last.is_none_or(|last| kept.get(revlog, &revlog.node(last)) == Some(last)).then_some(kept)
    }

    /// How many revisions are in the table, from the first on.
    pub(crate) fn covered(&self) -> u32 {
        self.covered
    }

    /// The revision of this name, if it is covered and in the revlog.
    pub(crate) fn get(&self, revlog: &Revlog, node: &Node) -> Option<Revision> {
        let slots = slots_of(self.map.as_ptr(), self.bits);
        let mut slot = first_slot(node, self.bits);
        for _ in 0..slots.len() {
            let number = u32::from_le(slots[slot].load(Ordering::Relaxed)).checked_sub(1)?;
            if let Some(revision) = revlog.revision(number).filter(|revision| revlog.node(*revision) == *node) {
                return Some(revision);
            }
            slot = (slot + 1) & (slots.len() - 1);
        }
        None
    }

    /// Shows each number whose revision's name may have its first bits in a range, and others, until `visit` says stop. The
    /// numbers are as they lie in the file.
    pub(crate) fn visit_range(&self, range: &RangeInclusive<u64>, visit: impl FnMut(u32) -> ControlFlow<()>) {
        let slots = slots_of(self.map.as_ptr(), self.bits);
        let number = |slot: usize| u32::from_le(slots[slot].load(Ordering::Relaxed));
        visit_slots(range, 64 - self.bits.max(1), slots.len(), number, visit);
    }

    /// Brings the file up to the revlog's length.
    pub(crate) fn update(folder: &Path, table: Table, revlog: &Revlog) -> io::Result<()> {
        match KeptNodes::forward(folder, table, revlog)? {
            Some(()) => Ok(()),
            None => KeptNodes::make(folder, table, revlog),
        }
    }

    /// `None` when the file can't be moved forward.
    fn forward(folder: &Path, table: Table, revlog: &Revlog) -> io::Result<Option<()>> {
        let Some(old) = KeptNodes::open(folder, table, revlog) else { return Ok(None) };
        let Some(file) = super::open(folder, table.file(), true) else { return Ok(None) };
        if old.covered() as usize >= revlog.len() {
            return Ok(Some(()));
        }
        if revlog.len() * 2 > 1 << old.bits {
            return Ok(None);
        }
        // SAFETY: only this process writes the file, nobody makes it shorter, and slots are only touched as atomics.
        let mut map = unsafe { MmapMut::map_mut(&file) }?;
        let slots = slots_of(map.as_mut_ptr(), old.bits);
        for revision in revlog.revisions().skip(old.covered() as usize) {
            let mut slot = first_slot(&revlog.node(revision), old.bits);
            let number = (revision.get() + 1).to_le();
            // A process that was killed may have left it there.
            while !matches!(slots[slot].load(Ordering::Relaxed), taken if taken == 0 || taken == number) {
                slot = (slot + 1) & (slots.len() - 1);
            }
            slots[slot].store(number, Ordering::Relaxed);
        }
        drop(map);
        file.write_all_at(&Header::of(MAGIC, revlog, old.bits).encode(), 0)?;
        Ok(Some(()))
    }

    fn make(folder: &Path, table: Table, revlog: &Revlog) -> io::Result<()> {
        let slots = (revlog.len() * SLOTS_PER_REVISION).next_power_of_two().max(1024);
        let bits = slots.trailing_zeros();
        let mut numbers = vec![0_u32; slots];
        for revision in revlog.revisions() {
            let mut slot = first_slot(&revlog.node(revision), bits);
            while numbers[slot] != 0 {
                slot = (slot + 1) & (slots - 1);
            }
            numbers[slot] = revision.get() + 1;
        }
        let numbers: Vec<u8> = numbers.into_iter().flat_map(u32::to_le_bytes).collect();
        super::replace(folder, table.file(), &[&Header::of(MAGIC, revlog, bits).encode(), &numbers])
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
