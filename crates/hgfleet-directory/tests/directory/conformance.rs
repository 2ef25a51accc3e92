//! One set of tests over both backends.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hgfleet_directory::{
    Account, AccountState, Clock, Directory, DirectoryError, LdapDirectory, LdifDirectory, PublicKey,
};

use crate::entries::{attribute, enabled, group, key, mail, person};
use crate::slapd::Slapd;

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
        let slapd = Slapd::start(entries);
        let (seconds, start) = (Arc::new(AtomicU64::new(0)), Instant::now());
        let passed = seconds.clone();
        let clock = Clock::from_fn(move || start + Duration::from_secs(passed.load(Ordering::Relaxed)));
        let directory = Box::new(LdapDirectory::open_with(slapd.options(), clock).unwrap());
        Site { directory, kind: Kind::Ldap(slapd), seconds }
    }

    fn ldif(entries: &str) -> Result<Site, DirectoryError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("directory.ldif");
        std::fs::write(&path, entries).unwrap();
        let directory = Box::new(LdifDirectory::open(&path)?);
        Ok(Site { directory, kind: Kind::Ldif { path, _folder: folder }, seconds: Arc::default() })
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
