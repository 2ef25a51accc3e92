//! What comes from a push, as a message shows it.

/// Bytes of a name that are shown.
const BYTES_MAX: usize = 200;

/// Bytes from outside for a text: what is no printable UTF-8 is escaped, so that two names that look alike don't, and at most 200 bytes
/// are kept.
pub(crate) fn shown(bytes: &[u8]) -> String {
    shown_up_to(bytes, BYTES_MAX)
}

/// The same with another bound.
pub(crate) fn shown_up_to(bytes: &[u8], bytes_max: usize) -> String {
    let mut text = String::new();
    for chunk in bytes[..bytes.len().min(bytes_max)].utf8_chunks() {
        for letter in chunk.valid().chars() {
            match letter {
                '"' | '\'' | '\\' => text.push(letter),
                // Marks that combine with the letter before are what two forms of one name differ by.
                letter => text.extend(letter.escape_debug()),
            }
        }
        text.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    if bytes.len() > bytes_max {
        text.push_str("...");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_t_be_seen_is_escaped() {
        for (bytes, text) in [
            ("na\u{ef}ve \"x\".txt".as_bytes(), "naïve \"x\".txt"),
            ("e\u{301}".as_bytes(), "e\\u{301}"),
            (b"a\nb\x1b[2J\xff", "a\\nb\\u{1b}[2J\\xff"),
            ("\u{202e}x\u{200c}".as_bytes(), "\\u{202e}x\\u{200c}"),
        ] {
            assert_eq!(shown(bytes), text);
        }
        assert_eq!(shown(&[b'x'; 300]), format!("{}...", "x".repeat(200)));
    }
}
