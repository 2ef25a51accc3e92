//! Whether the repository is still as the client saw it when it made its push.

use super::parts::unknown_revision;
use super::{PushFailure, payloads};
use hg_store::{Node, Phase, Snapshot, StoreError};
use rustc_hash::FxHashSet;
use sha1::{Digest, Sha1};

/// The argument `heads` of `unbundle`: words in hexadecimal with blanks between.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ExpectedHeads {
    /// The word `force`: whatever the heads are. What a bundle2 comes with.
    Any,
    /// The word `hashed` and the SHA-1 of the sorted heads.
    Hashed(Vec<u8>),
    /// All heads, in the order of the command `heads`.
    Listed(Vec<Vec<u8>>),
}

impl ExpectedHeads {
    /// Parses the argument; none if a word of it isn't hexadecimal.
    pub(super) fn parse(argument: &[u8]) -> Option<ExpectedHeads> {
        let mut words = Vec::new();
        if !argument.is_empty() {
            for word in argument.split(|byte| *byte == b' ') {
                words.push(unhex(word)?);
            }
        }
        Some(match words.as_slice() {
            [word] if word == b"force" => ExpectedHeads::Any,
            [word, hash] if word == b"hashed" => ExpectedHeads::Hashed(hash.clone()),
            _ => ExpectedHeads::Listed(words),
        })
    }

    /// Whether these are the heads of `snapshot`'s served view.
    pub(super) fn hold(&self, snapshot: &Snapshot) -> Result<bool, StoreError> {
        if *self == ExpectedHeads::Any {
            return Ok(true);
        }
        let mut heads = served_heads(snapshot)?;
        Ok(match self {
            ExpectedHeads::Any => true,
            ExpectedHeads::Hashed(expected) => {
                heads.sort();
                let mut hash = Sha1::new();
                for head in &heads {
                    hash.update(head.as_bytes());
                }
                hash.finalize().as_slice() == expected.as_slice()
            }
            ExpectedHeads::Listed(expected) => {
                expected.len() == heads.len() && expected.iter().zip(&heads).all(|(word, head)| word == head.as_bytes())
            }
        })
    }
}

fn unhex(word: &[u8]) -> Option<Vec<u8>> {
    if !word.len().is_multiple_of(2) {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|value| value as u8);
    word.chunks_exact(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

/// The heads that a client sees; an empty repository has the null revision.
fn served_heads(snapshot: &Snapshot) -> Result<Vec<Node>, StoreError> {
    let heads = snapshot.served()?.heads();
    if heads.is_empty() {
        return Ok(vec![Node::NULL]);
    }
    Ok(heads.iter().map(|head| snapshot.changelog().node(*head)).collect())
}

/// `check:heads`: these are all the heads.
pub(super) fn check_heads(snapshot: &Snapshot, payload: &[u8]) -> Result<(), PushFailure> {
    let mut expected = payloads::nodes("check:heads", payload)?;
    let mut heads = served_heads(snapshot).map_err(PushFailure::store)?;
    expected.sort();
    heads.sort();
    if expected == heads { Ok(()) } else { Err(PushFailure::raced(None)) }
}

/// `check:updated-heads`: each of these still is a head of its branch. The null revision alone: there is no branch.
pub(super) fn check_updated_heads(snapshot: &Snapshot, payload: &[u8]) -> Result<(), PushFailure> {
    let expected = payloads::nodes("check:updated-heads", payload)?;
    let branches = snapshot.branchmap().map_err(PushFailure::store)?;
    if expected == [Node::NULL] {
        return if branches.iter().len() == 0 { Ok(()) } else { Err(PushFailure::raced(None)) };
    }
    let changelog = snapshot.changelog();
    let heads: FxHashSet<Node> =
        branches.iter().flat_map(|branch| &branch.heads).map(|head| changelog.node(head.revision)).collect();
    if expected.iter().all(|node| heads.contains(node)) { Ok(()) } else { Err(PushFailure::raced(None)) }
}

/// `check:bookmarks`: each of these is where the client saw it, or absent.
pub(super) fn check_bookmarks(snapshot: &Snapshot, payload: &[u8]) -> Result<(), PushFailure> {
    let bookmarks = snapshot.bookmarks().map_err(PushFailure::store)?;
    for (name, expected) in payloads::bookmarks(payload)? {
        let now = bookmarks.get(&name);
        let name = String::from_utf8_lossy(&name);
        let detail = match (expected, now) {
            (None, Some(now)) => format!("bookmark \"{name}\" set on {}, expected missing", short(&now)),
            (Some(expected), None) => format!("bookmark \"{name}\" is missing, expected {}", short(&expected)),
            (Some(expected), Some(now)) if expected != now => {
                format!("bookmark \"{name}\" move from {} to {}", short(&expected), short(&now))
            }
            _ => continue,
        };
        return Err(PushFailure::raced(Some(detail)));
    }
    Ok(())
}

/// `check:phases`: each of these changesets, hidden and secret ones too, is in the phase that the client saw.
pub(super) fn check_phases(snapshot: &Snapshot, payload: &[u8]) -> Result<(), PushFailure> {
    let phases = snapshot.phases().map_err(PushFailure::store)?;
    for (expected, node) in payloads::phases(payload)? {
        let now = if node.is_null() {
            Phase::Public
        } else {
            let revision = snapshot.changelog().revision_of(&node);
            let revision = revision.ok_or_else(|| unknown_revision(&node))?;
            phases.phase(revision)
        };
        if now != expected {
            let detail = format!("{} is {} expected {}", short(&node), phase_name(now), phase_name(expected));
            return Err(PushFailure::raced(Some(detail)));
        }
    }
    Ok(())
}

/// The twelve digits that stock shows.
pub(super) fn short(node: &Node) -> String {
    node.to_string()[..12].to_owned()
}

fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Public => "public",
        Phase::Draft => "draft",
        Phase::Secret => "secret",
        Phase::Archived => "archived",
        Phase::Internal => "internal",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_argument_heads_has_three_forms() {
        assert_eq!(ExpectedHeads::parse(b"666f726365"), Some(ExpectedHeads::Any));
        assert_eq!(ExpectedHeads::parse(b"686173686564 00ff"), Some(ExpectedHeads::Hashed(vec![0, 0xff])));
        assert_eq!(ExpectedHeads::parse(b"AA bb"), Some(ExpectedHeads::Listed(vec![vec![0xaa], vec![0xbb]])));
        assert_eq!(ExpectedHeads::parse(b""), Some(ExpectedHeads::Listed(vec![])));
        for bad in [b"666f72636".as_slice(), b"zz", b"66\n6f"] {
            assert_eq!(ExpectedHeads::parse(bad), None);
        }
    }
}
