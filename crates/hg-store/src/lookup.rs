//! What a name given by a client stands for: stock's `lookup` and `known`.

use crate::revlog::PrefixMatch;
use crate::{Node, Revision, Snapshot, StoreError};

/// The number and the name that stand for the working directory, which a server never has.
const WORKING_DIRECTORY: i64 = i32::MAX as i64;

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// This changeset.
    Found(Revision),
    /// The null revision.
    Null,
    /// None; the text is stock's, without `abort:`, for instance `unknown revision 'x'`.
    Unknown(String),
}

/// Resolves a name over the served view as stock's `lookup`: number, node, `tip`, `null`, bookmark, tag, branch, prefix.
pub fn lookup(snapshot: &Snapshot, key: &[u8]) -> Result<Lookup, StoreError> {
    let changelog = snapshot.changelog();
    let view = snapshot.served()?;
    let shown = |revision: Revision| {
        if view.contains(revision) {
            Lookup::Found(revision)
        } else {
            let key = String::from_utf8_lossy(key);
            let filter = snapshot.filter().as_str();
            Lookup::Unknown(format!("filtered revision '{key}' (not in '{filter}' subset)"))
        }
    };
    let unknown = || Lookup::Unknown(format!("unknown revision '{}'", String::from_utf8_lossy(key)));
    match key {
        b"tip" => return Ok(view.tip().map_or(Lookup::Null, Lookup::Found)),
        b"null" | b"." => return Ok(Lookup::Null),
        _ => {}
    }
    if let Some(number) = parse_number(key) {
        let counted = if number < 0 { number + changelog.len() as i64 } else { number };
        if counted == WORKING_DIRECTORY {
            return Ok(unknown());
        }
        let revision = u32::try_from(counted).ok().and_then(|number| changelog.revision(number));
        if let Some(revision) = revision {
            return Ok(shown(revision));
        }
    }
    if let Some(node) = Node::from_hex(key) {
        if node.is_null() {
            return Ok(Lookup::Null);
        }
        if let Some(revision) = changelog.revision_of(&node) {
            return Ok(shown(revision));
        }
    }
    if let Some(revision) = named(snapshot, key)? {
        return Ok(shown(revision));
    }
    let Ok(hex) = std::str::from_utf8(key) else { return Ok(unknown()) };
    Ok(match by_prefix(snapshot, hex) {
        Prefix::Null => Lookup::Null,
        Prefix::Match(PrefixMatch::One(revision)) => shown(revision),
        Prefix::Match(PrefixMatch::None) => unknown(),
        Prefix::Match(PrefixMatch::Ambiguous) => Lookup::Unknown(format!("00changelog@{hex}: ambiguous identifier")),
    })
}

/// For each node, whether the served view has it. The null node is known.
pub fn known(snapshot: &Snapshot, nodes: &[Node]) -> Result<Vec<bool>, StoreError> {
    let view = snapshot.served()?;
    let changelog = snapshot.changelog();
    let has = |node: &Node| node.is_null() || view.revision_of(changelog, node).is_some();
    Ok(nodes.iter().map(has).collect())
}

/// Bookmark, else tag, else branch. A bookmark on a changeset that is not shown is none.
fn named(snapshot: &Snapshot, name: &[u8]) -> Result<Option<Revision>, StoreError> {
    let changelog = snapshot.changelog();
    if let Some(node) = snapshot.bookmarks()?.get(name)
        && let Some(revision) = snapshot.served()?.revision_of(changelog, &node)
    {
        return Ok(Some(revision));
    }
    if let Some(node) = snapshot.tags()?.get(name) {
        return Ok(changelog.revision_of(&node));
    }
    Ok(snapshot.branchmap()?.get(name).map(|branch| branch.tip()))
}

/// A whole number, written the one way in which it is written.
fn parse_number(key: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(key).ok()?;
    let number: i64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

enum Prefix {
    Null,
    Match(PrefixMatch),
}

/// Prefixes are looked for among all changesets, hidden ones too, and the two names that stand for none.
fn by_prefix(snapshot: &Snapshot, hex: &str) -> Prefix {
    let found = snapshot.changelog().lookup_prefix(hex);
    let null = hex.bytes().all(|digit| digit == b'0');
    let working_directory = hex.bytes().all(|digit| digit == b'f');
    match found {
        _ if hex.is_empty() => Prefix::Match(PrefixMatch::Ambiguous),
        PrefixMatch::None if null => Prefix::Null,
        PrefixMatch::One(_) if null || working_directory => Prefix::Match(PrefixMatch::Ambiguous),
        other => Prefix::Match(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_one_way() {
        assert_eq!(parse_number(b"12"), Some(12));
        assert_eq!(parse_number(b"-1"), Some(-1));
        for other in ["+1", "01", "-0", "1_0", " 1", "1 ", "", "9223372036854775808", "0x1"] {
            assert_eq!(parse_number(other.as_bytes()), None, "{other}");
        }
    }
}
