//! One entry of a segment, in bytes.
//!
//! `docs/formats/staged.md` says what else lies there and how it is written and read.
//!
//! | offset | bytes | what |
//! | --- | --- | --- |
//! | 0 | 8 | magic `hgfstage` |
//! | 8 | 4 | length of the record, big-endian |
//! | 12 | 4 | where the change lies: 0 there is none, 1 behind the record, 2 in a file beside |
//! | 16 | 8 | length of the change, big-endian |
//! | 24 | 8 | first 8 bytes of BLAKE3 over bytes 0 to 23 |
//! | 32 | | the record, as [`Record::encode`] writes it, with its own digest |
//! | | | the change, where it lies here; its digest is in the record |

use std::fs::File;
use std::path::Path;

use hgfleet_log::{Record, Sequence};

use super::{INLINE_BYTES_MAX, Incoming, StagingError, segment};

const MAGIC: [u8; 8] = *b"hgfstage";
const HEADER_BYTES: usize = 32;
const CHECKED_BYTES: usize = 24;
/// A change is read in pieces of this many bytes when its digest is compared.
const NO_CHANGE: u32 = 0;
const INLINE: u32 = 1;
const BESIDE: u32 = 2;

/// Where a record's change lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// There is none.
    None,
    /// In the segment.
    Inline {
        /// From this byte of the segment on.
        at: u64,
        /// How many bytes.
        bytes: u64,
    },
    /// In a file of its own.
    Beside {
        /// How many bytes.
        bytes: u64,
    },
}

/// Appends an entry to `buffer`, whose first byte of it will be byte `at` of the segment.
pub(super) fn write(
    buffer: &mut Vec<u8>,
    at: u64,
    record: &Record,
    incoming: &Incoming,
) -> Result<Place, StagingError> {
    let encoded = record.encode().map_err(|error| StagingError::Record(record.sequence, error))?;
    let behind = at + (HEADER_BYTES + encoded.len()) as u64;
    let (kind, bytes, place) = match incoming {
        Incoming::Inline(change) if change.is_empty() => (NO_CHANGE, 0, Place::None),
        Incoming::Inline(change) => {
            let bytes = change.len() as u64;
            (INLINE, bytes, Place::Inline { at: behind, bytes })
        }
        Incoming::Beside => {
            let bytes = record.change_bytes();
            (BESIDE, bytes, Place::Beside { bytes })
        }
    };
    let header = buffer.len();
    buffer.extend_from_slice(&MAGIC);
    buffer.extend_from_slice(&(encoded.len() as u32).to_be_bytes());
    buffer.extend_from_slice(&kind.to_be_bytes());
    buffer.extend_from_slice(&bytes.to_be_bytes());
    let check = blake3::hash(&buffer[header..]);
    buffer.extend_from_slice(&check.as_bytes()[..HEADER_BYTES - CHECKED_BYTES]);
    buffer.extend_from_slice(&encoded);
    if let Incoming::Inline(change) = incoming {
        buffer.extend_from_slice(change);
    }
    Ok(place)
}

/// Reads the entry at byte `at` of a segment: the record, where its change lies, and where the next
/// entry begins. None: what is there is no whole entry, with its whole change. A change in a file of its own is removed
/// once the stores have it: it is not looked for up to `durable`.
pub(super) fn read(dir: &Path, segment: &[u8], at: u64, durable: Option<Sequence>) -> Option<(Record, Place, u64)> {
    let rest = segment.get(usize::try_from(at).ok()?..)?;
    let (header, rest) = rest.split_first_chunk::<HEADER_BYTES>()?;
    let check = blake3::hash(&header[..CHECKED_BYTES]);
    let intact = header[..8] == MAGIC && header[CHECKED_BYTES..] == check.as_bytes()[..HEADER_BYTES - CHECKED_BYTES];
    if !intact {
        return None;
    }
    let (length, tail) = header[8..].split_first_chunk()?;
    let (kind, tail) = tail.split_first_chunk()?;
    let (bytes, _) = tail.split_first_chunk()?;
    let (length, kind) = (u32::from_be_bytes(*length), u32::from_be_bytes(*kind));
    let bytes = u64::from_be_bytes(*bytes);
    let (encoded, rest) = rest.split_at_checked(length as usize)?;
    let record = Record::decode(encoded).ok()?;
    if bytes != record.change_bytes() {
        return None;
    }
    let behind = at + HEADER_BYTES as u64 + u64::from(length);
    let (place, end) = match kind {
        NO_CHANGE if bytes == 0 => (Place::None, behind),
        INLINE if bytes <= INLINE_BYTES_MAX => {
            let change = rest.get(..usize::try_from(bytes).ok()?)?;
            if !is_change_of(&record, change) {
                return None;
            }
            (Place::Inline { at: behind, bytes }, behind + bytes)
        }
        BESIDE if Some(record.sequence) <= durable => (Place::Beside { bytes }, behind),
        BESIDE => {
            let file = File::open(segment::beside(dir, record.sequence)).ok()?;
            let change = segment::map_whole(&file).ok()?;
            if !is_change_of(&record, &change) {
                return None;
            }
            (Place::Beside { bytes }, behind)
        }
        _ => return None,
    };
    Some((record, place, end))
}

fn is_change_of(record: &Record, bytes: &[u8]) -> bool {
    record.store().is_some_and(|store| {
        store.change.bytes == bytes.len() as u64 && *blake3::hash(bytes).as_bytes() == store.change.digest
    })
}
