//! One token: made, read, digested.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What every token begins with, so that it is known where it leaks.
pub const PREFIX: &str = "hgfleet_";
/// 43 letters of 62 are 256.03 bits.
const RANDOM_LETTERS: usize = 43;
/// 6 letters of 62 hold 32 bits.
const CHECK_LETTERS: usize = 6;
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const LETTERS: usize = RANDOM_LETTERS + CHECK_LETTERS;

/// A token, in clear. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

/// The text is no token: its form or its checksum is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is no token: one begins with {PREFIX} and has 49 letters and digits behind it")]
pub struct NotAToken;

impl Token {
    /// Makes a new one.
    ///
    /// # Errors
    /// The system has no random bytes.
    pub fn generate() -> Result<Token, getrandom::Error> {
        let mut text = PREFIX.to_owned();
        while text.len() < PREFIX.len() + RANDOM_LETTERS {
            let mut bytes = [0; 64];
            getrandom::fill(&mut bytes)?;
            // 248 = 4 × 62: with the bytes above it some letters would come more often.
            let letters =
                bytes.iter().filter(|byte| **byte < 248).map(|byte| char::from(ALPHABET[usize::from(byte % 62)]));
            text.extend(letters.take(PREFIX.len() + RANDOM_LETTERS - text.len()));
        }
        text.push_str(&checksum(&text));
        Ok(Token(text))
    }

    /// Reads one.
    ///
    /// # Errors
    /// It has another form, or its checksum is wrong.
    pub fn parse(text: &str) -> Result<Token, NotAToken> {
        let letters = text.strip_prefix(PREFIX).ok_or(NotAToken)?;
        if letters.len() != LETTERS || !letters.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(NotAToken);
        }
        let (body, check) = text.split_at(text.len() - CHECK_LETTERS);
        if checksum(body) == check { Ok(Token(text.to_owned())) } else { Err(NotAToken) }
    }

    /// Its text, to be shown once to whoever asked for it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What is kept of it.
    pub fn digest(&self) -> TokenDigest {
        TokenDigest(blake3::hash(self.0.as_bytes()))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// Whether a token stands somewhere in a text, such as a request's address.
pub fn has_token(text: &str) -> bool {
    let length = PREFIX.len() + LETTERS;
    text.match_indices(PREFIX).any(|(at, _)| text.get(at..at + length).is_some_and(|part| Token::parse(part).is_ok()))
}

/// CRC-32 of what stands before it, in base 62 with the most significant letter first: finders of leaked secrets know a token from
/// what only looks like one without asking anybody.
fn checksum(text: &str) -> String {
    let mut number = crc32fast::hash(text.as_bytes());
    let mut letters = [b'0'; CHECK_LETTERS];
    for letter in letters.iter_mut().rev() {
        *letter = ALPHABET[(number % 62) as usize];
        number /= 62;
    }
    letters.iter().map(|byte| char::from(*byte)).collect()
}

/// A token's digest: BLAKE3 over its text. Compared in constant time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TokenDigest(blake3::Hash);

impl TokenDigest {
    /// The name by which the token is spoken of.
    pub fn id(&self) -> TokenId {
        let [a, b, c, d, e, f, ..] = *self.0.as_bytes();
        TokenId([a, b, c, d, e, f])
    }
}

impl TryFrom<String> for TokenDigest {
    type Error = blake3::HexError;

    fn try_from(text: String) -> Result<TokenDigest, blake3::HexError> {
        blake3::Hash::from_hex(text).map(TokenDigest)
    }
}

impl From<TokenDigest> for String {
    fn from(digest: TokenDigest) -> String {
        digest.0.to_hex().to_string()
    }
}

/// A token's name in lists: 12 hexadecimal digits, the first of its digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TokenId([u8; 6]);

/// The text is no token's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not 12 hexadecimal digits; `hgfleet token list` prints them")]
pub struct NotATokenId;

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for TokenId {
    type Err = NotATokenId;

    fn from_str(text: &str) -> Result<TokenId, NotATokenId> {
        let is_hex = text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = u64::from_str_radix(text, 16).ok().filter(|_| is_hex).ok_or(NotATokenId)?;
        let [_, _, id @ ..] = number.to_be_bytes();
        Ok(TokenId(id))
    }
}

impl TryFrom<String> for TokenId {
    type Error = NotATokenId;

    fn try_from(text: String) -> Result<TokenId, NotATokenId> {
        text.parse()
    }
}

impl From<TokenId> for String {
    fn from(id: TokenId) -> String {
        id.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_token_is_read_back_and_two_differ() {
        let (one, two) = (Token::generate().expect("random"), Token::generate().expect("random"));
        assert_ne!(one, two);
        assert_eq!(Token::parse(one.reveal()), Ok(one.clone()));
        assert_eq!(one.reveal().len(), 57);
        assert_ne!(one.digest(), two.digest());
        assert_eq!(one.digest().id().to_string().parse(), Ok(one.digest().id()));
        assert!(!format!("{one:?}").contains(&one.reveal()[8..]), "never in a log");
    }

    #[test]
    fn finders_of_leaks_can_rely_on_the_form() {
        // Also what `docs/formats/tokens.md` says.
        let text = format!("hgfleet_{}", "A".repeat(43));
        assert_eq!(checksum(&text), "2NpEP2");
        assert!(Token::parse(&format!("{text}2NpEP2")).is_ok());
    }

    #[test]
    fn a_token_in_an_address_is_seen() {
        let token = Token::generate().expect("random");
        assert!(has_token(&format!("/a?token=hgfleet_&x={}", token.reveal())));
        assert!(has_token(&format!("hgfleet_{}é", token.reveal())));
        for harmless in
            ["", "hgfleet_", "/hgfleet_tools/é", &token.reveal()[..56], &format!("hgfleet_{}", "é".repeat(49))]
        {
            assert!(!has_token(harmless), "{harmless}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_changed_in_a_token_is_noticed(at in 0usize..57, letter in "[ -~]") {
            let token = Token::generate().expect("random");
            let mut changed = token.reveal().to_owned();
            changed.replace_range(at..=at, &letter);
            prop_assert_eq!(Token::parse(&changed).is_ok(), changed == token.reveal());
        }

        #[test]
        fn what_is_no_token_is_refused(text in "(hgfleet_)?\\PC{0,60}") {
            prop_assert!(Token::parse(&text).is_err());
            prop_assert!(!has_token(&text));
        }

        #[test]
        fn names_are_twelve_digits(text in "[+0-9a-fA-Fg]{10,14}") {
            let is_one = text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
            prop_assert_eq!(text.parse::<TokenId>().is_ok(), is_one);
        }
    }
}
