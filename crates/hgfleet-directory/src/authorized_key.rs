//! A key with the conditions under which it opens the door: one line of `authorized_keys` (sshd(8), "AUTHORIZED_KEYS FILE FORMAT").
//!
//! Honoured are `from=` and `expiry-time=`, and `verify-required` of security keys. `restrict` and the `no-` options for terminals, forwarding
//! and the like say what is so in any case. A line with any other option is refused: an option that is passed over grants what
//! somebody meant to withhold.

use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use time::macros::format_description;
use time::{PrimitiveDateTime, UtcDateTime};

use crate::{AddressList, PublicKey, PublicKeyError};

/// Longest options, bytes.
const OPTIONS_BYTES_MAX: usize = 4096;
/// What no door offers anyway.
const SO_ANYWAY: [&str; 6] =
    ["restrict", "no-agent-forwarding", "no-port-forwarding", "no-pty", "no-user-rc", "no-x11-forwarding"];

/// A key, and its conditions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorizedKey {
    /// The key.
    pub key: PublicKey,
    /// What else must be so.
    pub options: KeyOptions,
}

/// Under which conditions a key opens the door.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeyOptions {
    /// Only for clients at these addresses.
    pub from: Option<AddressList>,
    /// Only before this time.
    pub expires: Option<SystemTime>,
    /// Only where the security key has seen its owner's PIN or finger. The OpenSSH door checks that.
    pub verify_required: bool,
}

/// Why a key does not open the door, although it is an account's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyConditionError {
    /// `from=`.
    #[error("wrong-address: the key's from= does not let the client's address in")]
    Address,
    /// `from=`, and nobody knows where the client is.
    #[error("unknown-address: the key has from=, and the client's address is not known")]
    AddressUnknown,
    /// `expiry-time=`.
    #[error("expired: the key's expiry-time= is over")]
    Expired,
}

impl AuthorizedKey {
    /// Parses one value, with its line's end or without: options, algorithm, base64, and a comment that is dropped.
    ///
    /// # Errors
    /// The key's; an option that is not honoured, or makes no sense.
    pub fn parse_line(line: &[u8]) -> Result<AuthorizedKey, PublicKeyError> {
        let options = split_options(line);
        if options.is_empty() {
            return Ok(AuthorizedKey { key: PublicKey::parse_line(line)?, options: KeyOptions::default() });
        }
        // Most lines that are no keys at all end here: what they begin with is what there is to say of them.
        let key = PublicKey::parse_line(&line[options.len()..]);
        let text = std::str::from_utf8(options).map_err(|_| PublicKeyError::NotText)?;
        let options = KeyOptions::parse(text.trim_start_matches([' ', '\t']))?;
        let key = key?;
        if options.verify_required && !key.algorithm().is_security_key() {
            return Err(refused("verify-required", "is for security keys"));
        }
        Ok(AuthorizedKey { key, options })
    }
}

impl From<PublicKey> for AuthorizedKey {
    fn from(key: PublicKey) -> AuthorizedKey {
        AuthorizedKey { key, options: KeyOptions::default() }
    }
}

/// The line as `sshd` reads it: nothing is allowed but what the options honoured here let through.
impl fmt::Display for AuthorizedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("restrict")?;
        if let Some(from) = &self.options.from {
            write!(f, ",from=\"{from}\"")?;
        }
        if let Some(time) = self.options.expires {
            let format = format_description!("[year][month][day][hour][minute][second]Z");
            let text = UtcDateTime::from(time).format(format).map_err(|_| fmt::Error)?;
            write!(f, ",expiry-time=\"{text}\"")?;
        }
        if self.options.verify_required {
            f.write_str(",verify-required")?;
        }
        write!(f, " {}", self.key)
    }
}

impl KeyOptions {
    /// Whether a client at this address may use the key now. `None`: nobody knows where it is.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, address: Option<IpAddr>, now: SystemTime) -> Result<(), KeyConditionError> {
        if self.expires.is_some_and(|time| now >= time) {
            return Err(KeyConditionError::Expired);
        }
        match (&self.from, address) {
            (None, _) => Ok(()),
            (Some(_), None) => Err(KeyConditionError::AddressUnknown),
            (Some(from), Some(address)) if from.lets_in(address) => Ok(()),
            (Some(_), Some(_)) => Err(KeyConditionError::Address),
        }
    }

    fn parse(text: &str) -> Result<KeyOptions, PublicKeyError> {
        if text.len() > OPTIONS_BYTES_MAX {
            return Err(PublicKeyError::TooLong);
        }
        let mut options = KeyOptions::default();
        let mut rest = text;
        loop {
            let end = rest.find(['=', ',']).unwrap_or(rest.len());
            let name = rest[..end].to_ascii_lowercase();
            rest = &rest[end..];
            let mut value = None;
            if let Some(quoted) = rest.strip_prefix('=') {
                // No value that is honoured has a quote in it, so none is unescaped.
                let inner = quoted.strip_prefix('"').and_then(|quoted| quoted.split_once('"'));
                let (inner, after) = inner.ok_or_else(|| refused(&name, "has no value in quotes"))?;
                value = Some(inner);
                rest = after;
            }
            match (name.as_str(), value) {
                ("from", Some(value)) if options.from.is_none() => {
                    let list = AddressList::parse(value);
                    options.from = Some(list.ok_or_else(|| {
                        refused("from", "takes addresses, networks and patterns of addresses, no names of hosts")
                    })?);
                }
                ("expiry-time", Some(value)) if options.expires.is_none() => {
                    let time = parse_time(value);
                    options.expires =
                        Some(time.ok_or_else(|| refused("expiry-time", "takes YYYYMMDD or YYYYMMDDHHMM[SS], in UTC"))?);
                }
                ("from" | "expiry-time", _) => return Err(refused(&name, "is given twice or without a value")),
                ("verify-required", None) => options.verify_required = true,
                (name, None) if SO_ANYWAY.contains(&name) => {}
                (name, _) => return Err(refused(name, "is not honoured here")),
            }
            match rest.strip_prefix(',') {
                Some(after) => rest = after,
                None if rest.is_empty() => return Ok(options),
                None => return Err(refused(&name, "is followed by something that is no option")),
            }
        }
    }
}

fn refused(option: &str, why: &'static str) -> PublicKeyError {
    let option = option.chars().filter(|letter| !letter.is_control()).take(60).collect();
    PublicKeyError::Option { option, why }
}

/// What stands before the key: up to the first blank outside of quotes, unless that is a key's algorithm.
fn split_options(line: &[u8]) -> &[u8] {
    let start = line.iter().position(|byte| !b" \t".contains(byte)).unwrap_or(line.len());
    let mut quoted = false;
    let mut end = start;
    while let Some(byte) = line.get(end) {
        match byte {
            b'\\' if line.get(end + 1) == Some(&b'"') => end += 1,
            b'"' => quoted = !quoted,
            b' ' | b'\t' if !quoted => break,
            _ => {}
        }
        end += 1;
    }
    let word = &line[start..end.min(line.len())];
    // An algorithm has a letter and no sign that only options have; and what is unknown is reported as a key's or as an option's.
    let is_key = [&b"ssh-"[..], b"ecdsa-", b"sk-", b"#"].iter().any(|head| word.starts_with(head));
    if word.is_empty() || word == b"\n" || word == b"\r\n" || is_key { &[] } else { &line[..end.min(line.len())] }
}

/// `YYYYMMDD`, `YYYYMMDDHHMM` or `YYYYMMDDHHMMSS`, each with a `Z` behind it or without: UTC.
fn parse_time(text: &str) -> Option<SystemTime> {
    let digits = text.strip_suffix('Z').unwrap_or(text);
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let whole = match digits.len() {
        8 => format!("{digits}000000"),
        12 => format!("{digits}00"),
        14 => digits.to_owned(),
        _ => return None,
    };
    let format = format_description!("[year][month][day][hour][minute][second]");
    let time = PrimitiveDateTime::parse(&whole, format).ok()?.assume_utc().unix_timestamp();
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(time).ok()?))
}

#[cfg(test)]
mod tests;
