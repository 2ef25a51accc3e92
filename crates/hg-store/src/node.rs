//! Names and numbers of revisions.

mod several;

use std::fmt;

use serde::{Deserialize, Serialize};
use sha1::{Digest, Sha1};

pub use several::Unnamed;

/// A revision's name: SHA-1 over its parents' names, the smaller one first, and its text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Node([u8; 20]);

impl Node {
    /// Twenty zero bytes: the parent that isn't there.
    pub const NULL: Node = Node([0; 20]);

    /// The name with these bytes.
    pub const fn new(bytes: [u8; 20]) -> Node {
        Node(bytes)
    }

    /// Returns `None` unless there are exactly 20 bytes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Node> {
        bytes.try_into().ok().map(Node)
    }

    /// Returns `None` unless there are exactly 40 hexadecimal digits, of either case.
    pub fn from_hex(hex: &[u8]) -> Option<Node> {
        if hex.len() != 40 {
            return None;
        }
        let mut bytes = [0; 20];
        for (byte, pair) in bytes.iter_mut().zip(hex.chunks_exact(2)) {
            *byte = hex_digit(pair[0])? << 4 | hex_digit(pair[1])?;
        }
        Some(Node(bytes))
    }

    /// The 20 bytes.
    pub const fn as_bytes(&self) -> &[u8; 20] {
        &self.0
    }

    /// The 40 lower-case hexadecimal digits.
    pub fn to_hex(&self) -> [u8; 40] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut hex = [0; 40];
        for (pair, byte) in hex.chunks_exact_mut(2).zip(self.0) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        hex
    }

    /// The name of a revision with these parents and this text.
    pub fn of(first: &Node, second: &Node, text: &[u8]) -> Node {
        let (lower, higher) = if first < second { (first, second) } else { (second, first) };
        let mut hash = Sha1::new();
        hash.update(lower.0);
        hash.update(higher.0);
        hash.update(text);
        Node(hash.finalize().into())
    }

    /// Whether this is [`Node::NULL`].
    pub fn is_null(&self) -> bool {
        *self == Node::NULL
    }
}

/// The value of one hexadecimal digit of either case.
pub(crate) fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0 {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A number that exists in the revlog (as long as its snapshot says) from which it came.
///
/// "No revision" is `Option::None`. Given to another revlog it may name nothing there, and then the call panics.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Revision(u32);

impl Revision {
    /// For a number that was checked against the length of its revlog.
    pub(crate) const fn new(number: u32) -> Revision {
        Revision(number)
    }

    /// The number; the first revision is 0.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The number, to index a slice with.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_round_trips() {
        let node = Node::from_hex(b"0123456789abcdef0123456789ABCDEF01234567").expect("valid");
        assert_eq!(node.to_string(), "0123456789abcdef0123456789abcdef01234567");
        assert_eq!(Node::from_hex(&node.to_hex()), Some(node));
        assert_eq!(Node::from_hex(&node.to_hex()[..39]), None);
        assert_eq!(Node::from_hex(&[b'g'; 40]), None);
    }
}
