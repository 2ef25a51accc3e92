//! Against stock's answers, as `record.py` wrote them down.

use proptest::prelude::*;
use sha1::{Digest, Sha1};

use super::*;

const TOKENS: [&[u8]; 30] = [
    b"aux",
    b"con.",
    b"com1",
    b"lpt9.x",
    b"prn",
    b"nul",
    b"com0",
    b"COM2",
    b".",
    b"..",
    b" ",
    b"_",
    b"A",
    b"Zz",
    b"~",
    b"\x7f",
    b"\xe9",
    b"\x01",
    b":",
    b"\\",
    b"*?",
    b".i",
    b".d",
    b".hg",
    b"longer word",
    b"x",
    b"7",
    b"~7e",
    b"-",
    b"'\"<>|",
];

/// The same numbers as in `record.py`.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }

    fn name(&mut self) -> Vec<u8> {
        let parts: Vec<Vec<u8>> = (0..1 + self.below(7))
            .map(|_| (0..1 + self.below(9)).flat_map(|_| TOKENS[self.below(TOKENS.len())]).copied().collect())
            .collect();
        [b"data/".as_slice(), &parts.join(&b'/'), [b".i", b".d"][self.below(2)]].concat()
    }
}

fn read(text: &str) -> Vec<u8> {
    let mut pieces = text.split("\\x");
    let mut bytes = pieces.next().unwrap_or_default().as_bytes().to_vec();
    for piece in pieces {
        bytes.push(u8::from_str_radix(&piece[..2], 16).expect("two digits"));
        bytes.extend(piece[2..].bytes());
    }
    bytes
}

#[test]
fn recorded_names() {
    let mut numbers = Numbers(1);
    for line in include_str!("names.txt").lines() {
        let (plain, encoded) = line.split_once(' ').expect("two names");
        assert_eq!(numbers.name(), read(plain), "the generators differ");
        assert_eq!(PathEncoding::Dotencode.encode(&read(plain)), read(encoded), "{plain}");
    }
}

#[test]
fn sixty_thousand_generated_names() {
    compare(PathEncoding::Dotencode, include_str!("digests.txt"));
}

#[test]
fn names_in_older_stores() {
    compare(PathEncoding::Fncache, include_str!("digests-fncache.txt"));
    compare(PathEncoding::Store, include_str!("digests-store.txt"));
    compare(PathEncoding::Plain, include_str!("digests-plain.txt"));
}

/// Against the digests of a thousand names each.
fn compare(encoding: PathEncoding, digests: &str) {
    for (digest, seed) in digests.lines().zip(2..) {
        let (mut numbers, mut hash) = (Numbers(seed), Sha1::new());
        for _ in 0..1000 {
            hash.update(encoding.encode(&numbers.name()));
            hash.update(b"\n");
        }
        let found: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(found, digest, "{encoding:?}, seed {seed}");
    }
}

proptest! {
    #[test]
    fn directories_decode_to_what_they_were(path in proptest::collection::vec(prop_oneof![Just(b'/'), Just(b'.'), Just(b'h'), Just(b'g'), Just(b'i'), Just(b'd'), any::<u8>()], 0..40)) {
        prop_assert_eq!(decode_directories(&encode_directories(&path)), path);
    }

    #[test]
    fn any_bytes_become_a_short_plain_name(path in proptest::collection::vec(any::<u8>(), 0..400)) {
        let name = PathEncoding::Dotencode.encode(&[b"data/".as_slice(), &path, b".i"].concat());
        prop_assert!(name.len() <= 120);
        prop_assert!(name.iter().all(|byte| (32..126).contains(byte) || *byte == b'~'));
        prop_assert!(!name.iter().any(u8::is_ascii_uppercase));
    }

    #[test]
    fn names_that_are_not_hashed_tell_their_path(path in proptest::collection::vec(any::<u8>(), 0..60)) {
        let path = [b"data/".as_slice(), &path, b".i"].concat();
        for encoding in [PathEncoding::Dotencode, PathEncoding::Fncache, PathEncoding::Store, PathEncoding::Plain] {
            let name = encoding.encode(&path);
            if !name.starts_with(b"dh/") {
                prop_assert_eq!(encoding.decode(&name), Some(path.clone()));
            }
        }
    }

    #[test]
    fn any_bytes_may_be_tried_as_a_name(name in proptest::collection::vec(any::<u8>(), 0..60)) {
        for encoding in [PathEncoding::Dotencode, PathEncoding::Fncache, PathEncoding::Store, PathEncoding::Plain] {
            if let Some(path) = encoding.decode(&name) {
                prop_assert_eq!(encoding.encode(&path), name.clone());
            }
        }
    }
}
