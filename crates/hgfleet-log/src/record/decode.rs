//! A record's bytes, read. Nothing is believed before the digest over all of it was compared.

use super::encode::{
    DIGEST_BYTES, HAS_AFTER, HAS_BEFORE, HEADER_BYTES, KIND_EMPTY, KIND_EPOCH, KIND_MOVE, KIND_PURGE, KIND_STORE,
    MAGIC, MOVE_RENAME, MOVE_RESTORE, MOVE_REWRITE, STORE_ALTER, STORE_BYTES, STORE_CREATE, STORE_DELETE, VERSION,
    bound, check_store,
};
use super::limits::*;
use super::*;

impl Record {
    /// Returns the record that these bytes are, all of them.
    ///
    /// # Errors
    /// Where they are not exactly what [`Record::encode`] writes: cut, longer, altered, of an unknown
    /// version or kind.
    pub fn decode(bytes: &[u8]) -> Result<Record, RecordError> {
        bound("record", bytes.len() as u64, RECORD_BYTES_MAX as u64)?;
        let (kind, length) = kind_and_length(bytes)?;
        if length > bytes.len() {
            return Err(RecordError::Short { have: bytes.len(), need: length });
        }
        if length < bytes.len() {
            return Err(RecordError::Trailing(bytes.len() - length));
        }
        let (covered, digest) = bytes.split_at(length - DIGEST_BYTES);
        let hash = *blake3::hash(covered).as_bytes();
        if hash != digest {
            return Err(RecordError::Digest);
        }
        let mut fields = Fields(&covered[16..]);
        let log = LogId::from_bytes(fields.array()?);
        let sequence = Sequence::new(fields.u64()?).ok_or(RecordError::Field("sequence"))?;
        let epoch = Epoch::new(fields.u64()?).ok_or(RecordError::Field("epoch"))?;
        let previous = ChainHash::from_bytes(fields.array()?);
        let id = RecordId::from_bytes(fields.array()?);
        let time_ms = fields.u64()?;
        let body = match kind {
            KIND_EPOCH => Body::Epoch { holder: fields.text("holder", HOLDER_BYTES_MAX)? },
            KIND_EMPTY => Body::Empty,
            KIND_STORE | KIND_MOVE => Body::Store(decode_store(&mut fields, kind == KIND_MOVE, sequence)?),
            KIND_PURGE => Body::Purge { deleted: fields.earlier(sequence)? },
            unknown => return Err(RecordError::Kind(unknown)),
        };
        if !fields.0.is_empty() {
            return Err(RecordError::Trailing(fields.0.len()));
        }
        let hash = ChainHash::from_bytes(hash);
        Ok(Record { log, sequence, epoch, previous, id, time_ms, body, hash })
    }

    /// Returns how long the record is that these bytes begin with: not longer than they are, and not believed further.
    ///
    /// # Errors
    /// Where they don't begin as a record of this version does, or end before it.
    pub(crate) fn encoded_length(bytes: &[u8]) -> Result<usize, RecordError> {
        let (_, length) = kind_and_length(bytes)?;
        if !(HEADER_BYTES + DIGEST_BYTES..=RECORD_BYTES_MAX).contains(&length) {
            return Err(RecordError::Field("length"));
        }
        if length > bytes.len() {
            return Err(RecordError::Short { have: bytes.len(), need: length });
        }
        Ok(length)
    }
}

/// Reads the head of what is long enough to be a record, of this version. The length is what it says, not more.
fn kind_and_length(bytes: &[u8]) -> Result<(u16, usize), RecordError> {
    let need = HEADER_BYTES + DIGEST_BYTES;
    if bytes.len() < need {
        return Err(RecordError::Short { have: bytes.len(), need });
    }
    let mut head = Fields(bytes);
    if head.array()? != MAGIC {
        return Err(RecordError::Magic);
    }
    // Magic, version and kind stay where they are in every version, so that a newer record is named as such.
    let version = head.u16()?;
    if version != VERSION {
        return Err(RecordError::Version(version));
    }
    Ok((head.u16()?, head.u32()? as usize))
}

fn decode_store(fields: &mut Fields<'_>, moves: bool, sequence: Sequence) -> Result<StoreRecord, RecordError> {
    if fields.0.len() < STORE_BYTES {
        return Err(RecordError::Short { have: fields.0.len(), need: STORE_BYTES });
    }
    let [kind, flags, reserved @ ..] = fields.array::<4>()?;
    if flags & !(HAS_BEFORE | HAS_AFTER) != 0 || reserved != [0; 2] {
        return Err(RecordError::Field("flags"));
    }
    let before = digest(fields.array()?, flags & HAS_BEFORE != 0)?;
    let after = digest(fields.array()?, flags & HAS_AFTER != 0)?;
    let change = ChangePayload { bytes: fields.u64()?, digest: fields.array()? };
    let repository = fields.text("repository", RepositoryName::BYTES_MAX)?;
    let repository = RepositoryName::try_from(repository)?;
    let who = fields.text("who", WHO_BYTES_MAX)?;
    let source = fields.text("source", SOURCE_BYTES_MAX)?;
    let summary = fields.summary()?;
    let kind = match (moves, kind) {
        (false, STORE_CREATE) => StoreKind::Create,
        (false, STORE_ALTER) => StoreKind::Alter,
        (false, STORE_DELETE) => StoreKind::Delete,
        (true, MOVE_RENAME) => {
            StoreKind::Rename { from: RepositoryName::try_from(fields.text("from", RepositoryName::BYTES_MAX)?)? }
        }
        (true, MOVE_RESTORE) => StoreKind::Restore { deleted: fields.earlier(sequence)? },
        (true, MOVE_REWRITE) => StoreKind::Rewrite,
        _ => return Err(RecordError::Field("kind of change")),
    };
    let store = StoreRecord { repository, kind, before, after, who, source, summary, change };
    check_store(&store)?;
    Ok(store)
}

/// An absent digest is all zeros, so that a record has one spelling.
fn digest(bytes: [u8; 32], present: bool) -> Result<Option<[u8; 32]>, RecordError> {
    match (present, bytes == [0; 32]) {
        (true, _) => Ok(Some(bytes)),
        (false, true) => Ok(None),
        (false, false) => Err(RecordError::Field("absent digest")),
    }
}

/// What is left to read.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, need: usize) -> Result<&'a [u8], RecordError> {
        let (taken, rest) = self.0.split_at_checked(need).ok_or(RecordError::Short { have: self.0.len(), need })?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], RecordError> {
        let (array, rest) = self.0.split_first_chunk().ok_or(RecordError::Short { have: self.0.len(), need: N })?;
        self.0 = rest;
        Ok(*array)
    }

    fn u16(&mut self) -> Result<u16, RecordError> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, RecordError> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, RecordError> {
        self.array().map(u64::from_be_bytes)
    }

    /// The sequence of a record before this one.
    fn earlier(&mut self, than: Sequence) -> Result<Sequence, RecordError> {
        Sequence::new(self.u64()?).filter(|earlier| *earlier < than).ok_or(RecordError::Field("deleted"))
    }

    fn text(&mut self, field: &'static str, max: usize) -> Result<String, RecordError> {
        let length = self.u16()?;
        bound(field, length.into(), max as u64)?;
        let text = std::str::from_utf8(self.take(length.into())?).map_err(|_| RecordError::Field(field))?;
        if text.chars().any(char::is_control) {
            return Err(RecordError::Field(field));
        }
        Ok(text.to_owned())
    }

    fn summary(&mut self) -> Result<Vec<u8>, RecordError> {
        let length = self.u32()?;
        bound("summary", length.into(), SUMMARY_BYTES_MAX as u64)?;
        Ok(self.take(length as usize)?.to_vec())
    }
}
