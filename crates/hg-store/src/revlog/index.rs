//! Index entries.
//!
//! | bytes | field, big-endian |
//! |---|---|
//! | 0-5 | where the chunk starts; the first entry has the header in bytes 0-3, and starts at 0 |
//! | 6-7 | flags |
//! | 8-11 | bytes of the chunk |
//! | 12-15 | bytes of the text |
//! | 16-19 | base: its own number for a full text |
//! | 20-23 | link: number of the changeset |
//! | 24-31 | parents, or -1 |
//! | 32-51, 52-63 | node; zeros |

use std::ops::RangeInclusive;
use std::path::Path;

use super::RevlogExtent;
use crate::StoreError;
use crate::requirements::CONVERT;

/// Bytes of one entry.
pub(crate) const ENTRY_BYTES: usize = 64;
/// A text's length has 31 bits.
pub(crate) const TEXT_BYTES_MAX: usize = i32::MAX as usize;
/// The text was taken away and doesn't match the hash.
pub(crate) const FLAG_CENSORED: u16 = 0x8000;
/// The text is a pointer to content that is stored elsewhere; the hash is of that.
pub(crate) const FLAG_EXTERNAL: u16 = 0x2000;

const VERSION: u32 = 1;
const HEADER_INLINE: u32 = 1 << 16;
const HEADER_GENERALDELTA: u32 = 1 << 17;

/// What the first four bytes of an index say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) inline: bool,
    pub(crate) generaldelta: bool,
}

impl Header {
    /// An empty index counts as split, and as generaldelta: nothing depends on it.
    pub(crate) fn parse(index: &[u8], path: &Path) -> Result<Header, StoreError> {
        let Some(word) = index.first_chunk::<4>() else {
            return match index.len() {
                0 => Ok(Header { inline: false, generaldelta: true }),
                _ => Err(StoreError::corrupt(path, "shorter than a header")),
            };
        };
        let word = u32::from_be_bytes(*word);
        let (version, bits) = (word & 0xffff, word & 0xffff_0000);
        if version != VERSION {
            return Err(StoreError::unsupported(path, format!("revlog version {version}"), CONVERT));
        }
        let unknown = bits & !(HEADER_INLINE | HEADER_GENERALDELTA);
        if unknown != 0 {
            return Err(StoreError::unsupported(path, format!("revlog feature {unknown:#x}"), CONVERT));
        }
        Ok(Header { inline: bits & HEADER_INLINE != 0, generaldelta: bits & HEADER_GENERALDELTA != 0 })
    }
}

/// Makes the first entry of a split index that of an inline one.
pub(crate) fn set_inline(first: &mut [u8; ENTRY_BYTES]) {
    first[1] |= (HEADER_INLINE >> 16) as u8;
}

/// One entry, not checked. Numbers are as stored.
#[derive(Clone, Copy)]
pub(crate) struct Entry<'a>(&'a [u8; ENTRY_BYTES]);

impl<'a> Entry<'a> {
    /// The entry at this place, which must be within the index.
    pub(crate) fn at(index: &'a [u8], start: usize) -> Entry<'a> {
        let bytes = index[start..].first_chunk().expect("the index was scanned to its end");
        Entry(bytes)
    }

    pub(crate) fn bytes(self) -> &'a [u8; ENTRY_BYTES] {
        self.0
    }

    fn word(self, at: usize) -> u32 {
        u32::from_be_bytes([self.0[at], self.0[at + 1], self.0[at + 2], self.0[at + 3]])
    }

    pub(crate) fn offset(self) -> u64 {
        u64::from(self.word(0)) << 16 | u64::from(self.word(4) >> 16)
    }

    pub(crate) fn flags(self) -> u16 {
        self.word(4) as u16
    }

    pub(crate) fn chunk_bytes(self) -> i32 {
        self.word(8) as i32
    }

    pub(crate) fn text_bytes(self) -> i32 {
        self.word(12) as i32
    }

    pub(crate) fn base(self) -> i32 {
        self.word(16) as i32
    }

    pub(crate) fn link(self) -> i32 {
        self.word(20) as i32
    }

    pub(crate) fn parents(self) -> [i32; 2] {
        [self.word(24) as i32, self.word(28) as i32]
    }

    pub(crate) fn node(self) -> &'a [u8; 20] {
        self.0[32..].first_chunk().expect("an entry has 64 bytes")
    }
}

/// What links are allowed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Links {
    /// The changelog's: each its own number.
    Own,
    /// Lower than the number of changesets. The index ends before the first that isn't.
    Below(u32),
}

/// What a scan found.
#[derive(Debug)]
pub(crate) struct Scan {
    pub(crate) extent: RevlogExtent,
    /// Where each entry starts in an inline index.
    pub(crate) inline_starts: Vec<u32>,
    /// Whether the index ends within an entry of which the link isn't known.
    pub(crate) torn: bool,
}

/// Checks every entry but the first `checked` ones of a split index, which were checked before. Revisions are counted up to the first
/// that links too high, which belongs to a later snapshot.
pub(crate) fn scan(index: &[u8], header: Header, links: Links, checked: u32, path: &Path) -> Result<Scan, StoreError> {
    let entries_max = index.len() / ENTRY_BYTES;
    let mut inline_starts = Vec::with_capacity(if header.inline { entries_max.min(1 << 12) } else { 0 });
    let mut extent = RevlogExtent::default();
    let mut torn = false;
    let (mut start, mut chunks) = (0, 0_u64);
    if let Some(last) = checked.checked_sub(1).filter(|_| !header.inline && checked as usize <= entries_max) {
        // The last one again: what follows begins where it ends.
        start = last as usize * ENTRY_BYTES;
        chunks = if last == 0 { 0 } else { Entry::at(index, start).offset() };
        extent.revisions = last;
    }
    while start < index.len() {
        let number = extent.revisions as i32;
        let corrupt = |what: String| StoreError::corrupt(path, format!("revision {number}: {what}"));
        let rest = &index[start..];
        if rest.len() < ENTRY_BYTES {
            match (links, rest.get(20..24)) {
                // An append that goes on: its revisions belong to a later snapshot.
                (Links::Below(bound), Some(link)) if link_of(link).is_some_and(|link| link >= bound) => {}
                (Links::Below(_), None) => torn = true,
                _ => return Err(corrupt("ends within an index entry".into())),
            }
            break;
        }
        if number == i32::MAX {
            return Err(corrupt("too many revisions".into()));
        }
        let entry = Entry::at(index, start);
        match links {
            Links::Own if entry.link() != number => {
                return Err(corrupt(format!("links to changeset {}", entry.link())));
            }
            Links::Below(bound) if entry.link() >= 0 && entry.link() as u32 >= bound => break,
            _ if entry.link() < 0 => return Err(corrupt(format!("links to changeset {}", entry.link()))),
            _ => {}
        }
        check(entry, number, chunks).map_err(corrupt)?;
        let chunk_bytes = entry.chunk_bytes() as u32;
        chunks += u64::from(chunk_bytes);
        let mut next = start + ENTRY_BYTES;
        if header.inline {
            let starts = u32::try_from(start).map_err(|_| corrupt("inline index over 4 GiB".into()))?;
            inline_starts.push(starts);
            next += chunk_bytes as usize;
            if next > index.len() {
                return Err(corrupt("chunk ends past the end of the file".into()));
            }
        }
        start = next;
        extent.revisions += 1;
        extent.index_bytes = start as u64;
        extent.data_bytes = if header.inline { 0 } else { chunks };
    }
    Ok(Scan { extent, inline_starts, torn })
}

fn link_of(bytes: &[u8]) -> Option<u32> {
    let link = i32::from_be_bytes(bytes.try_into().ok()?);
    u32::try_from(link).ok()
}

/// `chunks` is the sum of the lengths of all chunks before.
fn check(entry: Entry<'_>, number: i32, chunks: u64) -> Result<(), String> {
    if entry.flags() & !(FLAG_CENSORED | FLAG_EXTERNAL) != 0 {
        return Err(format!("unknown flags {:#06x}", entry.flags()));
    }
    // The first entry has the header in the upper bytes.
    let offset = if number == 0 { entry.offset() & 0xffff } else { entry.offset() };
    if offset != chunks {
        return Err(format!("chunk at {} instead of {chunks}", entry.offset()));
    }
    if entry.chunk_bytes() < 0 || entry.text_bytes() < 0 {
        return Err("negative length".into());
    }
    if entry.base() < 0 || entry.base() > number {
        return Err(format!("delta against revision {}", entry.base()));
    }
    if entry.parents().iter().any(|parent| *parent < -1 || *parent >= number) {
        return Err(format!("parents {:?}", entry.parents()));
    }
    if *entry.node() == [0; 20] {
        return Err("no name".into());
    }
    Ok(())
}

/// The beginning of a name in hexadecimal digits, perhaps ending in the middle of a byte.
pub(crate) struct Prefix {
    bytes: Vec<u8>,
    half: Option<u8>,
}

impl Prefix {
    pub(crate) fn parse(hex: &[u8]) -> Option<Prefix> {
        if hex.len() > 40 {
            return None;
        }
        let digits = hex.iter().map(|digit| crate::node::hex_digit(*digit)).collect::<Option<Vec<u8>>>()?;
        let pairs = digits.chunks_exact(2);
        let half = pairs.remainder().first().copied();
        Some(Prefix { bytes: pairs.map(|pair| pair[0] << 4 | pair[1]).collect(), half })
    }

    /// The first 64 bits of the names that begin so.
    pub(crate) fn range(&self) -> RangeInclusive<u64> {
        let (mut low, mut high) = ([0; 8], [0xff; 8]);
        for (n, byte) in self.bytes.iter().take(8).enumerate() {
            (low[n], high[n]) = (*byte, *byte);
        }
        if let Some(half) = self.half.filter(|_| self.bytes.len() < 8) {
            let n = self.bytes.len();
            (low[n], high[n]) = (half << 4, half << 4 | 0x0f);
        }
        u64::from_be_bytes(low)..=u64::from_be_bytes(high)
    }

    pub(crate) fn matches(&self, node: &[u8; 20]) -> bool {
        node.starts_with(&self.bytes) && self.half.is_none_or(|half| node[self.bytes.len()] >> 4 == half)
    }
}
