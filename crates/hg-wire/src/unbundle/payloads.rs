//! The small payloads of a push's parts, parsed.

use super::PushFailure;
use super::failure::BROKEN;
use crate::quoting::unquote;
use hg_store::{Node, Phase};

/// A node of all ones stands for "no such bookmark" where bookmarks are listed.
const ABSENT: [u8; 20] = [0xff; 20];

/// A bookmark and where it is, or that there is none.
pub(super) type NamedNode = (Vec<u8>, Option<Node>);

/// Nodes, one after the other: `check:heads`, `check:updated-heads`.
pub(super) fn nodes(part: &str, payload: &[u8]) -> Result<Vec<Node>, PushFailure> {
    if !payload.len().is_multiple_of(20) {
        return Err(PushFailure::refused(format_args!("bad {part} stream"), "in the bundle", BROKEN));
    }
    Ok(payload.chunks_exact(20).filter_map(Node::from_bytes).collect())
}

/// Bookmarks and where they are: a node, 2 bytes of length, the name. `bookmarks`, `check:bookmarks`.
pub(super) fn bookmarks(payload: &[u8]) -> Result<Vec<NamedNode>, PushFailure> {
    let bad = || PushFailure::refused("bad bookmark stream", "in the bundle", BROKEN);
    let mut bookmarks = Vec::new();
    let mut rest = payload;
    while !rest.is_empty() {
        let (entry, after) = rest.split_at_checked(22).ok_or_else(bad)?;
        let (node, length) = entry.split_at(20);
        let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
        let (name, after) = after.split_at_checked(length).ok_or_else(bad)?;
        let node = if node == ABSENT { None } else { Node::from_bytes(node) };
        bookmarks.push((name.to_vec(), node));
        rest = after;
    }
    Ok(bookmarks)
}

/// Phases and changesets: 4 bytes of phase, a node. `phase-heads`, `check:phases`. Sorted by phase, in the order sent within one.
pub(super) fn phases(payload: &[u8]) -> Result<Vec<(Phase, Node)>, PushFailure> {
    if !payload.len().is_multiple_of(24) {
        return Err(PushFailure::refused("bad phase-heads stream", "in the bundle", BROKEN));
    }
    let mut phases = Vec::with_capacity(payload.len() / 24);
    for entry in payload.chunks_exact(24) {
        let number = u32::from_be_bytes([entry[0], entry[1], entry[2], entry[3]]);
        let phase = Phase::from_number(number)
            .ok_or_else(|| PushFailure::refused(format_args!("unknown phase {number}"), "in the bundle", BROKEN))?;
        phases.extend(Node::from_bytes(&entry[4..]).map(|node| (phase, node)));
    }
    phases.sort_by_key(|(phase, _)| *phase);
    Ok(phases)
}

/// What a client understands of replies: lines of `name` or `name=value,value`, each URL-quoted. `replycaps`.
#[derive(Debug, Default)]
pub(super) struct ReplyCapabilities {
    errors: Vec<Vec<u8>>,
}

impl ReplyCapabilities {
    pub(super) fn parse(payload: &[u8]) -> ReplyCapabilities {
        let mut capabilities = ReplyCapabilities::default();
        for line in payload.split(|byte| *byte == b'\n') {
            let mut halves = line.splitn(2, |byte| *byte == b'=');
            if unquote(halves.next().unwrap_or_default()) == b"error" {
                let values = halves.next().unwrap_or_default();
                capabilities.errors = values.split(|byte| *byte == b',').map(unquote).collect();
            }
        }
        capabilities
    }

    /// Whether the client knows a part `error:KIND`.
    pub(super) fn knows_error(&self, kind: &str) -> bool {
        self.errors.iter().any(|known| known == kind.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bookmarks_are_read_and_all_ones_is_absence() {
        let node = Node::new([7; 20]);
        let payload = [node.as_bytes().as_slice(), &[0, 1], b"a", &ABSENT, &[0, 2], b"bc"].concat();
        let read = bookmarks(&payload).expect("reads");
        assert_eq!(read, vec![(b"a".to_vec(), Some(node)), (b"bc".to_vec(), None)]);
    }

    #[test]
    fn phases_are_sorted_by_phase_and_unknown_ones_refused() {
        let entry = |phase: u32, byte: u8| [phase.to_be_bytes().as_slice(), &[byte; 20]].concat();
        let read = phases(&[entry(1, 3), entry(0, 2), entry(1, 1)].concat()).expect("reads");
        assert_eq!(
            read,
            vec![
                (Phase::Public, Node::new([2; 20])),
                (Phase::Draft, Node::new([3; 20])),
                (Phase::Draft, Node::new([1; 20]))
            ]
        );
        for unknown in [3, 99, u32::MAX, 1 << 31] {
            assert!(phases(&entry(unknown, 1)).is_err());
        }
    }

    #[test]
    fn a_clients_error_parts_are_known() {
        let capabilities = ReplyCapabilities::parse(
            b"HG20\nbookmarks\nerror=abort,unsupportedcontent,pushraced,push%6bey\nphases=heads",
        );
        assert!(capabilities.knows_error("pushkey"));
        assert!(!capabilities.knows_error("other"));
        assert!(!ReplyCapabilities::parse(b"").knows_error("abort"));
    }

    proptest! {
        #[test]
        fn lengths_that_do_not_fit_are_refused_and_nothing_panics(payload in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(nodes("check:heads", &payload).is_ok(), payload.len() % 20 == 0);
            if payload.len() % 24 != 0 {
                prop_assert!(phases(&payload).is_err());
            }
            let _ = bookmarks(&payload);
            let _ = ReplyCapabilities::parse(&payload);
        }
    }
}
