//! LFS: files whose content lies outside of history, in `store/lfs/objects`, under the SHA-256 of it.
//!
//! A revision of such a file has the flag `0x2000`, and as its text a *pointer* to the content. Its name is still the hash of what the file holds, so that
//! only who has the content can check it.
//!
//! Source: the help text of Mercurial's extension (`hg help -e lfs`), the specification of pointers that it follows
//! (git-lfs, `docs/spec.md`), and repositories that Mercurial 7.2.4 made.

use std::collections::BTreeSet;
use std::fmt;

use sha2::{Digest, Sha256};

mod incoming;
mod object;

pub use incoming::IncomingObject;
pub(crate) use object::ObjectText;

/// Lines of a pointer are short; copies add two.
const POINTER_BYTES_MAX: usize = 16 << 10;
const VERSION: &[u8] = b"https://git-lfs.github.com/spec/v1";
/// What a key that stands for a file's metadata begins with.
const METADATA: &[u8] = b"x-hg-";

const STORE: &[u8] = b"store/";
/// What metadata begins and ends with.
const MARK: &[u8] = b"\x01\n";

/// The name of an LFS object: the SHA-256 of its content.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LfsOid([u8; 32]);

impl LfsOid {
    /// Takes the 32 bytes of a SHA-256.
    pub fn new(bytes: [u8; 32]) -> LfsOid {
        LfsOid(bytes)
    }

    /// The 32 bytes of the SHA-256.
    pub fn to_bytes(self) -> [u8; 32] {
        self.0
    }

    /// The name of this content.
    pub fn of(content: &[u8]) -> LfsOid {
        LfsOid(Sha256::digest(content).into())
    }

    /// Returns `None` unless there are exactly 64 hexadecimal digits, in lower case.
    pub fn from_hex(hex: &[u8]) -> Option<LfsOid> {
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        let mut bytes = [0; 32];
        let (pairs, []) = hex.as_chunks::<2>() else { return None };
        if pairs.len() != bytes.len() {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(pairs) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Some(LfsOid(bytes))
    }

    /// Where the object is, below `.hg`.
    pub fn path(self) -> Vec<u8> {
        [STORE, &self.path_in_store()].concat()
    }

    fn path_in_store(self) -> Vec<u8> {
        let hex = self.to_string();
        format!("lfs/objects/{}/{}", &hex[..2], &hex[2..]).into_bytes()
    }
}

impl fmt::Display for LfsOid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for LfsOid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LfsOid({self})")
    }
}

/// What stands in history for an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer {
    /// The object.
    pub oid: LfsOid,
    /// Bytes that it has.
    pub size: u64,
    /// What comes before the content in the file's text, as where it was copied from; sorted.
    metadata: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Pointer {
    /// Parses the text of a revision with the flag: lines `key value`, each key once. `None` also where a client could take it for
    /// something else, as with a carriage return, which ends a line for some.
    pub fn parse(text: &[u8]) -> Option<Pointer> {
        if text.len() > POINTER_BYTES_MAX || text.contains(&b'\r') {
            return None;
        }
        let (mut oid, mut size, mut version) = (None, None, false);
        let (mut metadata, mut keys) = (Vec::new(), BTreeSet::new());
        for line in text.strip_suffix(b"\n")?.split(|byte| *byte == b'\n') {
            let blank = memchr::memchr(b' ', line)?;
            let (key, value) = (&line[..blank], &line[blank + 1..]);
            if !keys.insert(key) {
                return None;
            }
            match key {
                b"version" => version = value == VERSION,
                b"oid" => oid = LfsOid::from_hex(value.strip_prefix(b"sha256:")?),
                b"size" => size = number(value),
                _ if key.iter().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-')) => {
                    if let Some(key) = key.strip_prefix(METADATA) {
                        metadata.push((key.to_vec(), value.to_vec()));
                    }
                }
                _ => return None,
            }
        }
        metadata.sort_unstable();
        Some(Pointer { oid: oid?, size: size?, metadata }).filter(|_| version)
    }

    /// What comes before the content in the text that the revision's name is the hash of; the content's first bytes decide, too.
    pub(crate) fn before_content(&self, begin: &[u8]) -> Vec<u8> {
        let mut text = Vec::new();
        if !self.metadata.is_empty() || begin.starts_with(MARK) {
            text.extend_from_slice(MARK);
            for (key, value) in &self.metadata {
                text.extend_from_slice(&[key, &b": "[..], value, b"\n"].concat());
            }
            text.extend_from_slice(MARK);
        }
        text
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(digits).ok()?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEX: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn text(more: &str) -> String {
        format!("version https://git-lfs.github.com/spec/v1\noid sha256:{HEX}\nsize 12\n{more}")
    }

    #[test]
    fn pointers_as_stock_writes_them() {
        let pointer = Pointer::parse(text("x-hg-copy a b\nx-hg-copyrev 00\nx-is-binary 0\n").as_bytes()).expect("one");
        assert_eq!((pointer.oid.to_string().as_str(), pointer.size), (HEX, 12));
        assert_eq!(pointer.before_content(b"content"), b"\x01\ncopy: a b\ncopyrev: 00\n\x01\n");
        let plain = Pointer::parse(text("").as_bytes()).expect("one");
        assert_eq!(plain.before_content(b"content"), b"");
        assert_eq!(plain.before_content(b"\x01\nx"), b"\x01\n\x01\n");
        assert_eq!(plain.oid.path(), format!("store/lfs/objects/01/{}", &HEX[2..]).into_bytes());
    }

    #[test]
    fn what_is_no_pointer_is_none() {
        for wrong in [
            String::new(),
            text("no-value\n"),
            text("UPPER x\n"),
            text("size 13\n"),
            text("x-hg-copy a\nx-hg-copy b\n"),
            text("x-hg-copy a\rsize 13\n"),
            text("").replace("size 12", "size -1"),
            text("").replace("size 12\n", ""),
            text("").replace("spec/v1", "spec/v2"),
            text("").replace(HEX, &HEX[1..]),
            text("").replace(HEX, &HEX.to_uppercase()),
            text("").replace(HEX, "../../../../etc/passwd"),
            text("")[..40].to_owned(),
            text(&"x y\n".repeat(10_000)),
        ] {
            assert_eq!(Pointer::parse(wrong.as_bytes()), None, "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_may_be_tried(text in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Pointer::parse(&text);
        }
    }
}
