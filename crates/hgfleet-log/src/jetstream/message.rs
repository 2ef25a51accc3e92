//! How a record lies in a message, alone or with its change. `docs/formats/log.md` describes it.

use bytes::{BufMut, Bytes, BytesMut};

use crate::ids::Epoch;
use crate::record::limits::RECORD_BYTES_MAX;
use crate::record::{Record, RecordError};

/// The record, then its whole change.
const WHOLE: u8 = 1;
/// The length of parts, then the record; its change lies in parts.
const CHANGE_IN_PARTS: u8 = 2;
/// The length of parts, that of the record and its epoch; the record lies in parts, and behind it the change.
const ALL_IN_PARTS: u8 = 3;
/// The record; its change was given up.
const RECORD_ALONE: u8 = 4;

/// Bytes of a message that are not the record's or the change's.
pub(super) const ROOM_BYTES: usize = 32;

/// What one message of the stream of records holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Held {
    /// Record and change.
    Whole { record: Bytes, change: Bytes },
    /// The record, and how long the parts of its change are.
    ChangeInParts { part_bytes: u32, record: Bytes },
    /// Only where to find the record and its change.
    AllInParts { part_bytes: u32, record_bytes: u32, epoch: Epoch },
    /// The record without its change.
    RecordAlone { record: Bytes },
}

impl Held {
    pub(super) fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::new();
        match self {
            Held::Whole { record, change } => {
                bytes.reserve(1 + record.len() + change.len());
                bytes.put_u8(WHOLE);
                bytes.put_slice(record);
                bytes.put_slice(change);
            }
            Held::ChangeInParts { part_bytes, record } => {
                bytes.put_u8(CHANGE_IN_PARTS);
                bytes.put_u32(*part_bytes);
                bytes.put_slice(record);
            }
            Held::AllInParts { part_bytes, record_bytes, epoch } => {
                bytes.put_u8(ALL_IN_PARTS);
                bytes.put_u32(*part_bytes);
                bytes.put_u32(*record_bytes);
                bytes.put_u64(epoch.get());
            }
            Held::RecordAlone { record } => {
                bytes.put_u8(RECORD_ALONE);
                bytes.put_slice(record);
            }
        }
        bytes.freeze()
    }

    /// # Errors
    /// What is no message of ours. The record in it is not looked at but for its length.
    pub(super) fn decode(bytes: &Bytes) -> Result<Held, RecordError> {
        let (form, rest) = match bytes.split_first() {
            Some((form, _)) => (*form, bytes.slice(1..)),
            None => return Err(RecordError::Short { have: 0, need: 1 }),
        };
        match form {
            WHOLE => {
                let length = Record::encoded_length(&rest)?;
                Ok(Held::Whole { record: rest.slice(..length), change: rest.slice(length..) })
            }
            CHANGE_IN_PARTS => {
                Ok(Held::ChangeInParts { part_bytes: part_bytes(number(&rest, 0)?)?, record: rest.slice(4..) })
            }
            ALL_IN_PARTS => {
                let record_bytes = number(&rest, 4)?;
                if record_bytes as usize > RECORD_BYTES_MAX {
                    return Err(RecordError::TooLarge {
                        field: "length",
                        value: u64::from(record_bytes),
                        max: RECORD_BYTES_MAX as u64,
                    });
                }
                let epoch = rest.get(8..16).and_then(|eight| eight.first_chunk());
                let epoch = epoch.ok_or(RecordError::Short { have: rest.len(), need: 16 })?;
                let epoch = Epoch::new(u64::from_be_bytes(*epoch)).ok_or(RecordError::Field("epoch"))?;
                Ok(Held::AllInParts { part_bytes: part_bytes(number(&rest, 0)?)?, record_bytes, epoch })
            }
            RECORD_ALONE => Ok(Held::RecordAlone { record: rest }),
            other => Err(RecordError::Kind(u16::from(other))),
        }
    }
}

fn part_bytes(length: u32) -> Result<u32, RecordError> {
    if length == 0 { Err(RecordError::Field("part length")) } else { Ok(length) }
}

fn number(bytes: &Bytes, at: usize) -> Result<u32, RecordError> {
    let four = bytes.get(at..at + 4).and_then(|four| four.first_chunk());
    four.map(|four| u32::from_be_bytes(*four)).ok_or(RecordError::Short { have: bytes.len(), need: at + 4 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_that_are_cut_or_of_another_form_are_refused() {
        let epoch = Epoch::FIRST;
        let held = Held::AllInParts { part_bytes: 1000, record_bytes: 4000, epoch };
        let bytes = held.encode();
        assert_eq!(Held::decode(&bytes), Ok(held));
        for length in 0..bytes.len() {
            assert!(Held::decode(&bytes.slice(..length)).is_err());
        }
        assert!(Held::decode(&Bytes::from_static(&[9; 40])).is_err());
        assert!(Held::decode(&Held::AllInParts { part_bytes: 0, record_bytes: 4000, epoch }.encode()).is_err());
        assert!(Held::decode(&Held::AllInParts { part_bytes: 1, record_bytes: u32::MAX, epoch }.encode()).is_err());
        assert!(
            Held::decode(&Held::Whole { record: Bytes::from_static(b"short"), change: Bytes::new() }.encode()).is_err()
        );
    }
}
