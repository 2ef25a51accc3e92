//! What every backend checks before it writes.

use super::{LogError, READ_ONLY_BYTES_MAX, Refusal, Tail, VALUE_BYTES_MAX, ValueError, ViewError};
use crate::ids::{ChainHash, Epoch};
use crate::membership::{MIRRORS_MAX, Member, SERVER_NAME_BYTES_MAX, View};
use crate::record::limits::HOLDER_BYTES_MAX;
use crate::record::{Body, Record};

/// Most servers that one look at the members returns.
pub(crate) const MEMBERS_MAX: usize = 4096;
/// Longest address and longest reason of a member, in bytes.
const TEXT_BYTES_MAX: usize = 4096;
/// A server that was silent for longer is forgotten, in milliseconds.
pub(crate) const FORGET_AFTER_MS: u64 = 24 * 60 * 60 * 1000;

/// Whether this record may follow on that end.
pub(crate) fn may_follow(tail: Option<&Tail>, record: &Record) -> Result<(), Refusal> {
    let newest = tail.map(|tail| tail.epoch);
    let due = match record.body {
        Body::Epoch { .. } => Epoch::after(newest),
        Body::Empty | Body::Store(_) | Body::Purge { .. } => newest,
    };
    if let Some(newest) = newest
        && Some(record.epoch) < due
    {
        return Err(Refusal::Fenced { newest });
    }
    let last = tail.map(|tail| tail.sequence);
    if last != record.sequence.previous() {
        return Err(Refusal::WrongLastSequence { last });
    }
    if due != Some(record.epoch) {
        return Err(Refusal::EpochNotBegun(record.epoch));
    }
    if record.previous != tail.map_or(ChainHash::NONE, |tail| tail.hash) {
        return Err(Refusal::BrokenChain);
    }
    Ok(())
}

/// Whether this view may take the place of the one with version `expected`, in a log that ends at `tail`.
pub(crate) fn view_may_follow(
    tail: Option<&Tail>,
    current: Option<View>,
    expected: Option<u64>,
    view: &View,
) -> Result<(), ViewError> {
    let Some(tail) = tail else { return Err(ViewError::Invalid("the log has no epoch yet")) };
    if view.epoch < tail.epoch {
        return Err(ViewError::Fenced { newest: tail.epoch });
    }
    if view.epoch > tail.epoch {
        return Err(ViewError::Invalid("its epoch has not begun"));
    }
    if current.as_ref().map(|current| current.version) != expected {
        return Err(ViewError::Conflict { current });
    }
    if view.version != expected.unwrap_or(0) + 1 || view.version > i64::MAX as u64 {
        return Err(ViewError::Invalid("its version is not the next"));
    }
    if view.visible < current.and_then(|current| current.visible) {
        return Err(ViewError::Invalid("its position lies below the one that is shown"));
    }
    if view.visible > Some(tail.sequence) {
        return Err(ViewError::Invalid("its position lies beyond the log's end"));
    }
    if view.mirrors.len() > MIRRORS_MAX {
        return Err(ViewError::Invalid("it has too many mirrors"));
    }
    if view.mirrors.iter().any(|mirror| mirror.name.is_empty() || mirror.name.len() > SERVER_NAME_BYTES_MAX) {
        return Err(ViewError::Invalid("a mirror's name is empty or too long"));
    }
    let mut names: Vec<_> = view.mirrors.iter().collect();
    names.sort();
    if names.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(ViewError::Invalid("a mirror is in it twice"));
    }
    Ok(())
}

/// Whether this epoch may say why the fleet takes no pushes, in a log that ends at `tail`.
pub(crate) fn read_only_may_follow(tail: Option<&Tail>, epoch: Epoch, reason: Option<&str>) -> Result<(), ViewError> {
    match tail {
        None => Err(ViewError::Invalid("the log has no epoch yet")),
        Some(tail) if epoch < tail.epoch => Err(ViewError::Fenced { newest: tail.epoch }),
        Some(tail) if epoch > tail.epoch => Err(ViewError::Invalid("its epoch has not begun")),
        Some(_) if reason.is_some_and(|reason| reason.len() > READ_ONLY_BYTES_MAX) => {
            Err(ViewError::Invalid("the reason is too long"))
        }
        Some(_) => Ok(()),
    }
}

/// Whether a heartbeat is within its bounds.
pub(crate) fn check_member(member: &Member) -> Result<(), LogError> {
    if member.name.len() > SERVER_NAME_BYTES_MAX
        || member.address.len() > TEXT_BYTES_MAX
        || member.reason.len() > TEXT_BYTES_MAX
    {
        return Err(LogError::Value("a heartbeat with a text that is too long".to_owned()));
    }
    Ok(())
}

/// Longest key of a value, bytes.
const KEY_BYTES_MAX: usize = 32;

/// Whether this is the key of a value.
pub(crate) fn check_key(key: &str) -> Result<(), LogError> {
    let is_one = (1..=KEY_BYTES_MAX).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
    if is_one { Ok(()) } else { Err(LogError::Value(format!("{key:?} is no key of a value"))) }
}

/// Whether this value may be written.
pub(crate) fn check_value(key: &str, bytes: &[u8]) -> Result<(), ValueError> {
    check_key(key)?;
    if bytes.len() > VALUE_BYTES_MAX { Err(ValueError::TooLarge { bytes: bytes.len() }) } else { Ok(()) }
}

/// Whether a holder's name is within its bound.
pub(crate) fn check_holder(holder: &str) -> Result<(), LogError> {
    if holder.len() > HOLDER_BYTES_MAX {
        return Err(LogError::Value("the holder's name is too long".to_owned()));
    }
    Ok(())
}
