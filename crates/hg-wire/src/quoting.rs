//! The percent-encoding of names in answers, as Python's `quote` does it.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

/// Everything but letters, digits and `_.-~/`.
const QUOTED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'_').remove(b'.').remove(b'-').remove(b'~').remove(b'/');

/// Quotes a name.
pub fn quote(bytes: &[u8]) -> String {
    percent_encode(bytes, QUOTED).to_string()
}

/// Undoes [`quote`]; what is no escape stays as it is.
pub fn unquote(bytes: &[u8]) -> Vec<u8> {
    percent_encoding::percent_decode(bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branch_names_are_quoted_as_recorded() {
        assert_eq!(quote(b"st b"), "st%20b");
        assert_eq!(quote("é/a=b\n".as_bytes()), "%C3%A9/a%3Db%0A");
        assert_eq!(unquote(quote("é %".as_bytes()).as_bytes()), "é %".as_bytes());
    }
}
