//! HTTP Basic (RFC 7617): a mail address as the user, a token as the password.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::Token;

/// Longest value of the header, bytes: the longest mail address and a token need 423.
pub const VALUE_BYTES_MAX: usize = 1024;

/// What a request shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The account's mail address, as it was given.
    pub mail: String,
    /// The token; none where the password is no token.
    pub token: Option<Token>,
}

/// Why a header shows nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BasicError {
    /// It is longer than [`VALUE_BYTES_MAX`].
    #[error("they are too long")]
    TooLong,
    /// It is of another scheme.
    #[error("they are not of the scheme Basic")]
    Scheme,
    /// They are no base64, or no UTF-8.
    #[error("they can't be decoded")]
    Encoding,
    /// They have no user name, or no colon behind it.
    #[error("they have no user name and password with a colon between")]
    NoColon,
}

/// Reads the value of an `Authorization` header.
///
/// # Errors
/// It is not of the form that RFC 7617 has.
pub fn parse(value: &[u8]) -> Result<Credentials, BasicError> {
    if value.len() > VALUE_BYTES_MAX {
        return Err(BasicError::TooLong);
    }
    let text = std::str::from_utf8(value).map_err(|_| BasicError::Encoding)?;
    let (scheme, encoded) = text.split_once(' ').ok_or(BasicError::Scheme)?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(BasicError::Scheme);
    }
    let decoded = STANDARD.decode(encoded.trim_matches(' ')).map_err(|_| BasicError::Encoding)?;
    let decoded = String::from_utf8(decoded).map_err(|_| BasicError::Encoding)?;
    match decoded.split_once(':') {
        Some((mail, password)) if !mail.is_empty() => {
            Ok(Credentials { mail: mail.to_owned(), token: Token::parse(password).ok() })
        }
        _ => Err(BasicError::NoColon),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header(text: &str) -> Vec<u8> {
        format!("Basic {}", STANDARD.encode(text)).into_bytes()
    }

    #[test]
    fn what_clients_send_is_read() {
        let token = Token::generate().expect("random");
        let plain = header(&format!("a@x:{}", token.reveal()));
        let read = Ok(Credentials { mail: "a@x".into(), token: Some(token) });
        assert_eq!(parse(&plain), read);
        assert_eq!(parse(String::from_utf8_lossy(&plain).replace("Basic ", "bAsIc  ").as_bytes()), read);
        assert_eq!(parse(&header("a@x:")), Ok(Credentials { mail: "a@x".into(), token: None }));
        assert_eq!(parse(&header("a@x:b:c")), Ok(Credentials { mail: "a@x".into(), token: None }));
    }

    #[test]
    fn what_is_malformed_is_refused() {
        for (value, error) in [
            (header("no colon"), BasicError::NoColon),
            (header(":x"), BasicError::NoColon),
            (b"Basic".to_vec(), BasicError::Scheme),
            (b"Bearer x".to_vec(), BasicError::Scheme),
            (b"Basic ".to_vec(), BasicError::NoColon),
            (b"Basic ***".to_vec(), BasicError::Encoding),
            (b"Basic /w==".to_vec(), BasicError::Encoding),
            (b"Basic \xff".to_vec(), BasicError::Encoding),
            (header(&"a".repeat(1024)), BasicError::TooLong),
        ] {
            assert_eq!(parse(&value), Err(error), "{value:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_else_shows_a_token(value in proptest::collection::vec(any::<u8>(), 0..600)) {
            prop_assert!(!parse(&value).is_ok_and(|read| read.token.is_some()));
        }
    }
}
