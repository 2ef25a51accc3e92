//! Names as file systems see them that fold case or normalise.

use std::borrow::Cow;

use icu_normalizer::DecomposingNormalizerBorrowed;

/// A name such that two of them are equal where some common file system takes the two for one: case folded (`ß` like `ss`), decomposed,
/// without the letters that HFS+ passes over. Bytes that are no UTF-8 stay as they are.
pub(crate) fn folded(name: &[u8]) -> Cow<'_, [u8]> {
    if name.is_ascii() {
        return match name.iter().any(u8::is_ascii_uppercase) {
            true => Cow::Owned(name.to_ascii_lowercase()),
            false => Cow::Borrowed(name),
        };
    }
    let decomposer = DecomposingNormalizerBorrowed::new_nfd();
    let mut folded = Vec::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        let kept: String =
            decomposer.normalize(chunk.valid()).chars().filter(|letter| !is_passed_over(*letter)).collect();
        // Upper case first: it is what takes `ß` apart.
        let kept = kept.to_uppercase().to_lowercase();
        folded.extend_from_slice(decomposer.normalize(&kept).as_bytes());
        folded.extend_from_slice(chunk.invalid());
    }
    Cow::Owned(folded)
}

/// Letters that HFS+ ignores in names.
fn is_passed_over(letter: char) -> bool {
    matches!(letter, '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twins_are_equal_and_others_are_not() {
        for (one, other) in [
            ("README", "readme"),
            ("\u{e9}", "e\u{301}"),
            ("\u{c9}", "e\u{301}"),
            ("stra\u{df}e", "STRASSE"),
            ("\u{3c2}", "\u{3a3}"),
            ("a\u{200c}b", "AB"),
            ("\u{fb01}x", "FIX"),
        ] {
            assert_eq!(folded(one.as_bytes()), folded(other.as_bytes()), "{one} {other}");
        }
        for (one, other) in [("a", "b"), ("e", "\u{e9}"), ("a/b", "ab"), ("i", "\u{131}x")] {
            assert_ne!(folded(one.as_bytes()), folded(other.as_bytes()), "{one} {other}");
        }
        assert_eq!(&*folded(b"\xffA"), b"\xffA".map(|byte| byte.to_ascii_lowercase()));
        assert_ne!(folded(b"\xff"), folded(b"\xfe"));
    }
}
