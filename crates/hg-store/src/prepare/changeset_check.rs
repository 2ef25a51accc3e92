//! What the text of a new changeset must be.

use crate::Changeset;

use super::error::Refusal;

/// Parses a changeset's text, and refuses what no Mercurial writes and some reader would stumble over.
pub(super) fn parse(text: &[u8]) -> Result<Changeset, Refusal> {
    let refused = |what: &str| Refusal::Changeset(format!("changeset {what}"));
    let changeset = Changeset::parse(text).map_err(|error| Refusal::Changeset(error.to_string()))?;
    let branch = changeset.branch();
    if branch.is_empty() {
        return Err(refused("with an empty branch name"));
    }
    if branch.iter().any(|&byte| byte < 0x20 || byte == 0x7f) {
        return Err(refused("with a control character in its branch name"));
    }
    if changeset.files.iter().any(Vec::is_empty) {
        return Err(refused("with an empty file name"));
    }
    Ok(changeset)
}
