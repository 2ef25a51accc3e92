//! Tags, from the `.hgtags` of the served heads.

use std::collections::{BTreeMap, HashSet};

use crate::node::hex_digit;
use crate::{Node, Revision, Snapshot, StoreError, manifest};

const FILE: &[u8] = b".hgtags";
/// Manifests of heads are alike: one helps to rebuild the next.
const MANIFESTS_KEPT_BYTES: usize = 16 << 20;

/// Names and the changesets that they are on, sorted by name; without `tip`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags {
    entries: Vec<(Vec<u8>, Node)>,
    /// The file's revision at each served head, null where a head has none; sorted by head.
    file_nodes: Vec<(Revision, Node)>,
}

/// What a tag is on, and what it was on before; as bytes, since a file may have names of any length.
type History = (Vec<u8>, Vec<Vec<u8>>);

impl Tags {
    pub(crate) fn read(snapshot: &Snapshot) -> Result<Tags, StoreError> {
        let Some(log) = snapshot.filelog(FILE)? else {
            let none = snapshot.served()?.heads().iter().map(|head| (*head, Node::NULL));
            return Ok(Tags::new(Vec::new(), none.collect()));
        };
        let mut all: BTreeMap<Vec<u8>, History> = BTreeMap::new();
        let file_nodes = file_nodes(snapshot)?;
        let mut read = HashSet::from([Node::NULL]);
        for (_, node) in &file_nodes {
            if !read.insert(*node) {
                continue;
            }
            let Some(revision) = log.revision_of(node) else {
                return Err(StoreError::corrupt(log.path(), format!("lacks revision {node}")));
            };
            let text = log.text(revision)?;
            for (name, history) in parse(without_copy_header(&text)) {
                add(&mut all, name, history);
            }
        }
        let view = snapshot.served()?;
        let mut entries = Vec::new();
        for (name, (node, _)) in all {
            // A tag on the null node was removed; one on an unknown changeset is not shown.
            let Some(node) = Node::from_bytes(&node) else { continue };
            if name != b"tip" && view.revision_of(snapshot.changelog(), &node).is_some() {
                entries.push((name, node));
            }
        }
        Ok(Tags::new(entries, file_nodes))
    }

    fn new(entries: Vec<(Vec<u8>, Node)>, mut file_nodes: Vec<(Revision, Node)>) -> Tags {
        file_nodes.sort_unstable();
        Tags { entries, file_nodes }
    }

    /// Where a tag is.
    pub fn get(&self, name: &[u8]) -> Option<Node> {
        let at = self.entries.binary_search_by(|(known, _)| known.as_slice().cmp(name)).ok()?;
        Some(self.entries[at].1)
    }

    /// The file's revision at a served head, null where the head has none; `None` of any other changeset.
    pub(crate) fn file_node(&self, head: Revision) -> Option<Node> {
        let at = self.file_nodes.binary_search_by_key(&head, |(known, _)| *known).ok()?;
        Some(self.file_nodes[at].1)
    }

    /// All of them, sorted by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&[u8], Node)> {
        self.entries.iter().map(|(name, node)| (name.as_slice(), *node))
    }
}

/// The file's revision at each served head, null where a head has none; lowest head first.
fn file_nodes(snapshot: &Snapshot) -> Result<Vec<(Revision, Node)>, StoreError> {
    let log = snapshot.manifest();
    let mut manifests = log.texts(MANIFESTS_KEPT_BYTES);
    let mut nodes = Vec::new();
    for head in snapshot.served()?.heads().iter().rev() {
        let changeset = snapshot.changeset(*head)?;
        if changeset.manifest.is_null() {
            nodes.push((*head, Node::NULL));
            continue;
        }
        let Some(revision) = log.revision_of(&changeset.manifest) else {
            let what = format!("lacks revision {} of changeset {head}", changeset.manifest);
            return Err(StoreError::corrupt(log.path(), what));
        };
        let text = manifests.text_unchecked(revision)?;
        let line = manifest::find(&text, FILE)
            .map_err(|error| StoreError::corrupt(log.path(), format!("revision {revision}: {error}")))?;
        nodes.push((*head, line.map_or(Node::NULL, |line| line.node)));
    }
    Ok(nodes)
}

/// A file's text may begin with a header that tells where it was copied from.
fn without_copy_header(text: &[u8]) -> &[u8] {
    const MARK: &[u8] = b"\x01\n";
    let Some(rest) = text.strip_prefix(MARK) else { return text };
    memchr::memmem::find(rest, MARK).map_or(text, |end| &rest[end + MARK.len()..])
}

/// Lines `hex name`; others don't count. Of one name the last line counts, and the others are its history.
fn parse(text: &[u8]) -> BTreeMap<Vec<u8>, History> {
    let mut found: BTreeMap<Vec<u8>, History> = BTreeMap::new();
    for line in text.split(|byte| matches!(byte, b'\n' | b'\r')) {
        let Some(blank) = memchr::memchr(b' ', line) else { continue };
        let Some(node) = parse_hex(&line[..blank]) else { continue };
        match found.entry(line[blank + 1..].trim_ascii().to_vec()) {
            std::collections::btree_map::Entry::Vacant(slot) => {
                slot.insert((node, Vec::new()));
            }
            std::collections::btree_map::Entry::Occupied(mut slot) => {
                let (now, before) = slot.get_mut();
                before.push(std::mem::replace(now, node));
            }
        }
    }
    found
}

fn parse_hex(hex: &[u8]) -> Option<Vec<u8>> {
    let pairs = hex.chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return None;
    }
    pairs.map(|pair| Some(hex_digit(pair[0])? << 4 | hex_digit(pair[1])?)).collect()
}

/// A higher head's tag wins, unless the one so far is known to have followed it.
fn add(all: &mut BTreeMap<Vec<u8>, History>, name: Vec<u8>, (node, mut before): History) {
    let Some((old, old_before)) = all.get(&name) else {
        all.insert(name, (node, before));
        return;
    };
    // A file may put one tag on hundreds of thousands of nodes: none of these is looked for in a list more than once.
    let followed =
        *old != node && old_before.contains(&node) && (!before.contains(old) || old_before.len() > before.len());
    let winner = if followed { old.clone() } else { node };
    let mut known: HashSet<Vec<u8>> = before.iter().cloned().collect();
    before.extend(old_before.iter().filter(|earlier| known.insert((*earlier).clone())).cloned());
    all.insert(name, (winner, before));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_later_line_and_the_longer_history_win() {
        let (a, b) = ("aa".repeat(20), "bb".repeat(20));
        let parsed = parse(format!("{a} one\n{b}  one \r\nxx two\n\n{a}three\n").as_bytes());
        assert_eq!(parsed.len(), 1);
        assert_eq!(parsed[b"one".as_slice()], (vec![0xbb; 20], vec![vec![0xaa; 20]]));
        let mut all = BTreeMap::new();
        for text in [format!("{a} one\n{b} one\n"), format!("{a} one\n")] {
            for (name, history) in parse(text.as_bytes()) {
                add(&mut all, name, history);
            }
        }
        assert_eq!(all[b"one".as_slice()].0, vec![0xbb; 20]);
    }

    /// Row N6 of the bad input.
    #[test]
    fn a_tag_that_was_on_very_many_changesets_costs_what_its_file_is_long() {
        let file = |first: u32| -> String { (first..first + 150_000).map(|n| format!("{n:040x} one\n")).collect() };
        let begun = std::time::Instant::now();
        let mut all = BTreeMap::new();
        for text in [file(0), file(100_000), file(50_000)] {
            assert!(text.len() > 6 << 20);
            for (name, history) in parse(text.as_bytes()) {
                add(&mut all, name, history);
            }
        }
        let (_, before) = &all[b"one".as_slice()];
        assert_eq!(before.iter().collect::<HashSet<_>>().len(), before.len());
        assert!(before.len() >= 249_999, "{}", before.len());
        assert!(begun.elapsed() < std::time::Duration::from_secs(20), "{:?}", begun.elapsed());
    }

    #[test]
    fn lines_that_are_no_tags_are_passed_over() {
        let odd = format!(
            "{0} \n{0} ..\n{0} tip\n{1} gone\n{2} long\n\0\n{0}\n",
            "aa".repeat(20),
            "00".repeat(20),
            "aa".repeat(40)
        );
        let parsed = parse(odd.as_bytes());
        let names: Vec<&[u8]> = parsed.keys().map(Vec::as_slice).collect();
        assert_eq!(names, [&b""[..], b"..", b"gone", b"long", b"tip"]);
    }

    #[test]
    fn copy_header_is_no_tag() {
        assert_eq!(without_copy_header(b"\x01\ncopy: a\n\x01\nrest"), b"rest");
        assert_eq!(without_copy_header(b"\x01\nrest"), b"\x01\nrest");
    }
}
