//! What an entry's values mean, whichever backend they come from.

use crate::{AccountState, AuthorizedKey, Mail};

/// Keys of one account that count; more are most likely a mistake or an attack on the lookup.
pub(crate) const KEYS_MAX: usize = 100;
/// Longest name of a group, bytes.
const GROUP_BYTES_MAX: usize = 64;

/// What the values of `hgAccountEnabled` say: exactly one value, letter for letter.
pub(crate) fn state<'a>(mut values: impl Iterator<Item = &'a [u8]>) -> AccountState {
    match (values.next(), values.next()) {
        (Some(b"TRUE"), None) => AccountState::Enabled,
        (Some(b"FALSE"), None) => AccountState::Disabled,
        _ => AccountState::NotEnabled,
    }
}

/// The keys that count among the values of `sshPublicKey`. What is no key, or more than [`KEYS_MAX`], is logged and left out.
pub(crate) fn keys<'a>(values: impl Iterator<Item = &'a [u8]>, mail: &Mail) -> Vec<AuthorizedKey> {
    let mut keys = Vec::new();
    for value in values {
        match AuthorizedKey::parse_line(value) {
            Ok(_) if keys.len() >= KEYS_MAX => {
                tracing::error!(account = %mail, max = KEYS_MAX, "too many keys on one account: the rest is not taken");
                break;
            }
            Ok(key) if keys.contains(&key) => {}
            Ok(key) => keys.push(key),
            Err(error) => tracing::warn!(account = %mail, %error, "a key is not taken"),
        }
    }
    keys
}

/// A group's name as rules may use it: ASCII letters, digits, `_`, `-` and `.`, case kept. Anything else is no group.
pub(crate) fn group_name(value: &[u8]) -> Option<&str> {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-.".contains(byte);
    let valid = (1..=GROUP_BYTES_MAX).contains(&value.len()) && value.iter().all(allowed);
    if valid { std::str::from_utf8(value).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_exact_true_enables() {
        let state = |values: &[&str]| super::state(values.iter().map(|value| value.as_bytes()));
        assert_eq!(state(&["TRUE"]), AccountState::Enabled);
        assert_eq!(state(&["FALSE"]), AccountState::Disabled);
        let odd: [&[&str]; 8] =
            [&[], &["true"], &["TRUE "], &[" "], &[""], &["FALSE", "TRUE"], &["TRUE", "TRUE"], &["TRUE\0"]];
        for values in odd {
            assert_eq!(state(values), AccountState::NotEnabled, "{values:?}");
        }
    }

    #[test]
    fn a_group_has_one_plain_name() {
        assert_eq!(group_name(b"scm_level_3"), Some("scm_level_3"));
        for odd in ["", "scm_*", "scm_level_3,ou=x", "scm level", "scm_\u{e9}", "scm\n", "scm_\0", &"x".repeat(65)] {
            assert_eq!(group_name(odd.as_bytes()), None, "{odd:?}");
        }
    }
}
