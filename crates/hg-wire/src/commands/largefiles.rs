//! The commands of Mercurial's extension `largefiles` that read.
//!
//! ```text
//! getlfile   length LF, content
//! statlfile  "0" LF: it is here, "2" LF: it isn't
//! lheads     as `heads`, which is not answered where the repository has standins: who doesn't know them would take them for files
//! ```

use super::{Answer, FileAnswer, Form};
use crate::CommandError;
use crate::error::shown;
use hg_store::Snapshot;
use hg_store::largefiles::LargefileHash;
use std::sync::Arc;

const PRESENT: &[u8] = b"0\n";
const MISSING: &[u8] = b"2\n";

/// Refuses a client that asks for `heads` where only those who know largefiles are served.
pub(super) fn check_heads(snapshot: &Snapshot) -> Result<(), CommandError> {
    match snapshot.repository().requirements().largefiles() {
        false => Ok(()),
        true => Err(CommandError::Refused(
            "refused: the extension largefiles is off in this client, on this repository. Enable it: [extensions] largefiles =".to_owned(),
        )),
    }
}

/// Returns the hash that an argument is, where the repository serves largefiles.
pub(crate) fn hash(snapshot: &Snapshot, sha: &[u8]) -> Result<LargefileHash, CommandError> {
    if !snapshot.serves_largefiles() {
        return Err(CommandError::Refused(
            "refused: largefiles are not enabled, on this repository. Ask its administrators for extensions.largefiles"
                .to_owned(),
        ));
    }
    LargefileHash::from_hex(sha).ok_or_else(|| CommandError::Malformed(format!("no SHA-1: '{}'", shown(sha))))
}

pub(super) fn statlfile(snapshot: &Snapshot, sha: &[u8]) -> Result<Vec<u8>, CommandError> {
    let found = snapshot.repository().largefile(hash(snapshot, sha)?)?;
    Ok(if found.is_some() { PRESENT } else { MISSING }.to_vec())
}

pub(super) fn getlfile(snapshot: &Arc<Snapshot>, sha: &[u8]) -> Result<Answer, CommandError> {
    let hash = hash(snapshot, sha)?;
    let Some((file, bytes)) = snapshot.repository().largefile(hash)? else {
        return Err(CommandError::Refused(format!(
            "refused: largefile {hash} is not here, on this repository. Push it from a clone that has it, with hg push"
        )));
    };
    let answer = FileAnswer { head: format!("{bytes}\n").into_bytes(), file, bytes };
    Ok(Answer::Stream(Box::new(move |output| Ok(answer.write(output)?)), Form::Raw))
}
