//! Bookmarks.

use std::collections::BTreeMap;

use crate::{Node, Snapshot, StoreError};

/// Names and the changesets that they are on, sorted by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bookmarks {
    entries: Vec<(Vec<u8>, Node)>,
}

impl Bookmarks {
    /// Bookmarks on unknown changesets are dropped, and so are lines that are none: Mercurial does the same, since a
    /// strip leaves them behind.
    pub(crate) fn read(snapshot: &Snapshot) -> Result<Bookmarks, StoreError> {
        let content = snapshot.state().bookmarks.as_deref().unwrap_or_default();
        let lines = content.split(|byte| *byte == b'\n').filter_map(parse_line);
        // The null revision is one that every repository has.
        let known = lines.filter(|(_, node)| node.is_null() || snapshot.changelog().revision_of(node).is_some());
        // Of a name that is there twice the last line counts.
        let entries: BTreeMap<Vec<u8>, Node> = known.map(|(name, node)| (name.to_vec(), node)).collect();
        Ok(Bookmarks { entries: entries.into_iter().collect() })
    }

    /// Where a bookmark is.
    pub fn get(&self, name: &[u8]) -> Option<Node> {
        let at = self.entries.binary_search_by(|(known, _)| known.as_slice().cmp(name)).ok()?;
        Some(self.entries[at].1)
    }

    /// All of them, sorted by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&[u8], Node)> {
        self.entries.iter().map(|(name, node)| (name.as_slice(), *node))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// `hex name`.
fn parse_line(line: &[u8]) -> Option<(&[u8], Node)> {
    let (hex, name) = line.trim_ascii().split_at_checked(40)?;
    let name = name.strip_prefix(b" ")?;
    (!name.is_empty()).then_some((name, Node::from_hex(hex)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_garbage() {
        let hex = "0123456789abcdef0123456789abcdef01234567";
        let line = format!("{hex} a b\r");
        assert_eq!(parse_line(line.as_bytes()).map(|(name, _)| name), Some(b"a b".as_slice()));
        for garbage in [format!("{hex} "), hex.to_owned(), format!("{hex}x y"), "zz a".into(), String::new()] {
            assert!(parse_line(garbage.as_bytes()).is_none(), "{garbage}");
        }
    }
}
