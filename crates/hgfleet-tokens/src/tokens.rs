//! All tokens of a fleet, as one document.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Token, TokenDigest, TokenId};

/// The document's version.
const VERSION: u32 = 1;
/// Tokens of one account.
const TOKENS_PER_ACCOUNT_MAX: usize = 100;
/// Longest mail address, bytes (RFC 5321, 4.5.3.1.3).
const MAIL_BYTES_MAX: usize = 254;
/// Longest name of a token, bytes.
const NAME_BYTES_MAX: usize = 100;
/// Patterns of one token, and bytes of one of them.
const PATTERNS_MAX: usize = 100;
const PATTERN_BYTES_MAX: usize = 500;

/// What is known of one token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenEntry {
    /// Of the token itself, which nobody keeps.
    pub digest: TokenDigest,
    /// The account's mail address.
    pub mail: String,
    /// What it is for, in the words of who made it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// When it was made.
    pub created: u64,
    /// When it ends; none: when it is revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<u64>,
    /// Patterns of the repositories that it is for, as the access rules have them; none: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repositories: Vec<String>,
    /// Whether who has it may bring LFS objects to repositories that the account may push to.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub uploads: bool,
}

impl TokenEntry {
    /// Whether it has ended at this time.
    pub fn has_expired(&self, now: u64) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

/// Why a document or a change of it is not taken.
#[derive(Debug, thiserror::Error)]
pub enum TokensError {
    /// It is no document of tokens.
    #[error("the tokens can't be read: {0}")]
    Syntax(#[from] serde_json::Error),
    /// A newer hgfleet wrote it.
    #[error("the tokens have format {0}, and this hgfleet knows {VERSION}: use a newer hgfleet")]
    Newer(u32),
    /// A field is beyond its bound.
    #[error("{0}")]
    Bound(String),
    /// Two tokens have one name.
    #[error("there are two tokens {0}")]
    Twice(TokenId),
}

#[derive(Serialize, Deserialize)]
struct Document {
    version: u32,
    // Read once the version is known.
    tokens: serde_json::Value,
}

/// All tokens of a fleet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tokens {
    by_id: BTreeMap<TokenId, TokenEntry>,
}

impl Tokens {
    /// Reads a document.
    ///
    /// # Errors
    /// It is none, is a newer hgfleet's, or has a field beyond its bound.
    pub fn parse(bytes: &[u8]) -> Result<Tokens, TokensError> {
        let document: Document = serde_json::from_slice(bytes)?;
        if document.version != VERSION {
            return Err(TokensError::Newer(document.version));
        }
        let entries: Vec<TokenEntry> = serde_json::from_value(document.tokens)?;
        let mut tokens = Tokens::default();
        for entry in entries {
            tokens.add(entry)?;
        }
        Ok(tokens)
    }

    /// The document.
    ///
    /// # Errors
    /// None that is known of: all fields can be written.
    pub fn to_bytes(&self) -> Result<Vec<u8>, TokensError> {
        let tokens = serde_json::to_value(self.iter().collect::<Vec<_>>())?;
        Ok(serde_json::to_vec(&Document { version: VERSION, tokens })?)
    }

    /// Adds a token.
    ///
    /// # Errors
    /// A field is beyond its bound; the account has as many as one may have.
    pub fn add(&mut self, entry: TokenEntry) -> Result<(), TokensError> {
        check(&entry)?;
        let id = entry.digest.id();
        if self.by_id.contains_key(&id) {
            return Err(TokensError::Twice(id));
        }
        if self.iter().filter(|one| one.mail == entry.mail).count() >= TOKENS_PER_ACCOUNT_MAX {
            return Err(TokensError::Bound(format!(
                "{} has {TOKENS_PER_ACCOUNT_MAX} tokens already; revoke one first",
                entry.mail
            )));
        }
        self.by_id.insert(id, entry);
        Ok(())
    }

    /// Takes a token out; returns what it was.
    pub fn revoke(&mut self, id: TokenId) -> Option<TokenEntry> {
        self.by_id.remove(&id)
    }

    /// Takes out those that ended before this time.
    pub fn forget_expired(&mut self, before: u64) {
        self.by_id.retain(|_, entry| !entry.has_expired(before));
    }

    /// The entry of a token that somebody shows, whether it has expired or not.
    pub fn find(&self, token: &Token) -> Option<&TokenEntry> {
        let digest = token.digest();
        // The name alone tells little of the digest, and all of it is compared in constant time.
        self.by_id.get(&digest.id()).filter(|entry| entry.digest == digest)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = &TokenEntry> {
        self.by_id.values()
    }

    /// Whether there is a token of this name.
    pub fn contains(&self, id: TokenId) -> bool {
        self.by_id.contains_key(&id)
    }
}

fn check(entry: &TokenEntry) -> Result<(), TokensError> {
    let bound = |what: String| Err(TokensError::Bound(what));
    if entry.mail.is_empty() || entry.mail.len() > MAIL_BYTES_MAX {
        return bound(format!("a mail address has 1 to {MAIL_BYTES_MAX} bytes"));
    }
    if entry.name.len() > NAME_BYTES_MAX || entry.name.chars().any(char::is_control) {
        return bound(format!("a token's name has at most {NAME_BYTES_MAX} bytes, on one line"));
    }
    if entry.repositories.len() > PATTERNS_MAX {
        return bound(format!("a token is for {PATTERNS_MAX} patterns at most"));
    }
    if entry.repositories.iter().any(|pattern| pattern.is_empty() || pattern.len() > PATTERN_BYTES_MAX) {
        return bound(format!("a pattern of repositories has 1 to {PATTERN_BYTES_MAX} bytes"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(token: &Token, mail: &str) -> TokenEntry {
        let digest = token.digest();
        let (name, repositories) = (String::new(), vec![]);
        TokenEntry { digest, mail: mail.into(), name, created: 1, expires: None, repositories, uploads: false }
    }

    #[test]
    fn tokens_are_added_found_and_revoked() {
        let (one, two) = (Token::generate().expect("random"), Token::generate().expect("random"));
        let mut tokens = Tokens::default();
        let limited = TokenEntry {
            name: "laptop".into(),
            expires: Some(50),
            repositories: vec!["team/**".into()],
            uploads: true,
            ..entry(&two, "b@x")
        };
        tokens.add(entry(&one, "a@x")).expect("added");
        tokens.add(limited.clone()).expect("added");
        assert!(matches!(tokens.add(entry(&one, "a@x")), Err(TokensError::Twice(_))));
        let bytes = tokens.to_bytes().expect("a document");
        assert!(!String::from_utf8_lossy(&bytes).contains(&one.reveal()[8..]));
        let mut tokens = Tokens::parse(&bytes).expect("read back");
        assert_eq!(tokens.find(&two), Some(&limited));
        assert!(!limited.has_expired(49) && limited.has_expired(50));
        assert_eq!(tokens.revoke(one.digest().id()).map(|entry| entry.mail), Some("a@x".to_owned()));
        assert_eq!(tokens.find(&one), None);
        tokens.forget_expired(50);
        assert_eq!(tokens, Tokens::default());
    }

    #[test]
    fn what_goes_beyond_its_bound_is_refused() {
        let token = Token::generate().expect("random");
        let mut tokens = Tokens::default();
        let plain = entry(&token, "a@x");
        for wrong in [
            TokenEntry { mail: String::new(), ..plain.clone() },
            TokenEntry { mail: "a".repeat(255), ..plain.clone() },
            TokenEntry { name: "a\nb".into(), ..plain.clone() },
            TokenEntry { name: "a".repeat(101), ..plain.clone() },
            TokenEntry { repositories: vec![String::new()], ..plain.clone() },
            TokenEntry { repositories: vec!["a".repeat(501)], ..plain.clone() },
            TokenEntry { repositories: vec!["a".into(); 101], ..plain.clone() },
        ] {
            assert!(matches!(tokens.add(wrong), Err(TokensError::Bound(_))));
        }
        for _ in 0..100 {
            tokens.add(entry(&Token::generate().expect("random"), "a@x")).expect("added");
        }
        assert!(tokens.add(plain).expect_err("too many").to_string().contains("revoke one first"));
        assert!(tokens.add(entry(&token, "b@x")).is_ok());
        let newer = Tokens::parse(br#"{"version":2,"tokens":{"else":1}}"#).expect_err("newer");
        assert!(newer.to_string().contains("newer hgfleet"), "{newer}");
    }

    proptest! {
        #[test]
        fn documents_that_are_none_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Tokens::parse(&bytes).is_err());
        }
    }
}
