//! SSH public keys as users hand them in: one line of `*.pub` or `authorized_keys`.
//!
//! Taken are ed25519 (RFC 8709), ECDSA on NIST's curves (RFC 5656, 3.1), RSA from 2048 bits (RFC 4253, 6.6), and security keys
//! (OpenSSH's `PROTOCOL.u2f`), which not every door can check. Options before the key are refused here; [`AuthorizedKey`] takes those that
//! are honoured. What is kept is made anew from the parsed key, so that nothing of the line but the key survives.
//!
//! [`AuthorizedKey`]: crate::AuthorizedKey

mod roca;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use sha2::{Digest, Sha256};
use std::fmt;

/// Longest line, bytes: an RSA key of 16384 bits takes 2.8 kB.
const LINE_BYTES_MAX: usize = 8192;
const RSA_BITS_MIN: usize = 2048;
const RSA_BITS_MAX: usize = 16384;
/// Longest application of a security key, bytes; `ssh:` is the usual one.
const APPLICATION_BYTES_MAX: usize = 256;
const SK_ED25519: &str = "sk-ssh-ed25519@openssh.com";
const SK_ECDSA: &str = "sk-ecdsa-sha2-nistp256@openssh.com";

/// Algorithm of a key (not of a signature: an RSA key signs with SHA-2 here, whatever its own name says).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyAlgorithm {
    /// `ssh-ed25519`.
    Ed25519,
    /// `ssh-rsa`, with this many bits.
    Rsa {
        /// Length of the modulus, bits.
        bits: usize,
    },
    /// `ecdsa-sha2-…`.
    Ecdsa(Curve),
    /// `sk-ssh-ed25519@openssh.com`: in a security key, which signs when it is touched.
    SkEd25519,
    /// `sk-ecdsa-sha2-nistp256@openssh.com`: likewise.
    SkEcdsa,
}

/// A curve of ECDSA (RFC 5656, 10.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Curve {
    /// `nistp256`
    Nistp256,
    /// `nistp384`
    Nistp384,
    /// `nistp521`
    Nistp521,
}

/// A checked public key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PublicKey {
    algorithm: KeyAlgorithm,
    blob: Vec<u8>,
}

/// Why a line is not taken as a key. The text says what to do where there is something to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublicKeyError {
    /// Longer than any key that is taken.
    #[error("the line is longer than {LINE_BYTES_MAX} bytes")]
    TooLong,
    /// Control characters, or no text.
    #[error("the line holds bytes that no public key has")]
    NotText,
    /// Empty or a comment.
    #[error("there is no key on the line")]
    Empty,
    /// Options before the key.
    #[error("options before the key ({0:?}) are not allowed here: give the key alone")]
    Options(String),
    /// An option that is not honoured, or that says what can't be understood. Then the key is not taken: no option is passed over.
    #[error("the option {option} {why}: leave it out, or use from=, expiry-time= or restrict")]
    Option {
        /// The option's name, or how the options begin.
        option: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// An algorithm that is not taken.
    #[error("{name} keys are not accepted{why}: use an ed25519 key (ssh-keygen -t ed25519)")]
    Algorithm {
        /// The algorithm's name.
        name: String,
        /// The reason, or nothing.
        why: &'static str,
    },
    /// The base64 or what it holds.
    #[error("the key is damaged: {0}")]
    Damaged(&'static str),
    /// An RSA key that is too short or too long.
    #[error("the RSA key has {0} bits; {RSA_BITS_MIN} to {RSA_BITS_MAX} are accepted")]
    RsaBits(usize),
    /// An RSA key with an exponent that makes it worthless.
    #[error("the RSA key has an exponent that is not safe")]
    RsaExponent,
    /// An RSA key whose primes can be found (CVE-2017-15361).
    #[error(
        "the RSA key was made by faulty hardware, and its private half can be computed (ROCA): make one elsewhere (ssh-keygen -t ed25519)"
    )]
    Roca,
}

impl PublicKey {
    /// Parses one line, with its end or without: algorithm, base64, and a comment that is dropped.
    pub fn parse_line(line: &[u8]) -> Result<PublicKey, PublicKeyError> {
        if line.len() > LINE_BYTES_MAX {
            return Err(PublicKeyError::TooLong);
        }
        let text = std::str::from_utf8(line).map_err(|_| PublicKeyError::NotText)?;
        let text = text.strip_suffix('\n').unwrap_or(text);
        let text = text.strip_suffix('\r').unwrap_or(text).trim_matches([' ', '\t']);
        if text.chars().any(|c| c.is_control() && c != '\t') {
            return Err(PublicKeyError::NotText);
        }
        if text.is_empty() || text.starts_with('#') {
            return Err(PublicKeyError::Empty);
        }
        let mut words = text.split([' ', '\t']).filter(|word| !word.is_empty());
        let name = words.next().unwrap_or_default();
        check_algorithm(name)?;
        let encoded = words.next().ok_or(PublicKeyError::Damaged("there is nothing after the algorithm"))?;
        let blob = decode_base64(encoded.as_bytes())
            .ok_or(PublicKeyError::Damaged("what follows the algorithm is no base64"))?;
        let key = PublicKey::parse_blob(&blob)?;
        if key.algorithm.name() != name {
            return Err(PublicKeyError::Damaged("the algorithm before the key is not the key's own"));
        }
        Ok(key)
    }

    /// Parses a key as it goes over the wire.
    pub fn parse_blob(blob: &[u8]) -> Result<PublicKey, PublicKeyError> {
        let mut rest = blob;
        let name = take_string(&mut rest)?;
        let algorithm = match name {
            b"ssh-ed25519" => {
                take_ed25519(&mut rest)?;
                KeyAlgorithm::Ed25519
            }
            b"ssh-rsa" => {
                let exponent = take_positive(&mut rest)?;
                let modulus = take_positive(&mut rest)?;
                // The bound on the exponent is the one that verifiers commonly have: larger ones only cost time.
                if exponent.len() > 8 || exponent.last().is_none_or(|low| low & 1 == 0) || exponent == [1] {
                    return Err(PublicKeyError::RsaExponent);
                }
                let bits = bits_of(modulus);
                if !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits) {
                    return Err(PublicKeyError::RsaBits(bits));
                }
                if modulus.last().is_none_or(|low| low & 1 == 0) {
                    return Err(PublicKeyError::Damaged("the RSA modulus is even"));
                }
                if roca::is_marked(modulus) {
                    return Err(PublicKeyError::Roca);
                }
                KeyAlgorithm::Rsa { bits }
            }
            b"ecdsa-sha2-nistp256" => ecdsa(&mut rest, Curve::Nistp256)?,
            b"ecdsa-sha2-nistp384" => ecdsa(&mut rest, Curve::Nistp384)?,
            b"ecdsa-sha2-nistp521" => ecdsa(&mut rest, Curve::Nistp521)?,
            name if name == SK_ED25519.as_bytes() => {
                take_ed25519(&mut rest)?;
                take_application(&mut rest)?;
                KeyAlgorithm::SkEd25519
            }
            name if name == SK_ECDSA.as_bytes() => {
                ecdsa(&mut rest, Curve::Nistp256)?;
                take_application(&mut rest)?;
                KeyAlgorithm::SkEcdsa
            }
            other => {
                let name = String::from_utf8_lossy(other);
                check_algorithm(&name)?;
                return Err(PublicKeyError::Damaged("the key's own algorithm is unknown"));
            }
        };
        if !rest.is_empty() {
            return Err(PublicKeyError::Damaged("there is something after the key"));
        }
        Ok(PublicKey { algorithm, blob: blob.to_vec() })
    }

    /// The key as it goes over the wire (RFC 4253, 6.6). Parsing allows one form only, so equal keys have equal blobs.
    pub fn blob(&self) -> &[u8] {
        &self.blob
    }

    /// The key's fingerprint as `ssh-keygen -l` prints it: `SHA256:` and the hash in base64 without padding.
    pub fn fingerprint(&self) -> String {
        format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(&self.blob)))
    }

    /// What kind of key it is.
    pub fn algorithm(&self) -> KeyAlgorithm {
        self.algorithm
    }
}

impl KeyAlgorithm {
    /// The name that is written before such a key.
    pub fn name(&self) -> &'static str {
        match self {
            KeyAlgorithm::Ed25519 => "ssh-ed25519",
            KeyAlgorithm::Rsa { .. } => "ssh-rsa",
            KeyAlgorithm::Ecdsa(Curve::Nistp256) => "ecdsa-sha2-nistp256",
            KeyAlgorithm::Ecdsa(Curve::Nistp384) => "ecdsa-sha2-nistp384",
            KeyAlgorithm::Ecdsa(Curve::Nistp521) => "ecdsa-sha2-nistp521",
            KeyAlgorithm::SkEd25519 => SK_ED25519,
            KeyAlgorithm::SkEcdsa => SK_ECDSA,
        }
    }

    /// Whether it lies in a security key. Whoever verifies its signatures must see that the key was touched.
    pub fn is_security_key(&self) -> bool {
        matches!(self, KeyAlgorithm::SkEd25519 | KeyAlgorithm::SkEcdsa)
    }
}

impl Curve {
    /// The curve's name in the key, and the length of an uncompressed point on it, bytes (SEC 1, 2.3.3).
    fn form(self) -> (&'static [u8], usize) {
        match self {
            Curve::Nistp256 => (b"nistp256", 65),
            Curve::Nistp384 => (b"nistp384", 97),
            Curve::Nistp521 => (b"nistp521", 133),
        }
    }
}

/// Algorithm and base64, without a comment.
impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.algorithm.name(), encode_base64(&self.blob))
    }
}

fn check_algorithm(name: &str) -> Result<(), PublicKeyError> {
    let refuse = |why| Err(PublicKeyError::Algorithm { name: name.chars().take(60).collect(), why });
    match name {
        "ssh-ed25519" | "ssh-rsa" | "ecdsa-sha2-nistp256" | "ecdsa-sha2-nistp384" | "ecdsa-sha2-nistp521" => Ok(()),
        SK_ED25519 | SK_ECDSA => Ok(()),
        _ if name.contains("-cert-v01@") => refuse(" as certificates"),
        "ssh-dss" => refuse(" (DSA is broken)"),
        _ if name.starts_with("ecdsa-sha2-") || name.starts_with("sk-") => refuse(""),
        // Whatever else stands first on a line would be an option, as OpenSSH reads it.
        _ => Err(PublicKeyError::Options(name.chars().take(60).collect())),
    }
}

fn take_string<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], PublicKeyError> {
    let cut = PublicKeyError::Damaged("it is cut short");
    let Some((length, after)) = rest.split_first_chunk::<4>() else {
        return Err(cut);
    };
    let length = u32::from_be_bytes(*length) as usize;
    if length > after.len() {
        return Err(cut);
    }
    let (value, after) = after.split_at(length);
    *rest = after;
    Ok(value)
}

fn take_ed25519(rest: &mut &[u8]) -> Result<(), PublicKeyError> {
    match take_string(rest)?.len() {
        32 => Ok(()),
        _ => Err(PublicKeyError::Damaged("an ed25519 key has 32 bytes")),
    }
}

/// Curve and point. Whether the point lies on the curve is seen by whoever verifies a signature.
fn ecdsa(rest: &mut &[u8], curve: Curve) -> Result<KeyAlgorithm, PublicKeyError> {
    let (name, length) = curve.form();
    if take_string(rest)? != name {
        return Err(PublicKeyError::Damaged("its curve is not the one of its algorithm"));
    }
    match take_string(rest)? {
        [4, point @ ..] if point.len() + 1 == length => Ok(KeyAlgorithm::Ecdsa(curve)),
        _ => Err(PublicKeyError::Damaged("its point is not written as it must be")),
    }
}

fn take_application(rest: &mut &[u8]) -> Result<(), PublicKeyError> {
    let application = take_string(rest)?;
    if application.len() <= APPLICATION_BYTES_MAX && application.starts_with(b"ssh:") {
        return Ok(());
    }
    Err(PublicKeyError::Damaged("the security key's application is none of SSH's"))
}

/// A positive mpint in its only canonical form, without the leading zero.
fn take_positive<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], PublicKeyError> {
    let value = take_string(rest)?;
    match value {
        [0, next, ..] if next & 0x80 != 0 => Ok(&value[1..]),
        [first, ..] if *first != 0 && first & 0x80 == 0 => Ok(value),
        _ => Err(PublicKeyError::Damaged("a number in it is not written as it must be")),
    }
}

fn bits_of(number: &[u8]) -> usize {
    number.first().map_or(0, |first| number.len() * 8 - first.leading_zeros() as usize)
}

/// Base64 (RFC 4648, 4), with padding.
pub(crate) fn encode_base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Strict base64 with padding: one way to write each run of bytes.
pub(crate) fn decode_base64(text: &[u8]) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

#[cfg(test)]
mod tests;
