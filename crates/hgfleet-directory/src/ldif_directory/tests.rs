use super::*;
use crate::public_key::encode_base64;

fn key(seed: u8) -> PublicKey {
    let string = |value: &[u8]| [&(value.len() as u32).to_be_bytes(), value].concat();
    PublicKey::parse_blob(&[string(b"ssh-ed25519"), string(&[seed; 32])].concat()).unwrap()
}

fn mail(text: &str) -> Mail {
    Mail::parse(text).unwrap()
}

struct Fixture {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

fn fixture(text: &str) -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("directory.ldif");
    fs::write(&path, text).unwrap();
    Fixture { _folder: folder, path }
}

const TWO: &str = "version: 1\n\n# first\ndn: mail=a@x,dc=y\nmail: a@x\nhgAccountEnabled: TRUE\nsshPublicKey: ";

#[test]
fn an_account_is_added_found_disabled_and_enabled() {
    let file = fixture("");
    fs::remove_file(&file.path).unwrap();
    LdifDirectory::create(&file.path).unwrap();
    let directory = LdifDirectory::open(&file.path).unwrap();
    assert!(directory.add(&mail("a@x"), &[key(1)]).unwrap());
    assert!(!directory.add(&mail("a@x"), &[key(2)]).unwrap());
    assert!(directory.add(&mail("b@x"), &[key(3)]).unwrap());
    let found = directory.account_by_key(key(2).blob()).unwrap().unwrap();
    assert_eq!((found.mail, found.state, found.keys.len()), (mail("a@x"), AccountState::Enabled, 2));
    assert!(directory.set_enabled(&mail("a@x"), false).unwrap());
    assert!(!directory.set_enabled(&mail("a@x"), false).unwrap());
    let found = directory.account_by_key(key(1).blob()).unwrap().unwrap();
    assert_eq!((found.state, found.keys.len()), (AccountState::Disabled, 2));
    assert!(directory.set_enabled(&mail("a@x"), true).unwrap());
    assert_eq!(directory.account(&mail("a@x")).unwrap().unwrap().state, AccountState::Enabled);
    assert_eq!(directory.account(&mail("b@x")).unwrap().unwrap().state, AccountState::Enabled);
    assert!(matches!(directory.set_enabled(&mail("c@x"), true), Err(DirectoryError::NoAccount(_))));
    let list = directory.list();
    assert_eq!(list.iter().map(|line| (line.mail.as_str(), line.keys)).collect::<Vec<_>>(), [("a@x", 2), ("b@x", 1)]);
}

#[test]
fn one_key_is_one_person() {
    let file = fixture("");
    let directory = LdifDirectory::open(&file.path).unwrap();
    directory.add(&mail("a@x"), &[key(1)]).unwrap();
    let before = fs::read(&file.path).unwrap();
    let refused = directory.add(&mail("b@x"), &[key(2), key(1)]).unwrap_err();
    assert!(matches!(refused, DirectoryError::KeyTaken { owner, .. } if owner == mail("a@x")));
    assert_eq!(fs::read(&file.path).unwrap(), before);
    // Written by hand, it is nobody's.
    let text = format!(
        "dn: mail=a@x\nmail: a@x\nhgAccountEnabled: TRUE\nsshPublicKey: {0}\n\ndn: mail=b@x\nmail: b@x\nhgAccountEnabled: TRUE\nsshPublicKey: {0}\n",
        key(1)
    );
    fs::write(&file.path, text).unwrap();
    assert_eq!(directory.account_by_key(key(1).blob()).unwrap(), None);
}

#[test]
fn a_broken_edit_keeps_the_last_good_one() {
    let file = fixture(&format!("{TWO}{}\n", key(1)));
    let directory = LdifDirectory::open(&file.path).unwrap();
    for broken in ["nonsense", "dn: x\nmail: a@x\n\ndn: y\nmail: a@x\n", "dn: x\nmail: not an address\n"] {
        fs::write(&file.path, broken).unwrap();
        assert!(directory.account_by_key(key(1).blob()).unwrap().is_some(), "{broken}");
        assert!(directory.add(&mail("b@x"), &[key(2)]).is_err(), "a broken file is not edited");
        assert!(LdifDirectory::open(&file.path).is_err());
    }
    fs::remove_file(&file.path).unwrap();
    assert!(directory.account_by_key(key(1).blob()).unwrap().is_some());
    fs::write(&file.path, format!("{TWO}{}\n", key(2))).unwrap();
    assert!(directory.account_by_key(key(1).blob()).unwrap().is_none());
    assert!(directory.account_by_key(key(2).blob()).unwrap().is_some());
}

#[test]
fn only_one_exact_true_is_a_yes() {
    for (values, state) in [
        ("hgAccountEnabled: TRUE\n", AccountState::Enabled),
        ("hgAccountEnabled: FALSE\n", AccountState::Disabled),
        ("hgAccountEnabled: true\n", AccountState::NotEnabled),
        ("hgAccountEnabled: TRUE \n", AccountState::NotEnabled),
        ("hgAccountEnabled: \n", AccountState::NotEnabled),
        ("", AccountState::NotEnabled),
        ("hgAccountEnabled: FALSE\nhgAccountEnabled: TRUE\n", AccountState::NotEnabled),
        ("hgAccountEnabled: TRUE\nhgAccountEnabled: TRUE\n", AccountState::NotEnabled),
    ] {
        let file = fixture(&format!("dn: mail=a@x\nmail: a@x\n{values}"));
        let directory = LdifDirectory::open(&file.path).unwrap();
        assert_eq!(directory.account(&mail("a@x")).unwrap().unwrap().state, state, "{values}");
        directory.set_enabled(&mail("a@x"), true).unwrap();
        assert_eq!(directory.account(&mail("a@x")).unwrap().unwrap().state, AccountState::Enabled, "{values}");
    }
}

#[test]
fn a_bad_key_is_skipped_and_the_others_work() {
    let bad = encode_base64(b"ssh-ed25519 AAAA\nssh-ed25519 BBBB");
    let file = fixture(&format!(
        "dn: mail=a@x\nmail: a@x\nhgAccountEnabled: TRUE\nsshPublicKey:: {bad}\nsshPublicKey: command=\"sh\" {0}\nsshPublicKey: {0}\n",
        key(1)
    ));
    let directory = LdifDirectory::open(&file.path).unwrap();
    assert_eq!(directory.account_by_key(key(1).blob()).unwrap().unwrap().keys, [key(1).into()]);
}

#[test]
fn groups_are_exact_names_in_their_place() {
    let file = fixture(
        "dn: mail=a@x,dc=y\nmail: a@x\n\ndn: cn=scm_level_3,ou=groups,dc=y\ncn: scm_level_3\nmemberUid: a@x\nmemberUid: nobody@x\n\n\
         dn: cn=scm_level_1, OU=Groups, dc=y\ncn: scm_level_1\nmemberUid: a@x\n\ndn: cn=other,ou=elsewhere,dc=y\ncn: other\nmemberUid: a@x\n",
    );
    let directory = LdifDirectory::open(&file.path).unwrap();
    assert_eq!(directory.account(&mail("a@x")).unwrap().unwrap().groups, ["scm_level_1", "scm_level_3"]);
}

#[test]
fn an_edit_leaves_all_other_lines_as_they_were() {
    let text = format!(
        "# head\ndn: mail=a@x\nmail: a@x\nhgAccountEnabled:\n  TRUE\n# between\nsshPublicKey: {}\ncn: last",
        key(1)
    );
    let file = fixture(&text);
    let directory = LdifDirectory::open(&file.path).unwrap();
    directory.set_enabled(&mail("a@x"), false).unwrap();
    let now = fs::read_to_string(&file.path).unwrap();
    assert_eq!(
        now,
        format!(
            "# head\ndn: mail=a@x\nmail: a@x\n# between\nsshPublicKey: {}\ncn: last\nhgAccountEnabled: FALSE\n",
            key(1)
        )
    );
}

#[test]
fn too_many_keys_are_capped() {
    let file = fixture("");
    let directory = LdifDirectory::open(&file.path).unwrap();
    let keys: Vec<PublicKey> = (0..=100).map(key).collect();
    directory.add(&mail("a@x"), &keys[..100]).unwrap();
    assert!(matches!(directory.add(&mail("a@x"), &keys[100..]), Err(DirectoryError::TooManyKeys { .. })));
}
