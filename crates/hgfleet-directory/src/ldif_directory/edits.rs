//! Changes of keys and groups: one line is added or taken out, all others stay as a person wrote them.

use std::collections::BTreeSet;

use super::{LdifDirectory, end_line, is_group, is_of};
use crate::values::{self, KEYS_MAX};
use crate::{AuthorizedKey, DirectoryError, LdifEntry, LdifError, LdifErrorKind, Mail, PublicKey, ldif};

impl LdifDirectory {
    /// Adds a key to an account that there is.
    ///
    /// # Errors
    ///
    /// There is no such account; the key belongs to an account already; the account has too many; the file.
    pub fn add_key(&self, mail: &Mail, key: &PublicKey) -> Result<(), DirectoryError> {
        self.edit(|text, entries, content| {
            let entry = entry_of(entries, mail)?;
            content.check_free(key, mail)?;
            if content.accounts.get(mail).is_some_and(|account| account.keys.len() >= KEYS_MAX) {
                return Err(DirectoryError::TooManyKeys { mail: mail.clone(), max: KEYS_MAX });
            }
            Ok((add_line(text, entry, &format!("sshPublicKey: {key}\n")), ()))
        })
    }

    /// Takes a key from an account. `fingerprint` is as [`PublicKey::fingerprint`] says it.
    ///
    /// # Errors
    ///
    /// There is no such account; it has no such key; the file.
    pub fn remove_key(&self, mail: &Mail, fingerprint: &str) -> Result<(), DirectoryError> {
        self.edit(|text, entries, _| Ok((without_key(text, entries, mail, fingerprint)?, ())))
    }

    /// The same, of an account that has another key.
    pub(super) fn remove_one_of_several(&self, mail: &Mail, fingerprint: &str) -> Result<(), DirectoryError> {
        self.edit(|text, entries, content| {
            let without = without_key(text, entries, mail, fingerprint)?;
            let is_other = |own: &AuthorizedKey| own.key.fingerprint() != fingerprint;
            match content.accounts.get(mail).is_some_and(|account| account.keys.iter().any(is_other)) {
                true => Ok((without, ())),
                false => Err(DirectoryError::LastKey(mail.clone())),
            }
        })
    }

    /// Puts an account into a group, and makes the group where there is none. Returns whether that changed anything.
    ///
    /// # Errors
    ///
    /// There is no such account; no group can be called so; the group's entry has other names too; the file.
    pub fn add_to_group(&self, mail: &Mail, group: &str) -> Result<bool, DirectoryError> {
        check_name(group)?;
        self.edit(|text, entries, content| {
            entry_of(entries, mail)?;
            if content.accounts.get(mail).is_some_and(|account| account.groups.iter().any(|own| own == group)) {
                return Ok((text.to_vec(), false));
            }
            let member = format!("memberUid: {mail}\n");
            if let Some(entry) = self.groups_called(entries, group)?.first() {
                return Ok((add_line(text, entry, &member), true));
            }
            let mut new = text.to_vec();
            if !new.is_empty() {
                end_line(&mut new);
                new.push(b'\n');
            }
            let entry = format!(
                "dn: cn={group},ou=groups,dc=hgfleet\nobjectClass: top\nobjectClass: posixGroup\ncn: {group}\n\
                 gidNumber: 100\n{member}"
            );
            new.extend_from_slice(entry.as_bytes());
            Ok((new, true))
        })
    }

    /// Takes an account out of a group. Returns whether that changed anything. The group stays, even without members.
    ///
    /// # Errors
    ///
    /// As [`LdifDirectory::add_to_group`].
    pub fn remove_from_group(&self, mail: &Mail, group: &str) -> Result<bool, DirectoryError> {
        check_name(group)?;
        self.edit(|text, entries, _| {
            entry_of(entries, mail)?;
            let mut dropped = BTreeSet::new();
            for entry in self.groups_called(entries, group)? {
                dropped.extend(lines_with(entry, "memberuid", |value| value == mail.as_str().as_bytes()));
            }
            Ok((without_lines(text, &dropped), !dropped.is_empty()))
        })
    }

    /// The entries of a group. One with several names is refused: who is put into one group would be in the others too.
    fn groups_called<'a>(&self, entries: &'a [LdifEntry], group: &str) -> Result<Vec<&'a LdifEntry>, DirectoryError> {
        let called = |entry: &&LdifEntry| is_group(entry) && entry.values("cn").any(|name| name == group.as_bytes());
        let found: Vec<&LdifEntry> = entries.iter().filter(called).collect();
        match found.iter().find(|entry| entry.values("cn").count() > 1) {
            None => Ok(found),
            Some(entry) => Err(DirectoryError::Ldif {
                path: self.path.clone(),
                error: LdifError {
                    line: entry.line,
                    kind: LdifErrorKind::Syntax("this group has several names; change it by hand"),
                },
            }),
        }
    }
}

fn check_name(group: &str) -> Result<(), DirectoryError> {
    let named = values::group_name(group.as_bytes()).map(drop);
    named.ok_or_else(|| DirectoryError::GroupName(group.chars().take(80).collect()))
}

fn entry_of<'a>(entries: &'a [LdifEntry], mail: &Mail) -> Result<&'a LdifEntry, DirectoryError> {
    entries.iter().find(|entry| is_of(entry, mail)).ok_or_else(|| DirectoryError::NoAccount(mail.clone()))
}

/// The text without the lines of one key of an account.
fn without_key(text: &[u8], entries: &[LdifEntry], mail: &Mail, fingerprint: &str) -> Result<Vec<u8>, DirectoryError> {
    let entry = entry_of(entries, mail)?;
    let is_it = |value: &[u8]| AuthorizedKey::parse_line(value).is_ok_and(|own| own.key.fingerprint() == fingerprint);
    let none = || DirectoryError::NoKey { mail: mail.clone(), fingerprint: fingerprint.to_owned() };
    remove_lines(text, entry, "sshpublickey", is_it).ok_or_else(none)
}

/// The text with one more line at an entry's end.
fn add_line(text: &[u8], entry: &LdifEntry, line: &str) -> Vec<u8> {
    let lines = ldif::lines(text);
    let mut new = lines[..entry.end].concat();
    end_line(&mut new);
    new.extend_from_slice(line.as_bytes());
    new.extend(lines[entry.end..].concat());
    new
}

/// The text without the lines of an attribute's values that match; `None` where none does.
fn remove_lines(text: &[u8], entry: &LdifEntry, name: &str, matches: impl Fn(&[u8]) -> bool) -> Option<Vec<u8>> {
    let dropped: BTreeSet<usize> = lines_with(entry, name, matches).collect();
    (!dropped.is_empty()).then(|| without_lines(text, &dropped))
}

fn lines_with(entry: &LdifEntry, name: &str, matches: impl Fn(&[u8]) -> bool) -> impl Iterator<Item = usize> {
    let own = entry.attributes.iter().filter(move |attribute| attribute.name == name && matches(&attribute.value));
    own.flat_map(|attribute| attribute.lines.clone())
}

fn without_lines(text: &[u8], dropped: &BTreeSet<usize>) -> Vec<u8> {
    let kept = ldif::lines(text).into_iter().enumerate().filter(|(index, _)| !dropped.contains(index));
    kept.map(|(_, line)| line).collect::<Vec<_>>().concat()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::Directory;

    fn key(seed: u8) -> PublicKey {
        let string = |value: &[u8]| [&(value.len() as u32).to_be_bytes(), value].concat();
        PublicKey::parse_blob(&[string(b"ssh-ed25519"), string(&[seed; 32])].concat()).unwrap()
    }

    fn mail(text: &str) -> Mail {
        Mail::parse(text).unwrap()
    }

    fn directory(text: &str) -> (tempfile::TempDir, LdifDirectory) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("directory.ldif");
        fs::write(&path, text).unwrap();
        let directory = LdifDirectory::open(&path).unwrap();
        (folder, directory)
    }

    fn text(directory: &LdifDirectory) -> String {
        fs::read_to_string(&directory.path).unwrap()
    }

    #[test]
    fn a_fingerprint_is_the_one_that_ssh_keygen_prints() {
        let line = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH";
        let key = PublicKey::parse_line(line.as_bytes()).unwrap();
        assert_eq!(key.fingerprint(), "SHA256:gNSIRW+2Iyiuvsdp/bgjy38bvWHw6wQm3tuoXrl3WjQ");
    }

    #[test]
    fn keys_come_and_go_and_the_rest_of_the_file_stays() {
        // The second key goes over two lines, and the last line has no end.
        let long = key(2).to_string();
        let before = format!(
            "# ours\ndn: mail=a@x,dc=y\nmail: a@x\n# laptop\nsshPublicKey: {} laptop\nsshPublicKey: {}\n {} desk\n\n# b\ndn: mail=b@x,dc=y\nmail: b@x",
            key(1),
            &long[..20],
            &long[20..],
        );
        let (_folder, directory) = directory(&before);
        directory.add_key(&mail("b@x"), &key(3)).unwrap();
        assert_eq!(text(&directory), format!("{before}\nsshPublicKey: {}\n", key(3)));
        directory.remove_key(&mail("b@x"), &key(3).fingerprint()).unwrap();
        assert_eq!(text(&directory), format!("{before}\n"));
        directory.remove_key(&mail("a@x"), &key(2).fingerprint()).unwrap();
        assert_eq!(directory.account(&mail("a@x")).unwrap().unwrap().keys, [key(1).into()]);
        assert!(text(&directory).contains("# laptop") && !text(&directory).contains("desk"));
        let now = text(&directory);
        let (a, b, c) = (mail("a@x"), mail("b@x"), mail("c@x"));
        let one = key(1).fingerprint();
        assert!(matches!(directory.remove_key(&a, &key(2).fingerprint()), Err(DirectoryError::NoKey { .. })));
        assert!(matches!(directory.remove_key(&b, &one), Err(DirectoryError::NoKey { .. })));
        assert!(matches!(directory.remove_key(&a, &one.to_lowercase()), Err(DirectoryError::NoKey { .. })));
        assert!(matches!(directory.remove_key(&c, &one), Err(DirectoryError::NoAccount(_))));
        assert!(
            matches!(directory.add_key(&b, &key(1)), Err(DirectoryError::KeyTaken { owner, mail, .. }) if (&owner, &mail) == (&a, &b))
        );
        assert!(matches!(directory.add_key(&c, &key(9)), Err(DirectoryError::NoAccount(_))));
        assert_eq!(text(&directory), now, "what is refused changes nothing");
    }

    #[test]
    fn groups_are_joined_and_left() {
        let (_folder, directory) = directory("dn: mail=a@x\nmail: a@x\n\ndn: mail=b@x\nmail: b@x\n");
        let groups = |name: &str| directory.account(&mail(name)).unwrap().unwrap().groups;
        assert!(directory.add_to_group(&mail("a@x"), "scm_a").unwrap());
        assert!(!directory.add_to_group(&mail("a@x"), "scm_a").unwrap());
        assert!(directory.add_to_group(&mail("b@x"), "scm_a").unwrap());
        assert!(directory.add_to_group(&mail("b@x"), "scm_b").unwrap());
        assert_eq!((groups("a@x"), groups("b@x")), (vec!["scm_a".into()], vec!["scm_a".into(), "scm_b".into()]));
        assert_eq!(text(&directory).matches("cn: scm_a").count(), 1);
        assert!(directory.remove_from_group(&mail("a@x"), "scm_a").unwrap());
        assert!(!directory.remove_from_group(&mail("a@x"), "scm_a").unwrap());
        assert!(!directory.remove_from_group(&mail("a@x"), "nowhere").unwrap());
        assert_eq!((groups("a@x"), groups("b@x").len()), (Vec::<String>::new(), 2));
        assert!(matches!(directory.add_to_group(&mail("c@x"), "scm_a"), Err(DirectoryError::NoAccount(_))));
        for odd in ["", "scm_*", "a,ou=b", "a b", "a\nmemberUid: b", "\u{e9}"] {
            assert!(matches!(directory.add_to_group(&mail("a@x"), odd), Err(DirectoryError::GroupName(_))), "{odd:?}");
        }
    }

    #[test]
    fn a_group_of_several_names_is_changed_by_hand() {
        let (_folder, directory) =
            directory("dn: mail=a@x\nmail: a@x\n\ndn: cn=one,ou=groups\ncn: one\ncn: two\nmemberUid: b@x\n");
        let before = text(&directory);
        assert!(directory.add_to_group(&mail("a@x"), "two").unwrap_err().to_string().contains("line 4"));
        assert!(directory.remove_from_group(&mail("a@x"), "one").is_err());
        assert_eq!(text(&directory), before);
    }

    #[test]
    fn an_account_keeps_one_key_when_it_takes_its_own_away() {
        let (one, two) = (key(1), key(2));
        let start =
            format!("dn: mail=a@b,o=x\nmail: a@b\nhgAccountEnabled: TRUE\nsshPublicKey: {one}\nsshPublicKey: {two}\n");
        let (_folder, directory) = directory(&start);
        let a = mail("a@b");
        assert!(matches!(directory.take_key(&a, "SHA256:x"), Err(DirectoryError::NoKey { .. })));
        directory.take_key(&a, &one.fingerprint()).unwrap();
        assert!(matches!(directory.take_key(&a, &two.fingerprint()), Err(DirectoryError::LastKey(_))));
        assert_eq!(directory.account(&a).unwrap().unwrap().keys, [two.into()]);
    }
}
