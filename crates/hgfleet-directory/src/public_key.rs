//! SSH public keys as users hand them in: one line of `*.pub` or `authorized_keys`.
//!
//! Only what the door can check is taken: ed25519 (RFC 8709) and RSA from 2048 bits (RFC 4253, 6.6). A line's options are
//! refused, never obeyed, and what is kept is made anew from the parsed key, so that nothing of the line but the key survives.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use sha2::{Digest, Sha256};
use std::fmt;

/// Longest line, bytes: an RSA key of 16384 bits takes 2.8 kB.
const LINE_BYTES_MAX: usize = 8192;
const RSA_BITS_MIN: usize = 2048;
const RSA_BITS_MAX: usize = 16384;

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
    #[error("options before the key ({0:?}) are not allowed: give the key alone")]
    Options(String),
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
                if take_string(&mut rest)?.len() != 32 {
                    return Err(PublicKeyError::Damaged("an ed25519 key has 32 bytes"));
                }
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
                KeyAlgorithm::Rsa { bits }
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
        "ssh-ed25519" | "ssh-rsa" => Ok(()),
        _ if name.contains("-cert-v01@") => refuse(" as certificates"),
        _ if name.starts_with("sk-") => refuse(" (a touch of the security key cannot be checked here)"),
        "ssh-dss" => refuse(" (DSA is broken)"),
        _ if name.starts_with("ecdsa-sha2-") => refuse(""),
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
mod tests {
    use super::*;

    fn string(value: &[u8]) -> Vec<u8> {
        [&(value.len() as u32).to_be_bytes(), value].concat()
    }

    fn ed25519() -> Vec<u8> {
        [string(b"ssh-ed25519"), string(&[7; 32])].concat()
    }

    fn rsa(exponent: &[u8], modulus: &[u8]) -> Vec<u8> {
        [string(b"ssh-rsa"), string(exponent), string(modulus)].concat()
    }

    fn modulus(bits: usize) -> Vec<u8> {
        let mut number = vec![0xff; bits / 8];
        number.insert(0, 0);
        number
    }

    #[test]
    fn base64_has_one_form() {
        for (bytes, text) in
            [(&b""[..], ""), (b"f", "Zg=="), (b"fo", "Zm8="), (b"foo", "Zm9v"), (b"\xff\xfe\xfd", "//79")]
        {
            assert_eq!(encode_base64(bytes), text);
            assert_eq!(decode_base64(text.as_bytes()).as_deref(), Some(bytes));
        }
        for bad in ["Z", "Zg", "Zg=", "Zh==", "Zm9=", "====", "Zg==Zg==", "Z g=", "Zm-v"] {
            assert_eq!(decode_base64(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn a_key_line_is_made_anew_from_the_key() {
        let line = format!("  ssh-ed25519\t{} someone's laptop\n", encode_base64(&ed25519()));
        let key = PublicKey::parse_line(line.as_bytes()).unwrap();
        assert_eq!(key.blob(), ed25519());
        assert_eq!(key.to_string(), format!("ssh-ed25519 {}", encode_base64(&ed25519())));
        let rsa = rsa(&[1, 0, 1], &modulus(2048));
        let key = PublicKey::parse_line(format!("ssh-rsa {}", encode_base64(&rsa)).as_bytes()).unwrap();
        assert_eq!(key.algorithm(), KeyAlgorithm::Rsa { bits: 2048 });
    }

    #[test]
    fn everything_else_is_refused() {
        let good = encode_base64(&ed25519());
        let lines = [
            String::new(),
            "# comment".into(),
            format!("command=\"sh\" ssh-ed25519 {good}"),
            format!("cert-authority ssh-ed25519 {good}"),
            format!("environment=\"A=b\" ssh-ed25519 {good}"),
            format!("restrict ssh-ed25519 {good}"),
            format!("ssh-rsa {good}"),
            format!("ssh-ed25519 {good}\nssh-ed25519 {good}"),
            format!("ssh-ed25519 {good}\0"),
            format!("ssh-ed25519 {}", &good[..good.len() - 4]),
            format!("ssh-ed25519 {}", encode_base64(&[ed25519(), vec![0]].concat())),
            "ssh-ed25519".into(),
            "ssh-ed25519 AAAA*".into(),
            format!("ssh-dss {good}"),
            format!("sk-ssh-ed25519@openssh.com {good}"),
            format!("ssh-ed25519-cert-v01@openssh.com {good}"),
            format!("ssh-ed25519 {good} {}", "x".repeat(9000)),
        ];
        for line in lines {
            assert!(PublicKey::parse_line(line.as_bytes()).is_err(), "{line:?}");
        }
        assert!(PublicKey::parse_line(b"ssh-ed25519 \xff").is_err());
    }

    #[test]
    fn weak_rsa_keys_are_refused() {
        let refused = |blob: Vec<u8>| PublicKey::parse_blob(&blob).unwrap_err();
        assert_eq!(refused(rsa(&[1, 0, 1], &modulus(1024))), PublicKeyError::RsaBits(1024));
        assert_eq!(refused(rsa(&[1, 0, 1], &modulus(32768))), PublicKeyError::RsaBits(32768));
        assert_eq!(refused(rsa(&[1], &modulus(2048))), PublicKeyError::RsaExponent);
        assert_eq!(refused(rsa(&[4], &modulus(2048))), PublicKeyError::RsaExponent);
        assert_eq!(refused(rsa(&[1; 9], &modulus(2048))), PublicKeyError::RsaExponent);
        assert!(matches!(refused(rsa(&[0, 1, 0, 1], &modulus(2048))), PublicKeyError::Damaged(_)));
        assert!(matches!(refused(rsa(&[1, 0, 1], &[0xff; 256])), PublicKeyError::Damaged(_)));
    }
}
