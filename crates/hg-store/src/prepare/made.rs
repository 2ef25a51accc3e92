//! Chunks that are made before it is known whether they will be stored.

use crate::{Node, delta};

use super::compress::Compressor;
use super::incoming::IncomingRevision;

/// A longer changeset is compressed where its text is needed: texts made here wait in memory.
const CHANGESET_BYTES_MAX: usize = 16 << 10;

/// What was made for a revision.
#[derive(Default)]
pub(super) enum Made {
    #[default]
    Nothing,
    /// The chunk that stores the delta that came.
    Delta(Vec<u8>),
    /// The chunk that stores this text: the revision's, if all names before it are what they say.
    Text { text: Vec<u8>, chunk: Vec<u8> },
}

impl Made {
    pub(super) fn of_delta(&self) -> Option<&[u8]> {
        match self {
            Made::Delta(chunk) => Some(chunk),
            Made::Nothing | Made::Text { .. } => None,
        }
    }

    /// The chunk that stores this text, if that was made.
    pub(super) fn of_text(&self, wanted: &[u8]) -> Option<&[u8]> {
        match self {
            Made::Text { text, chunk } if text == wanted => Some(chunk),
            _ => None,
        }
    }
}

/// Makes chunks of the revisions of a changegroup, one after the other.
pub(super) struct Maker {
    compressor: Compressor,
    /// The changeset before and its text, unchecked.
    before: Option<(Node, Vec<u8>)>,
}

impl Maker {
    pub(super) fn new(compressor: Compressor) -> Maker {
        Maker { compressor, before: None }
    }

    /// The chunk of a revision's delta, or of its text where that is what will be stored: of a changeset, and of a revision without a base.
    /// Where nothing can be made, or that fails, it is done where it is needed, and an error is told there.
    pub(super) fn make(&mut self, revision: &IncomingRevision, is_changeset: bool) -> Made {
        let text = if is_changeset {
            let text = self.changeset(revision);
            self.before = text.clone().map(|text| (revision.node, text));
            text
        } else if revision.base.is_null() {
            delta::apply(b"", &revision.delta, revision.delta.len()).ok()
        } else {
            return self.chunk(&revision.delta).map_or(Made::Nothing, Made::Delta);
        };
        let Some(text) = text else { return Made::Nothing };
        match self.chunk(&text) {
            Some(chunk) => Made::Text { text, chunk },
            None => Made::Nothing,
        }
    }

    fn changeset(&mut self, revision: &IncomingRevision) -> Option<Vec<u8>> {
        let base = match &self.before {
            _ if revision.base.is_null() => &[],
            Some((node, text)) if *node == revision.base => &text[..],
            _ => return None,
        };
        delta::apply(base, &revision.delta, CHANGESET_BYTES_MAX).ok()
    }

    fn chunk(&mut self, content: &[u8]) -> Option<Vec<u8>> {
        let mut chunk = Vec::new();
        self.compressor.compress(content, &mut chunk).ok()?;
        Some(chunk)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Requirements;

    fn compressor() -> Compressor {
        Compressor::new(&Requirements::unchecked(b"revlog-compression-zstd")).expect("memory")
    }

    fn hunk(start: u32, end: u32, bytes: &[u8]) -> Vec<u8> {
        [&[start, end, bytes.len() as u32].map(u32::to_be_bytes).concat(), bytes].concat()
    }

    fn revision(node: u8, base: Node, delta: Vec<u8>) -> IncomingRevision {
        let (null, node) = (Node::NULL, Node::new([node; 20]));
        IncomingRevision { node, p1: null, p2: null, link: null, base, flags: 0, delta }
    }

    fn stored(content: &[u8]) -> Vec<u8> {
        let mut chunk = Vec::new();
        compressor().compress(content, &mut chunk).expect("memory");
        chunk
    }

    #[test]
    fn what_will_be_stored_is_made() {
        let mut maker = Maker::new(compressor());
        let text = b"a line that comes again\n".repeat(20);
        let whole = maker.make(&revision(1, Node::NULL, hunk(0, 0, &text)), false);
        assert_eq!(whole.of_text(&text), Some(&stored(&text)[..]));
        assert_eq!((whole.of_delta(), whole.of_text(b"another")), (None, None));
        let delta = hunk(0, 24, &text);
        let made = maker.make(&revision(2, Node::new([1; 20]), delta.clone()), false);
        assert_eq!(made.of_delta(), Some(&stored(&delta)[..]));
        assert_eq!(made.of_text(&text), None);
    }

    #[test]
    fn texts_of_changesets_are_made_as_long_as_each_builds_on_the_one_before() {
        let mut maker = Maker::new(compressor());
        let text = b"a line that comes again\n".repeat(20);
        let next = [b"begins otherwise\n", &text[24..]].concat();
        let first = maker.make(&revision(1, Node::NULL, hunk(0, 0, &text)), true);
        assert_eq!(first.of_text(&text), Some(&stored(&text)[..]));
        let second = revision(2, Node::new([1; 20]), hunk(0, 24, b"begins otherwise\n"));
        assert_eq!(maker.make(&second, true).of_text(&next), Some(&stored(&next)[..]));
        let elsewhere = revision(3, Node::new([9; 20]), hunk(0, 24, b""));
        assert!(matches!(maker.make(&elsewhere, true), Made::Nothing));
        let on_that = revision(4, Node::new([3; 20]), hunk(0, 0, &text));
        assert!(matches!(maker.make(&on_that, true), Made::Nothing));
        let past_end = revision(5, Node::NULL, hunk(0, 24, &text));
        assert!(matches!(maker.make(&past_end, true), Made::Nothing));
        let long = revision(6, Node::NULL, hunk(0, 0, &vec![b'x'; CHANGESET_BYTES_MAX + 1]));
        assert!(matches!(maker.make(&long, true), Made::Nothing));
    }
}
