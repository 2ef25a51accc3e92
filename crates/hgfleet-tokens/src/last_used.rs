//! When each token was last used, to the day.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{TokenId, Tokens, TokensError};

const DAY_SECONDS: u64 = 86_400;

/// The day of a time: days since 1970-01-01, UTC.
pub fn day_of(time: u64) -> u32 {
    u32::try_from(time / DAY_SECONDS).unwrap_or(u32::MAX)
}

/// When each token was last used. A document of its own, so that a use never stands in the way of a revocation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastUsed {
    days: BTreeMap<TokenId, u32>,
}

impl LastUsed {
    /// Reads the document.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(bytes: &[u8]) -> Result<LastUsed, TokensError> {
        Ok(serde_json::from_slice(bytes)?)
    }

    /// The document.
    ///
    /// # Errors
    /// None that is known of.
    pub fn to_bytes(&self) -> Result<Vec<u8>, TokensError> {
        Ok(serde_json::to_vec(self)?)
    }

    /// Notes a use; returns whether it says more than what was known.
    pub fn note(&mut self, id: TokenId, day: u32) -> bool {
        let known = self.days.entry(id).or_default();
        let is_newer = *known < day;
        *known = day.max(*known);
        is_newer
    }

    /// The day on which a token was last used; none: never, or nobody has noted it yet.
    pub fn day(&self, id: TokenId) -> Option<u32> {
        self.days.get(&id).copied()
    }

    /// Forgets tokens that are gone.
    pub fn keep_only(&mut self, tokens: &Tokens) {
        self.days.retain(|id, _| tokens.contains(*id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Token, TokenEntry};

    #[test]
    fn the_newest_day_stays_and_tokens_that_are_gone_go() {
        let (one, two) = (Token::generate().expect("random").digest(), Token::generate().expect("random").digest());
        let mut used = LastUsed::default();
        assert!(used.note(one.id(), 20_000));
        assert!(!used.note(one.id(), 20_000) && !used.note(one.id(), 19_999));
        assert!(used.note(two.id(), day_of(20_001 * 86_400)));
        let mut used = LastUsed::parse(&used.to_bytes().expect("written")).expect("read back");
        let mut tokens = Tokens::default();
        let entry = TokenEntry {
            digest: two,
            mail: "a@x".into(),
            name: String::new(),
            created: 1,
            expires: None,
            repositories: Vec::new(),
            uploads: false,
        };
        tokens.add(entry).expect("added");
        used.keep_only(&tokens);
        assert_eq!((used.day(one.id()), used.day(two.id())), (None, Some(20_001)));
    }
}
