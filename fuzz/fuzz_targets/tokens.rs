//! Credentials as a stranger may send them, and documents of tokens as a damaged log may have them.

#![no_main]

use hgfleet_tokens::{LastUsed, Tokens, basic, has_token};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = basic::parse(data);
    if let Ok(text) = std::str::from_utf8(data) {
        has_token(text);
    }
    if let Ok(tokens) = Tokens::parse(data) {
        let again = tokens.to_bytes().expect("written");
        assert_eq!(Tokens::parse(&again).expect("read back"), tokens);
    }
    let _ = LastUsed::parse(data);
});
