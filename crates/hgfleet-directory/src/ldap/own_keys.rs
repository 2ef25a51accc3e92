//! An account's own keys, changed on the server that may be written (`write_server`).
//!
//! What is there is read from that server first, and read back from it when it was changed: replicas lag, and what they answer then does not
//! count. Other values of the account stay as they are, whoever wrote them.

use std::sync::PoisonError;

use super::LdapDirectory;
use super::search::{Change, Request};
use crate::values::KEYS_MAX;
use crate::{AuthorizedKey, DirectoryError, Mail, PublicKey};

impl LdapDirectory {
    /// Gives an account another key.
    ///
    /// # Errors
    ///
    /// No server may be written, or it refuses; there is no such account; the key belongs to an account already; the account has too
    /// many.
    pub(super) fn add_own_key(&self, mail: &Mail, key: &PublicKey) -> Result<(), DirectoryError> {
        if self.writer.is_none() {
            return Err(DirectoryError::NotWritable);
        }
        // Else whoever knows somebody's public key could add it too: then it would be nobody's, and lock them out.
        if let Some(owner) = self.index()?.owners.get(key.blob())
            && owner.as_ref() != Some(mail)
        {
            let owner = owner.as_ref().unwrap_or(mail).clone();
            return Err(DirectoryError::KeyTaken { key: key.to_string(), owner, mail: mail.clone() });
        }
        self.change_keys(mail, |values| {
            if values.iter().any(|value| is_key(value, |own| own == key)) {
                return Err(DirectoryError::KeyThere { key: key.to_string(), mail: mail.clone() });
            }
            if values.len() >= KEYS_MAX {
                return Err(DirectoryError::TooManyKeys { mail: mail.clone(), max: KEYS_MAX });
            }
            Ok(Change::Add(key.to_string().into_bytes()))
        })
    }

    /// Takes a key from an account that has another one.
    ///
    /// # Errors
    ///
    /// No server may be written, or it refuses; there is no such account; it has no such key, or no other.
    pub(super) fn remove_own_key(&self, mail: &Mail, fingerprint: &str) -> Result<(), DirectoryError> {
        self.change_keys(mail, |values| {
            let is_it = |own: &PublicKey| own.fingerprint() == fingerprint;
            let dropped: Vec<Vec<u8>> =
                values.iter().filter(|value| is_key(value, is_it)).map(|value| value.to_vec()).collect();
            if dropped.is_empty() {
                return Err(DirectoryError::NoKey { mail: mail.clone(), fingerprint: fingerprint.to_owned() });
            }
            if !values.iter().any(|value| is_key(value, |own| !is_it(own))) {
                return Err(DirectoryError::LastKey(mail.clone()));
            }
            Ok(Change::Delete(dropped))
        })
    }

    /// Changes the values that are an account's keys.
    fn change_keys(
        &self,
        mail: &Mail,
        decide: impl FnOnce(&[&[u8]]) -> Result<Change, DirectoryError>,
    ) -> Result<(), DirectoryError> {
        let pool = self.writer.as_ref().ok_or(DirectoryError::NotWritable)?;
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = self.entry(pool, mail)?.ok_or_else(|| DirectoryError::NoAccount(mail.clone()))?;
        let attribute = self.options.attributes.keys.clone();
        let change = decide(&entry.values(&attribute).collect::<Vec<_>>())?;
        self.runtime.ask(pool, Request::Modify { dn: entry.dn.clone(), attribute, change })?;
        if let Err(error) = self.account_from(pool, mail) {
            tracing::warn!(account = %mail, %error, "keys were changed; an older answer may count for a while");
        }
        Ok(())
    }
}

/// Whether a value is a key, and one that is meant.
fn is_key(value: &[u8], is_meant: impl Fn(&PublicKey) -> bool) -> bool {
    AuthorizedKey::parse_line(value).is_ok_and(|own| is_meant(&own.key))
}
