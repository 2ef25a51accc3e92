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
        // Without a branch for each digit: manifests are full of them.
        let mut bytes = [0; 20];
        let mut all = 0;
        for (byte, pair) in bytes.iter_mut().zip(hex.as_chunks::<2>().0) {
            let [high, low] = pair.map(|digit| HEX_VALUES[usize::from(digit)]);
            *byte = high << 4 | low;
            all |= high | low;
        }
        (all < NO_HEX_DIGIT).then_some(Node(bytes))
    }

    /// The 20 bytes.
    pub const fn as_bytes(&self) -> &[u8; 20] {
        &self.0
    }

    /// The 40 lower-case hexadecimal digits.
    pub fn to_hex(&self) -> [u8; 40] {
        // Without a table, several at once: thousands of heads are written for each answer to `heads` that isn't kept.
        let digit = |value: u8| value + if value < 10 { b'0' } else { b'a' - 10 };
        let mut hex = [0; 40];
        for (n, byte) in self.0.iter().enumerate() {
            hex[2 * n] = digit(byte >> 4);
            hex[2 * n + 1] = digit(byte & 15);
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
/// Has a bit that no digit's value has.
const NO_HEX_DIGIT: u8 = 0x10;

/// The value of each byte as a hexadecimal digit of either case.
const HEX_VALUES: [u8; 256] = {
    let mut values = [NO_HEX_DIGIT; 256];
    let mut value = 0;
    while value < 16 {
        values[b"0123456789abcdef"[value] as usize] = value as u8;
        values[b"0123456789ABCDEF"[value] as usize] = value as u8;
        value += 1;
    }
    values
};

pub(crate) fn hex_digit(digit: u8) -> Option<u8> {
    let value = HEX_VALUES[usize::from(digit)];
    (value < NO_HEX_DIGIT).then_some(value)
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
        for (byte, at) in (0..=u8::MAX).flat_map(|byte| [0, 17, 39].map(|at| (byte, at))) {
            let mut hex = *b"0123456789abcdef0123456789abcdef01234567";
            hex[at] = byte;
            let expected = byte.is_ascii_hexdigit().then(|| String::from_utf8_lossy(&hex).to_ascii_lowercase());
            assert_eq!(Node::from_hex(&hex).map(|node| node.to_string()), expected, "{byte} at {at}");
        }
    }
}
