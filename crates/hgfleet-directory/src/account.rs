//! What the directory knows of one person.

use std::fmt;

use crate::AuthorizedKey;

/// Longest mail address, bytes (RFC 5321, 4.5.3.1.3, less the angle brackets).
const MAIL_BYTES_MAX: usize = 254;

/// An account's mail address: its name everywhere in hgfleet.
///
/// Printable ASCII with exactly one `@` between two parts that are not empty, and none of the characters that mean
/// something to an LDAP filter, a DN, a shell or a log line.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mail(String);

/// Why something is no mail address here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no mail address: {1}")]
pub struct MailError(String, &'static str);

impl Mail {
    /// Checks an address. Letter case is kept, and counts.
    pub fn parse(text: &str) -> Result<Mail, MailError> {
        let refuse = |why| Err(MailError(text.chars().take(80).collect(), why));
        if text.len() > MAIL_BYTES_MAX {
            return refuse("it is longer than 254 bytes");
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return refuse("only printable ASCII without blanks is allowed");
        }
        if text.bytes().any(|byte| b"\\()'\";,*<>=/#`|&$!%?:[]{}".contains(&byte)) {
            return refuse("it holds a character that is not allowed");
        }
        match text.split_once('@') {
            Some((user, host)) if !user.is_empty() && !host.is_empty() && !host.contains('@') => {
                if user.starts_with('-') || host.starts_with(['-', '.']) {
                    return refuse("neither part may begin with \"-\", nor the host with \".\"");
                }
                Ok(Mail(text.to_owned()))
            }
            _ => refuse("it must have one @ between two parts"),
        }
    }

    /// The address as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Mail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Mail {
    type Error = MailError;
    fn try_from(text: String) -> Result<Mail, MailError> {
        Mail::parse(&text)
    }
}

impl From<Mail> for String {
    fn from(mail: Mail) -> String {
        mail.0
    }
}

/// What `hgAccountEnabled` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccountState {
    /// Exactly one value, exactly `TRUE`.
    Enabled,
    /// Exactly one value, exactly `FALSE`.
    Disabled,
    /// Missing, several values, or anything else: never taken as a yes.
    NotEnabled,
}

/// One account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its name.
    pub mail: Mail,
    /// May it be used.
    pub state: AccountState,
    /// Its keys, in the directory's order. One key may be there twice, under different conditions.
    pub keys: Vec<AuthorizedKey>,
    /// Names of the groups it is in, sorted.
    pub groups: Vec<String>,
}

impl Account {
    /// Whether one of its keys is this one, under whatever conditions. `blob` is the key as it goes over the wire.
    pub fn has_key(&self, blob: &[u8]) -> bool {
        self.keys.iter().any(|own| own.key.blob() == blob)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_mean_something_elsewhere_are_refused() {
        for good in ["a@b", "first.last+tag@sub.example.com", "x_y-z@localhost"] {
            assert!(Mail::parse(good).is_ok(), "{good}");
        }
        let long = format!("{}@b", "a".repeat(300));
        for bad in [
            "",
            "a",
            "@b",
            "a@",
            "a@b@c",
            "a b@c",
            "a\n@b",
            "a@b\0",
            "*@b",
            "a)(mail=*)@b",
            "a\\2a@b",
            "-oX@b",
            "a@-b",
            "a@.b",
            "a,o=x@b",
            "é@b",
            "a'@b",
            "a;b@c",
            &long,
        ] {
            assert!(Mail::parse(bad).is_err(), "{bad:?}");
        }
    }
}
