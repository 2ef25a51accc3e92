//! One set of tests over both backends.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hgfleet_directory::{
    Account, AccountState, Clock, Directory, DirectoryError, LdapDirectory, LdapOptions, LdifDirectory, PublicKey,
};

use crate::entries::{attribute, enabled, group, key, mail, person};
use crate::slapd::{ADMIN, Slapd};

/// A backend with some entries.
struct Site {
    directory: Box<dyn Directory>,
    kind: Kind,
    /// What the LDAP backend's clock shows.
    seconds: Arc<AtomicU64>,
}

enum Kind {
    Ldif { path: PathBuf, _folder: tempfile::TempDir },
    Ldap(Slapd),
}

impl Site {
    fn ldap(entries: &str) -> Site {
        Site::ldap_with(entries, |_| {})
    }

    fn ldap_with(entries: &str, set: impl FnOnce(&mut LdapOptions)) -> Site {
        let slapd = Slapd::start(entries);
        let mut options = slapd.options();
        set(&mut options);
        let (seconds, start) = (Arc::new(AtomicU64::new(0)), Instant::now());
        let passed = seconds.clone();
        let clock = Clock::from_fn(move || start + Duration::from_secs(passed.load(Ordering::Relaxed)));
        let directory = Box::new(LdapDirectory::open_with(options, clock).unwrap());
        Site { directory, kind: Kind::Ldap(slapd), seconds }
    }

    fn ldif(entries: &str) -> Result<Site, DirectoryError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("directory.ldif");
        std::fs::write(&path, entries).unwrap();
        let directory = Box::new(LdifDirectory::open(&path)?);
        Ok(Site { directory, kind: Kind::Ldif { path, _folder: folder }, seconds: Arc::default() })
    }

    /// Both backends with these entries, where accounts may change their own keys.
    fn both_written(entries: &str) -> [Site; 2] {
        let writer = |options: &mut LdapOptions| {
            options.write_server = Some(options.servers[0].clone());
            options.bind_dn = Some(ADMIN.to_owned());
        };
        [Site::ldif(entries).unwrap(), Site::ldap_with(entries, writer)]
    }

    /// Both backends with these entries.
    fn both(entries: &str) -> [Site; 2] {
        [Site::ldif(entries).unwrap(), Site::ldap(entries)]
    }

    fn name(&self) -> &'static str {
        match self.kind {
            Kind::Ldif { .. } => "LDIF",
            Kind::Ldap(_) => "LDAP",
        }
    }

    fn account(&self, name: &str) -> Account {
        self.directory.account(&mail(name)).unwrap().unwrap_or_else(|| panic!("{}: {name}", self.name()))
    }

    fn owner(&self, key: &PublicKey) -> Option<String> {
        self.directory.account_by_key(key.blob()).unwrap().map(|account| account.mail.to_string())
    }

    /// Changes one attribute: the file's text, or the server's entry.
    fn change(&self, dn: &str, from: &str, to: &str, change: &str) {
        match &self.kind {
            Kind::Ldif { path, .. } => {
                let text = std::fs::read_to_string(path).unwrap();
                assert!(text.contains(from), "{from}");
                std::fs::write(path, text.replace(from, to)).unwrap();
            }
            Kind::Ldap(slapd) => {
                slapd.change(&format!("dn: {dn}\nchangetype: modify\n{change}\n"));
                // Past the time that what was read counts.
                self.seconds.fetch_add(60, Ordering::Relaxed);
            }
        }
    }
}

#[test]
fn an_account_is_found_by_its_keys_and_its_address() {
    let entries = enabled("ann", &[key(1), key(2)])
        + &person("bob", "bob@x", &format!("hgAccountEnabled: FALSE\nsshPublicKey: {}\n", key(3)))
        + &person("cat", "cat@x", &format!("sshPublicKey: {}\n", key(4)))
        + &group("scm_level_1", &["ann@x", "bob@x"])
        + &group("scm_level_3", &["ann@x"]);
    for site in Site::both(&entries) {
        assert_eq!(site.owner(&key(2)).as_deref(), Some("ann@x"));
        assert_eq!(site.owner(&key(9)), None);
        let ann = site.account("ann@x");
        assert_eq!((ann.state, ann.keys), (AccountState::Enabled, vec![key(1).into(), key(2).into()]));
        assert_eq!(ann.groups, ["scm_level_1", "scm_level_3"]);
        // By key one has the same account as by address.
        let by_key = site.directory.account_by_key(key(3).blob()).unwrap().unwrap();
        assert_eq!((by_key.state, by_key.groups), (AccountState::Disabled, vec!["scm_level_1".to_owned()]));
        assert_eq!(site.account("cat@x").state, AccountState::NotEnabled);
        assert_eq!(site.directory.account(&mail("nobody@x")).unwrap(), None);
        // Addresses are names here, letter for letter.
        assert_eq!(site.directory.account(&mail("Ann@x")).unwrap(), None, "{}", site.name());
    }
}

#[test]
fn what_is_taken_away_is_gone() {
    let ann = "cn=ann,ou=people,dc=example,dc=org";
    let entries = enabled("ann", &[key(1), key(2)]) + &group("scm_level_1", &["ann@x"]);
    for site in Site::both(&entries) {
        assert_eq!(site.owner(&key(1)).as_deref(), Some("ann@x"));
        let line = format!("sshPublicKey: {} of ann\n", key(1));
        site.change(ann, &line, "", &format!("delete: sshPublicKey\n{line}"));
        assert_eq!((site.owner(&key(1)), site.owner(&key(2)).as_deref()), (None, Some("ann@x")));
        let dn = "cn=scm_level_1,ou=groups,dc=example,dc=org";
        site.change(dn, "memberUid: ann@x\n", "", "delete: memberUid\nmemberUid: ann@x\n");
        assert_eq!(site.account("ann@x").groups, Vec::<String>::new());
        let disable = "replace: hgAccountEnabled\nhgAccountEnabled: FALSE\n";
        site.change(ann, "Enabled: TRUE", "Enabled: FALSE", disable);
        assert_eq!(site.account("ann@x").state, AccountState::Disabled);
    }
}

#[test]
fn an_account_changes_its_own_keys_and_nobody_elses() {
    let entries = enabled("ann", &[key(1), key(2)]) + &enabled("bob", &[key(3)]);
    for site in Site::both_written(&entries) {
        let (ann, bob, name) = (mail("ann@x"), mail("bob@x"), site.name());
        assert!(site.directory.takes_keys(), "{name}");
        site.directory.give_key(&ann, &key(4)).unwrap();
        let keys = || site.account("ann@x").keys;
        assert_eq!(keys(), [1, 2, 4].map(|number| key(number).into()), "{name}");
        // What stands behind the key goes with it, and the others stay.
        site.directory.take_key(&ann, &key(1).fingerprint()).unwrap();
        assert_eq!(keys(), [2, 4].map(|number| key(number).into()), "{name}");
        site.seconds.fetch_add(60, Ordering::Relaxed);
        assert_eq!((site.owner(&key(1)), site.owner(&key(4)).as_deref()), (None, Some("ann@x")), "{name}");
        let give = |number| site.directory.give_key(&ann, &key(number)).unwrap_err();
        assert!(matches!(give(3), DirectoryError::KeyTaken { owner, .. } if owner == bob), "{name}");
        assert!(matches!(give(2), DirectoryError::KeyThere { .. } | DirectoryError::KeyTaken { .. }), "{name}");
        let take = |number| site.directory.take_key(&ann, &key(number).fingerprint());
        assert!(matches!(take(1), Err(DirectoryError::NoKey { .. })), "{name}");
        assert!(matches!(take(3), Err(DirectoryError::NoKey { .. })), "{name}");
        take(2).unwrap();
        assert!(matches!(take(4), Err(DirectoryError::LastKey(_))), "{name}");
        let nobody = mail("nobody@x");
        assert!(matches!(site.directory.give_key(&nobody, &key(9)), Err(DirectoryError::NoAccount(_))), "{name}");
        assert_eq!(site.account("bob@x").keys, [key(3).into()], "{name}");
        if let Kind::Ldap(slapd) = &site.kind {
            let dn = "cn=ann,ou=people,dc=example,dc=org";
            assert_eq!(slapd.values(dn, "sshPublicKey"), [key(4).to_string()]);
            for number in 100..199 {
                site.directory.give_key(&ann, &key(number)).unwrap();
            }
            assert!(matches!(give(250), DirectoryError::TooManyKeys { .. }));
        }
    }
}

#[test]
fn keys_stay_where_no_server_may_be_written_or_it_refuses() {
    let entries = enabled("ann", &[key(1), key(2)]);
    let read_only = Site::ldap(&entries);
    assert!(!read_only.directory.takes_keys());
    let refusing = Site::ldap_with(&entries, |options| options.write_server = Some(options.servers[0].clone()));
    for (site, is_writable) in [(&read_only, false), (&refusing, true)] {
        let gave = site.directory.give_key(&mail("ann@x"), &key(3)).unwrap_err();
        let took = site.directory.take_key(&mail("ann@x"), &key(1).fingerprint()).unwrap_err();
        for error in [gave, took] {
            assert_eq!(matches!(error, DirectoryError::NotWritable), !is_writable, "{error}");
        }
        assert_eq!(site.account("ann@x").keys, [key(1).into(), key(2).into()]);
    }
}

#[test]
fn values_that_are_no_keys_cost_only_themselves() {
    let good = key(1).to_string();
    let values: Vec<Vec<u8>> = vec![
        format!("command=\"sh\" {}", key(2)).into(),
        format!("cert-authority {}", key(3)).into(),
        format!("environment=\"A=b\" {}", key(4)).into(),
        format!("permitopen=\"h:1\" {}", key(5)).into(),
        format!("{}\n{}", key(6), key(7)).into(),
        format!("{}\r\n{}", key(8), key(9)).into(),
        format!("{}\0", key(10)).into(),
        good[..good.len() - 4].into(),
        good.replace("ssh-ed25519 ", "ssh-rsa ").into(),
        [key(11).to_string().as_bytes(), b" \xff"].concat(),
        format!("{} {}", key(12), "x".repeat(9000)).into(),
        "ssh-dss AAAAB3NzaC1kc3MAAACB".into(),
        "# nothing".into(),
    ];
    let values: String = values.iter().map(|value| attribute("sshPublicKey", value)).collect();
    let entries = person("ann", "ann@x", &format!("hgAccountEnabled: TRUE\n{values}sshPublicKey: {good} laptop\n"))
        + &enabled("bob", &[key(20)]);
    for site in Site::both(&entries) {
        assert_eq!(site.account("ann@x").keys, [key(1).into()], "{}", site.name());
        for number in 2..=12 {
            assert_eq!(site.owner(&key(number)), None, "{}: {number}", site.name());
        }
        assert_eq!(site.owner(&key(20)).as_deref(), Some("bob@x"));
    }
}

#[test]
fn one_account_has_at_most_a_hundred_keys() {
    let keys: Vec<PublicKey> = (0..150).map(key).collect();
    for site in Site::both(&(enabled("ann", &keys) + &enabled("bob", &[key(200)]))) {
        assert_eq!(site.account("ann@x").keys.len(), 100, "{}", site.name());
        assert!(site.owner(&key(200)).is_some());
    }
}

#[test]
fn only_one_exact_true_lets_in() {
    let state = |name: &str, values: &[&str]| {
        let values: String = values.iter().map(|value| attribute("hgAccountEnabled", value.as_bytes())).collect();
        person(name, &format!("{name}@x"), &values)
    };
    let entries = state("a", &["TRUE"])
        + &state("b", &["true"])
        + &state("c", &["TRUE "])
        + &state("d", &[" "])
        + &state("e", &["FALSE", "TRUE"])
        + &state("f", &[])
        + &state("g", &["FALSE"]);
    for site in Site::both(&entries) {
        let state = |name: &str| site.account(&format!("{name}@x")).state;
        assert_eq!(state("a"), AccountState::Enabled);
        for name in ["b", "c", "d", "e", "f"] {
            assert_eq!(state(name), AccountState::NotEnabled, "{}: {name}", site.name());
        }
        assert_eq!(state("g"), AccountState::Disabled);
    }
}

#[test]
fn two_entries_for_one_address_are_nobody() {
    let entries = enabled("ann", &[key(1)])
        + &person("eve", "ann@x", &format!("hgAccountEnabled: TRUE\nsshPublicKey: {}\n", key(2)))
        + &enabled("bob", &[key(3)]);
    let refused = Site::ldif(&entries).err().unwrap().to_string();
    assert!(refused.contains("ann@x"), "{refused}");
    let site = Site::ldap(&entries);
    for answer in [
        site.directory.account(&mail("ann@x")),
        site.directory.account_by_key(key(1).blob()),
        site.directory.account_by_key(key(2).blob()),
    ] {
        let refused = answer.unwrap_err();
        let text = refused.to_string();
        assert!(!refused.is_outage() && text.contains("ann@x") && text.contains("cn=eve"), "{text}");
    }
    assert_eq!(site.owner(&key(3)).as_deref(), Some("bob@x"));
}

#[test]
fn an_entry_with_two_addresses_is_nobody() {
    let entries = person("ann", "ann@x", &format!("mail: root@x\nhgAccountEnabled: TRUE\nsshPublicKey: {}\n", key(1)));
    assert!(Site::ldif(&entries).is_err());
    let site = Site::ldap(&entries);
    for address in ["ann@x", "root@x"] {
        assert!(matches!(site.directory.account(&mail(address)), Err(DirectoryError::Ambiguous { .. })), "{address}");
    }
    assert_eq!(site.owner(&key(1)), None);
}

#[test]
fn a_key_of_two_accounts_is_nobodys() {
    for site in Site::both(&(enabled("ann", &[key(1), key(2)]) + &enabled("bob", &[key(2), key(3)]))) {
        assert_eq!(site.owner(&key(2)), None, "{}", site.name());
        assert_eq!(site.owner(&key(1)).as_deref(), Some("ann@x"));
        assert_eq!(site.owner(&key(3)).as_deref(), Some("bob@x"));
    }
}

#[test]
fn groups_have_exact_names() {
    let odd = |cn: &str, dn: &str| {
        format!(
            "dn: cn={dn},ou=groups,dc=example,dc=org\nobjectClass: posixGroup\n{}gidNumber: 100\nmemberUid: ann@x\n\n",
            attribute("cn", cn.as_bytes())
        )
    };
    let entries = enabled("ann", &[key(1)])
        + &group("scm_level_1", &["ann@x"])
        + &group("scm_level_2", &["Ann@x", "ann@x.org", "nn@x", "*"])
        + &odd("scm_*", "scm_\\2a")
        + &odd("scm_level_3,ou=x", "scm_level_3\\2cou\\3dx")
        + &odd("scm_\u{e9}", "scm_\\c3\\a9");
    for site in Site::both(&entries) {
        assert_eq!(site.account("ann@x").groups, ["scm_level_1"], "{}", site.name());
    }
}
