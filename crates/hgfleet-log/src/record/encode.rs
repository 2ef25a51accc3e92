//! A record's bytes, written.

use super::limits::*;
use super::*;

pub(super) const MAGIC: [u8; 8] = *b"hgfltrec";
pub(super) const VERSION: u16 = 1;
pub(super) const HEADER_BYTES: usize = 104;
pub(super) const DIGEST_BYTES: usize = 32;
/// Fixed part of a store record's body: up to and with the change's digest.
pub(super) const STORE_BYTES: usize = 108;

pub(super) const KIND_EPOCH: u16 = 1;
pub(super) const KIND_EMPTY: u16 = 2;
pub(super) const KIND_STORE: u16 = 3;
/// Of a store as well, and not known to versions that know [`KIND_STORE`] alone.
pub(super) const KIND_MOVE: u16 = 4;
pub(super) const KIND_PURGE: u16 = 5;

pub(super) const STORE_CREATE: u8 = 1;
pub(super) const STORE_ALTER: u8 = 2;
pub(super) const STORE_DELETE: u8 = 3;
pub(super) const MOVE_RENAME: u8 = 1;
pub(super) const MOVE_RESTORE: u8 = 2;
pub(super) const MOVE_REWRITE: u8 = 3;

pub(super) const HAS_BEFORE: u8 = 1;
pub(super) const HAS_AFTER: u8 = 2;

impl Record {
    /// Returns the record's bytes, as `docs/formats/record.md` describes them.
    ///
    /// # Errors
    /// Where a field is beyond its bound or its value isn't allowed.
    pub fn encode(&self) -> Result<Vec<u8>, RecordError> {
        let kind = match &self.body {
            Body::Epoch { .. } => KIND_EPOCH,
            Body::Empty => KIND_EMPTY,
            Body::Store(StoreRecord { kind: StoreKind::Create | StoreKind::Alter | StoreKind::Delete, .. }) => {
                KIND_STORE
            }
            Body::Store(_) => KIND_MOVE,
            Body::Purge { .. } => KIND_PURGE,
        };
        let mut out = Vec::with_capacity(512);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_be_bytes());
        out.extend_from_slice(&kind.to_be_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(self.log.as_bytes());
        out.extend_from_slice(&self.sequence.get().to_be_bytes());
        out.extend_from_slice(&self.epoch.get().to_be_bytes());
        out.extend_from_slice(self.previous.as_bytes());
        out.extend_from_slice(self.id.as_bytes());
        out.extend_from_slice(&self.time_ms.to_be_bytes());
        debug_assert_eq!(out.len(), HEADER_BYTES);
        match &self.body {
            Body::Epoch { holder } => text(&mut out, "holder", holder, HOLDER_BYTES_MAX)?,
            Body::Empty => {}
            Body::Store(store) => encode_store(&mut out, store)?,
            Body::Purge { deleted } if *deleted < self.sequence => out.extend_from_slice(&deleted.get().to_be_bytes()),
            Body::Purge { .. } => return Err(RecordError::Field("deleted")),
        }
        let bytes = out.len() + DIGEST_BYTES;
        bound("record", bytes as u64, RECORD_BYTES_MAX as u64)?;
        out[12..16].copy_from_slice(&(bytes as u32).to_be_bytes());
        let digest = blake3::hash(&out);
        out.extend_from_slice(digest.as_bytes());
        Ok(out)
    }
}

fn encode_store(out: &mut Vec<u8>, store: &StoreRecord) -> Result<(), RecordError> {
    check_store(store)?;
    out.push(match &store.kind {
        StoreKind::Create => STORE_CREATE,
        StoreKind::Alter => STORE_ALTER,
        StoreKind::Delete => STORE_DELETE,
        StoreKind::Rename { .. } => MOVE_RENAME,
        StoreKind::Restore { .. } => MOVE_RESTORE,
        StoreKind::Rewrite => MOVE_REWRITE,
    });
    let flag = |present: bool, flag: u8| if present { flag } else { 0 };
    out.push(flag(store.before.is_some(), HAS_BEFORE) | flag(store.after.is_some(), HAS_AFTER));
    out.extend_from_slice(&[0; 2]);
    out.extend_from_slice(&store.before.unwrap_or_default());
    out.extend_from_slice(&store.after.unwrap_or_default());
    out.extend_from_slice(&store.change.bytes.to_be_bytes());
    out.extend_from_slice(&store.change.digest);
    text(out, "repository", store.repository.as_str(), RepositoryName::BYTES_MAX)?;
    text(out, "who", &store.who, WHO_BYTES_MAX)?;
    text(out, "source", &store.source, SOURCE_BYTES_MAX)?;
    bound("summary", store.summary.len() as u64, SUMMARY_BYTES_MAX as u64)?;
    out.extend_from_slice(&(store.summary.len() as u32).to_be_bytes());
    out.extend_from_slice(&store.summary);
    match &store.kind {
        StoreKind::Rename { from } => text(out, "from", from.as_str(), RepositoryName::BYTES_MAX),
        StoreKind::Restore { deleted } => {
            out.extend_from_slice(&deleted.get().to_be_bytes());
            Ok(())
        }
        StoreKind::Create | StoreKind::Alter | StoreKind::Delete | StoreKind::Rewrite => Ok(()),
    }
}

/// Which digests a change of each kind has, and how long it may be.
pub(super) fn check_store(store: &StoreRecord) -> Result<(), RecordError> {
    bound("change", store.change.bytes, CHANGE_BYTES_MAX)?;
    if matches!(store.kind, StoreKind::Rename { .. } | StoreKind::Restore { .. })
        && store.change != ChangePayload::of(&[])
    {
        return Err(RecordError::Field("change"));
    }
    match (&store.kind, store.before, store.after) {
        (StoreKind::Rename { from }, _, _) if *from == store.repository => Err(RecordError::Field("from")),
        (StoreKind::Create | StoreKind::Restore { .. }, None, Some(_))
        | (StoreKind::Alter | StoreKind::Rewrite, Some(_), Some(_))
        | (StoreKind::Delete, _, None) => Ok(()),
        (StoreKind::Rename { .. }, Some(before), Some(after)) if before == after => Ok(()),
        _ => Err(RecordError::Field("digest before or after")),
    }
}

/// A text for people: UTF-8 without control characters, with its length before it.
fn text(out: &mut Vec<u8>, field: &'static str, text: &str, max: usize) -> Result<(), RecordError> {
    bound(field, text.len() as u64, max as u64)?;
    if text.chars().any(char::is_control) {
        return Err(RecordError::Field(field));
    }
    // Every bound of a text is below 2^16.
    out.extend_from_slice(&(text.len() as u16).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

pub(super) fn bound(field: &'static str, value: u64, max: u64) -> Result<(), RecordError> {
    if value > max { Err(RecordError::TooLarge { field, value, max }) } else { Ok(()) }
}
