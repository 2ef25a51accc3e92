//! Obsolescence markers: `store/obsstore`, versions 0 and 1.

use crate::{Node, Snapshot, StoreError};

mod version0;
mod version1;

/// A marker with names of 32 bytes, which no repository has yet.
const FLAG_SHA256: u16 = 2;

/// One marker: a changeset was replaced by others, or by none.
#[derive(Clone, Debug, PartialEq)]
pub struct Marker {
    /// What was replaced; often not in the repository.
    pub predecessor: Node,
    /// By what; empty when pruned.
    pub successors: Vec<Node>,
    /// Bits of the marker, for instance 1: bumped fix.
    pub flags: u16,
    /// Keys and values in the order of the file.
    pub metadata: Vec<(Vec<u8>, Vec<u8>)>,
    /// When: seconds since 1970; finite.
    pub time: f64,
    /// Seconds west of UTC.
    pub offset: i32,
    /// Parents of the predecessor, where the marker has them (0 to 2).
    pub parents: Option<Vec<Node>>,
}

// Times are finite, so that equality is reflexive.
impl Eq for Marker {}

impl std::hash::Hash for Marker {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        // Zero and minus zero are equal.
        let time = if self.time == 0.0 { 0.0 } else { self.time };
        (&self.predecessor, &self.successors, self.flags, &self.metadata).hash(state);
        (time.to_bits(), self.offset, &self.parents).hash(state);
    }
}

/// The markers' bytes are none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MarkerError {
    /// A version that isn't 0 or 1.
    #[error("version {0} of markers is not known")]
    Version(u8),
    /// A marker ends after the bytes do.
    #[error("markers end within one")]
    Cut,
    /// A field that no working Mercurial writes, or that doesn't fit into the format.
    #[error("marker with {0}")]
    Invalid(&'static str),
}

/// Parses a version byte and markers: the form of the file, and of a bundle's part. Cycles are harmless and kept.
pub fn parse(bytes: &[u8]) -> Result<Vec<Marker>, MarkerError> {
    let (version, mut rest) = bytes.split_first().ok_or(MarkerError::Cut)?;
    let parse_one = match version {
        0 => version0::parse,
        1 => version1::parse,
        other => return Err(MarkerError::Version(*other)),
    };
    let mut markers = Vec::new();
    while !rest.is_empty() {
        let (marker, tail) = parse_one(rest)?;
        if marker.flags & FLAG_SHA256 != 0 {
            return Err(MarkerError::Invalid("names of 32 bytes"));
        }
        if !marker.time.is_finite() {
            return Err(MarkerError::Invalid("a date that is none"));
        }
        markers.push(marker);
        rest = tail;
    }
    Ok(markers)
}

impl Marker {
    /// Appends the marker in the form of version 1, without the version byte.
    pub fn encode_v1(&self, out: &mut Vec<u8>) -> Result<(), MarkerError> {
        version1::encode(self, out)
    }

    /// Appends the marker in the form of version 0, without the version byte.
    pub fn encode_v0(&self, out: &mut Vec<u8>) -> Result<(), MarkerError> {
        version0::encode(self, out)
    }
}

/// All markers of a snapshot.
#[derive(Clone, Debug, Default)]
pub struct Obsstore {
    version: Option<u8>,
    markers: Vec<Marker>,
}

impl Obsstore {
    pub(crate) fn read(snapshot: &Snapshot) -> Result<Obsstore, StoreError> {
        const PATH: &[u8] = b"obsstore";
        let store = snapshot.repository().store();
        let bytes = store.map(PATH, snapshot.state().obsstore_bytes)?;
        if bytes.is_empty() {
            return Ok(Obsstore::default());
        }
        let markers = parse(&bytes).map_err(|error| match error {
            MarkerError::Version(_) => {
                StoreError::unsupported(store.path_of(PATH), error.to_string(), "Update the server")
            }
            _ => StoreError::corrupt(store.path_of(PATH), error.to_string()),
        })?;
        Ok(Obsstore { version: bytes.first().copied(), markers })
    }

    /// The file's version byte; `None` where there is no file, or an empty one.
    pub fn version(&self) -> Option<u8> {
        self.version
    }

    /// The markers, in the file's order.
    pub fn markers(&self) -> &[Marker] {
        &self.markers
    }
}

/// Reads fields from the front of bytes.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn bytes(&mut self, count: usize) -> Result<&'a [u8], MarkerError> {
        let (now, later) = self.0.split_at_checked(count).ok_or(MarkerError::Cut)?;
        self.0 = later;
        Ok(now)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], MarkerError> {
        let (now, later) = self.0.split_first_chunk::<N>().ok_or(MarkerError::Cut)?;
        self.0 = later;
        Ok(*now)
    }

    fn byte(&mut self) -> Result<u8, MarkerError> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn nodes(&mut self, count: usize) -> Result<Vec<Node>, MarkerError> {
        let bytes = self.bytes(count * 20)?;
        Ok(bytes.chunks_exact(20).filter_map(Node::from_bytes).collect())
    }

    fn node(&mut self) -> Result<Node, MarkerError> {
        self.array().map(Node::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn node() -> impl Strategy<Value = Node> {
        any::<[u8; 20]>().prop_map(Node::new)
    }

    fn marker() -> impl Strategy<Value = Marker> {
        let metadata = proptest::collection::btree_map("[a-z]{1,8}", "[ -~]{0,20}", 0..4)
            .prop_filter("names of version 0", |map| {
                !["date", "p0", "p1", "p2"].iter().any(|key| map.contains_key(*key))
            })
            .prop_map(|map| map.into_iter().map(|(key, value)| (key.into_bytes(), value.into_bytes())).collect());
        let parents = proptest::option::of(proptest::collection::vec(node(), 0..3));
        let successors = proptest::collection::vec(node(), 0..4);
        (node(), successors, 0_u16..2, metadata, 0_i64..4_000_000_000_000, -1000_i32..1000, parents).prop_map(
            |(predecessor, successors, flags, metadata, millis, minutes, parents)| Marker {
                predecessor,
                successors,
                flags,
                metadata,
                time: millis as f64 / 1000.0,
                offset: minutes * 60,
                parents,
            },
        )
    }

    proptest! {
        #[test]
        fn both_versions_round_trip(markers in proptest::collection::vec(marker(), 0..5), cut in any::<prop::sample::Index>()) {
            for version in [0_u8, 1] {
                let mut bytes = vec![version];
                let mut ends = vec![1];
                for marker in &markers {
                    if version == 0 { marker.encode_v0(&mut bytes) } else { marker.encode_v1(&mut bytes) }.expect("fits");
                    ends.push(bytes.len());
                }
                prop_assert_eq!(&parse(&bytes).expect("parsed"), &markers);
                let cut = cut.index(bytes.len());
                prop_assert_eq!(parse(&bytes[..cut]).is_ok(), ends.contains(&cut));
            }
        }

        #[test]
        fn garbage_never_panics(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), version in 0_u8..3) {
            bytes.insert(0, version);
            let _ = parse(&bytes);
        }
    }
}
