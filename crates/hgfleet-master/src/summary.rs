//! What moved in a push, as a record tells it: opaque to the log, read by people and notifiers.

pub use hg_store::prepare::PushSummary;
use hgfleet_log::limits;

/// Encodes a summary so that it fits into a record: of a very large push the first changesets and phases are named.
pub(crate) fn encode_summary(mut summary: PushSummary) -> Vec<u8> {
    loop {
        match postcard::to_stdvec(&summary) {
            Ok(bytes) if bytes.len() <= limits::SUMMARY_BYTES_MAX => return bytes,
            Ok(_) => {
                summary.changesets.truncate(summary.changesets.len() / 2);
                summary.phases.truncate(summary.phases.len() / 2);
                summary.bookmarks.truncate(summary.bookmarks.len() / 2);
            }
            Err(_) => return Vec::new(),
        }
    }
}

/// Reads a record's summary; none where it has none, or another release wrote it.
pub fn decode_summary(bytes: &[u8]) -> Option<PushSummary> {
    postcard::from_bytes(bytes).ok()
}
