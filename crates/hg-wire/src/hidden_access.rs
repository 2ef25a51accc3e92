//! Access to hidden changesets: `hg pull --remote-hidden`. Over HTTP each request has `access-hidden=1` in its query, over SSH the server's command line ends
//! in `--hidden`. `experimental.server.allow-hidden-access` says who gets it; to everybody else it is as if they hadn't asked.

use hg_store::{Snapshot, StoreError};
use std::sync::Arc;

/// Returns the repository as it is seen by somebody who asked for hidden changesets, secret ones still left out; `None`: they may not.
///
/// # Errors
/// A store that can't be read.
pub fn seen_by(snapshot: &Arc<Snapshot>, user: Option<&str>) -> Result<Option<Arc<Snapshot>>, StoreError> {
    match snapshot.settings().may_see_hidden(user.map(str::as_bytes)) {
        true => snapshot.seen_through(snapshot.filter().with_hidden()).map(Some),
        false => Ok(None),
    }
}

/// Returns what somebody is told who may not, in stock's words.
pub(crate) fn ignored(user: &str) -> String {
    format!("ignoring request to access hidden changeset by unauthorized user: {user}\n")
}
