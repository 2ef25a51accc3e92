//! A directory in one LDIF file.
//!
//! An account is an entry with `mail`; its keys are `sshPublicKey`, its switch `hgAccountEnabled`. A group is an entry with `cn` and
//! `memberUid` whose name lies in `ou=groups`. Each lookup looks at the file's stat first and reads the file again where that
//! has changed. A file that is broken at that time changes nothing: the last good one counts on, and the log says so.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use watched_file::{WatchError, WatchedFile, read_bounded};

use crate::ldif::{self, LdifEntry};
use crate::values::{self, KEYS_MAX};
use crate::{
    Account, AccountState, AuthorizedKey, Directory, DirectoryError, LdifError, LdifErrorKind, Mail, PublicKey,
};

/// A directory in one LDIF file.
#[derive(Debug)]
pub struct LdifDirectory {
    path: PathBuf,
    file: WatchedFile<Content, LdifError>,
}

#[derive(Debug, Default)]
struct Content {
    accounts: BTreeMap<Mail, Account>,
    /// Which account a key belongs to; `None` where several claim it.
    owners: HashMap<Vec<u8>, Option<Mail>>,
}

/// One line of `account list`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountLine {
    /// The account.
    pub mail: Mail,
    /// May it be used.
    pub state: AccountState,
    /// How many keys it has that count.
    pub keys: usize,
    /// Its groups, sorted.
    pub groups: Vec<String>,
}

impl LdifDirectory {
    /// Reads the file. It must exist and be sound.
    pub fn open(path: &Path) -> Result<LdifDirectory, DirectoryError> {
        let file = WatchedFile::open(path.to_owned(), ldif::FILE_BYTES_MAX, Content::parse);
        let file = file.map_err(|error| match error {
            WatchError::Io { path, source: error } => DirectoryError::Io { verb: "read", path, error },
            WatchError::Content { path, error } => DirectoryError::Ldif { path, error },
        })?;
        Ok(LdifDirectory { path: path.to_owned(), file })
    }

    /// Makes a file without accounts, unless there is a file already.
    pub fn create(path: &Path) -> Result<(), DirectoryError> {
        let head = "version: 1\n# Accounts of this fleet. `hgfleet account` edits this file; so may you. A change counts from the next login on.\n";
        if path.exists() { Ok(()) } else { write_new(path, head.as_bytes()) }
    }

    /// The accounts, sorted by mail address.
    pub fn list(&self) -> Vec<AccountLine> {
        self.content()
            .accounts
            .values()
            .map(|account| AccountLine {
                mail: account.mail.clone(),
                state: account.state,
                keys: account.keys.len(),
                groups: account.groups.clone(),
            })
            .collect()
    }

    /// Adds an account with these keys and enables it, or adds the keys to the account that there is. Returns whether the account is new.
    ///
    /// A key that any account has already is refused, and then nothing is changed.
    pub fn add(&self, mail: &Mail, keys: &[PublicKey]) -> Result<bool, DirectoryError> {
        self.edit(|text, entries, content| {
            for key in keys {
                content.check_free(key, mail)?;
            }
            let mut lines: Vec<Vec<u8>> = ldif::lines(text).into_iter().map(<[u8]>::to_vec).collect();
            let new_keys: Vec<u8> = keys.iter().flat_map(|key| format!("sshPublicKey: {key}\n").into_bytes()).collect();
            let existing = entries.iter().find(|entry| is_of(entry, mail));
            if let Some(entry) = existing {
                let have = content.accounts.get(mail).map_or(0, |account| account.keys.len());
                if have + keys.len() > KEYS_MAX {
                    return Err(DirectoryError::TooManyKeys { mail: mail.clone(), max: KEYS_MAX });
                }
                let last = &mut lines[entry.end - 1];
                end_line(last);
                last.extend_from_slice(&new_keys);
                return Ok((lines.concat(), false));
            }
            if let Some(last) = lines.last_mut() {
                end_line(last);
                lines.push(b"\n".to_vec());
            }
            let entry = format!(
                "dn: mail={mail},o=com,dc=hgfleet\nobjectClass: top\nobjectClass: inetOrgPerson\nobjectClass: hgAccount\n\
                 objectClass: ldapPublicKey\nmail: {mail}\ncn: {mail}\nsn: {mail}\nhgAccountEnabled: TRUE\n"
            );
            lines.push([entry.as_bytes(), &new_keys].concat());
            Ok((lines.concat(), true))
        })
    }

    /// Sets whether an account may be used. Returns whether that changed anything.
    pub fn set_enabled(&self, mail: &Mail, enabled: bool) -> Result<bool, DirectoryError> {
        self.edit(|text, entries, content| {
            let entry = entries
                .iter()
                .find(|entry| is_of(entry, mail))
                .ok_or_else(|| DirectoryError::NoAccount(mail.clone()))?;
            let wanted = if enabled { AccountState::Enabled } else { AccountState::Disabled };
            if content.accounts.get(mail).map(|account| account.state) == Some(wanted) {
                return Ok((text.to_vec(), false));
            }
            let mut lines: Vec<Vec<u8>> = ldif::lines(text).into_iter().map(<[u8]>::to_vec).collect();
            let last = &mut lines[entry.end - 1];
            end_line(last);
            last.extend_from_slice(if enabled { b"hgAccountEnabled: TRUE\n" } else { b"hgAccountEnabled: FALSE\n" });
            let tail = lines.split_off(entry.end);
            let added = lines.pop().unwrap_or_default();
            let (kept, value) = split_last_line(added);
            lines.push(kept);
            for attribute in entry.attributes.iter().filter(|attribute| attribute.name == "hgaccountenabled") {
                for index in attribute.lines.clone() {
                    lines[index] = Vec::new();
                }
            }
            lines.push(value);
            lines.extend(tail);
            Ok((lines.concat(), true))
        })
    }

    /// Reads the file as it is now, changes it, and puts the new one in its place at once.
    fn edit<T>(
        &self,
        change: impl FnOnce(&[u8], &[LdifEntry], &Content) -> Result<(Vec<u8>, T), DirectoryError>,
    ) -> Result<T, DirectoryError> {
        let ldif = |error| DirectoryError::Ldif { path: self.path.clone(), error };
        // Two commands at a time: the second waits, and edits what the first one wrote.
        let guard_path = self.path.with_extension("ldif.lock");
        let guard = File::options().create(true).truncate(false).write(true).open(&guard_path);
        let guard = guard.map_err(|error| DirectoryError::Io { verb: "open", path: guard_path.clone(), error })?;
        guard.lock().map_err(|error| DirectoryError::Io { verb: "lock", path: guard_path, error })?;
        let read = read_bounded(&self.path, ldif::FILE_BYTES_MAX);
        let text = read.map_err(|error| DirectoryError::Io { verb: "read", path: self.path.clone(), error })?;
        let entries = ldif::parse(&text).map_err(ldif)?;
        let content = Content::from_entries(&entries).map_err(ldif)?;
        let (new, answer) = change(&text, &entries, &content)?;
        // What would be refused at the next login must not be written.
        Content::parse(&new).map_err(ldif)?;
        if new != text {
            replace(&self.path, &new)?;
        }
        Ok(answer)
    }

    fn content(&self) -> Arc<Content> {
        self.file.content()
    }
}

impl Directory for LdifDirectory {
    fn account_by_key(&self, blob: &[u8]) -> Result<Option<Account>, DirectoryError> {
        let content = self.content();
        match content.owners.get(blob) {
            None => Ok(None),
            Some(None) => {
                let names: Vec<&str> = content
                    .accounts
                    .values()
                    .filter(|account| account.has_key(blob))
                    .map(|account| account.mail.as_str())
                    .collect();
                tracing::error!(accounts = names.join(", "), "one key on several accounts: none of them is taken");
                Ok(None)
            }
            Some(Some(mail)) => Ok(content.accounts.get(mail).cloned()),
        }
    }

    fn account(&self, mail: &Mail) -> Result<Option<Account>, DirectoryError> {
        Ok(self.content().accounts.get(mail).cloned())
    }

    fn takes_keys(&self) -> bool {
        true
    }

    fn give_key(&self, mail: &Mail, key: &PublicKey) -> Result<(), DirectoryError> {
        self.add_key(mail, key)
    }

    fn take_key(&self, mail: &Mail, fingerprint: &str) -> Result<(), DirectoryError> {
        self.remove_one_of_several(mail, fingerprint)
    }
}

impl Content {
    fn parse(text: &[u8]) -> Result<Content, LdifError> {
        Content::from_entries(&ldif::parse(text)?)
    }

    fn from_entries(entries: &[LdifEntry]) -> Result<Content, LdifError> {
        let mut content = Content::default();
        let mut first_lines: HashMap<Mail, usize> = HashMap::new();
        for entry in entries {
            let mut mails = entry.values("mail");
            let Some(mail) = mails.next() else { continue };
            let at = |kind| LdifError { line: entry.line, kind };
            if mails.next().is_some() {
                return Err(at(LdifErrorKind::Syntax("an entry with two mail addresses")));
            }
            let mail = Mail::parse(&String::from_utf8_lossy(mail)).map_err(|error| at(error.into()))?;
            if let Some(first) = first_lines.insert(mail.clone(), entry.line) {
                return Err(at(LdifErrorKind::SecondEntry { mail: mail.to_string(), first }));
            }
            let account = Account {
                state: values::state(entry.values("hgaccountenabled")),
                keys: values::keys(entry.values("sshpublickey"), &mail),
                groups: Vec::new(),
                mail: mail.clone(),
            };
            for AuthorizedKey { key, .. } in &account.keys {
                content
                    .owners
                    .entry(key.blob().to_vec())
                    .and_modify(|owner| {
                        if owner.as_ref() != Some(&mail) {
                            *owner = None;
                        }
                    })
                    .or_insert_with(|| Some(mail.clone()));
            }
            content.accounts.insert(mail, account);
        }
        for entry in entries.iter().filter(|entry| is_group(entry)) {
            for name in entry.values("cn") {
                let Some(name) = values::group_name(name) else {
                    tracing::warn!(
                        line = entry.line,
                        "a group's name is none: letters, digits, _, - and . are allowed"
                    );
                    continue;
                };
                for member in entry.values("memberuid") {
                    let member = Mail::parse(&String::from_utf8_lossy(member)).ok();
                    if let Some(account) = member.and_then(|mail| content.accounts.get_mut(&mail)) {
                        account.groups.push(name.to_owned());
                    }
                }
            }
        }
        for account in content.accounts.values_mut() {
            account.groups.sort();
            account.groups.dedup();
        }
        Ok(content)
    }

    /// Says no where an account has this key already: `mail`'s own, or another.
    fn check_free(&self, key: &PublicKey, mail: &Mail) -> Result<(), DirectoryError> {
        let mut owners =
            self.accounts.values().filter(|account| account.has_key(key.blob())).map(|account| &account.mail);
        let Some(first) = owners.next() else { return Ok(()) };
        let other = [first].into_iter().chain(owners).find(|owner| *owner != mail);
        Err(match other {
            Some(owner) => DirectoryError::KeyTaken { key: key.to_string(), owner: owner.clone(), mail: mail.clone() },
            None => DirectoryError::KeyThere { key: key.to_string(), mail: mail.clone() },
        })
    }
}

fn is_of(entry: &LdifEntry, mail: &Mail) -> bool {
    entry.values("mail").any(|value| value == mail.as_str().as_bytes())
}

fn is_group(entry: &LdifEntry) -> bool {
    let mut parts = entry.dn.split(',').skip(1).map(|part| part.trim().to_ascii_lowercase());
    parts.next().is_some_and(|part| part == "ou=groups")
}

fn end_line(line: &mut Vec<u8>) {
    if line.last() != Some(&b'\n') {
        line.push(b'\n');
    }
}

/// Splits off what follows the last line end but one.
fn split_last_line(mut text: Vec<u8>) -> (Vec<u8>, Vec<u8>) {
    let body = text.len().saturating_sub(1);
    let start = text[..body].iter().rposition(|byte| *byte == b'\n').map_or(0, |place| place + 1);
    let last = text.split_off(start);
    (text, last)
}

fn write_new(path: &Path, text: &[u8]) -> Result<(), DirectoryError> {
    replace(path, text)
}

/// Writes a file beside the old one and puts it in its place, durably.
fn replace(path: &Path, text: &[u8]) -> Result<(), DirectoryError> {
    let io = |error| DirectoryError::Io { verb: "write", path: path.to_owned(), error };
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(io)?;
    if let Ok(metadata) = fs::metadata(path) {
        file.as_file().set_permissions(metadata.permissions()).map_err(io)?;
    }
    file.write_all(text).map_err(io)?;
    file.as_file().sync_all().map_err(io)?;
    file.persist(path).map_err(|error| io(error.error))?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(io)
}

mod edits;
#[cfg(test)]
mod tests;
