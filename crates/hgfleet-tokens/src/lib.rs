//! Tokens: what an account shows instead of an SSH key where it reads over HTTPS.
//!
//! A [`Token`] is 256 random bits as text; only its digest is kept. All tokens of a fleet are one document, [`Tokens`], with another
//! beside it that says when each was last used, [`LastUsed`] (`docs/formats/tokens.md`). [`basic`] reads a token from a request's
//! header. Nothing here knows where the documents lie, or what an account may do.
//!
//! Times are Unix seconds, as the caller's clock has them.

/// The key of the value that has the tokens, beside the log's records.
pub const TOKENS_KEY: &str = "tokens";
/// The key of the one that says when each was last used.
pub const LAST_USED_KEY: &str = "tokens-used";

pub mod basic;
mod last_used;
mod token;
mod tokens;

pub use last_used::{LastUsed, day_of};
pub use token::{NotAToken, PREFIX, Token, TokenDigest, TokenId, has_token};
pub use tokens::{TokenEntry, Tokens, TokensError};
