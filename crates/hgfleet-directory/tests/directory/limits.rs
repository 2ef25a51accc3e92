//! Many entries, lagging servers, other kinds of groups, access dates.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hgfleet_directory::{AccountState, Clock, Directory, LdapDirectory, LdapOptions};

use crate::entries::{attribute, enabled, key, mail, person};
use crate::slapd::{ADMIN, Slapd};

#[test]
fn all_keys_are_found_page_by_page() {
    let entries: String = (0..450).map(|number| enabled(&format!("p{number}"), &[key(number)])).collect();
    let slapd = Slapd::start(&entries);
    let directory = LdapDirectory::open(slapd.options()).unwrap();
    for number in [0, 30, 31, 449] {
        let owner = directory.account_by_key(key(number).blob()).unwrap().unwrap();
        assert_eq!(owner.mail, mail(&format!("p{number}@x")));
    }
    // One that the server's limit holds for is told, and not half of the keys taken.
    let bind_dn = Some("cn=p0,ou=people,dc=example,dc=org".to_owned());
    slapd.change(&format!(
        "dn: cn=p0,ou=people,dc=example,dc=org\nchangetype: modify\nadd: userPassword\nuserPassword: {}\n",
        crate::slapd::PASSWORD
    ));
    let limited = LdapDirectory::open(LdapOptions { bind_dn, ..slapd.options() }).unwrap();
    let text = limited.account_by_key(key(449).blob()).unwrap_err().to_string();
    assert!(text.contains("raise the size limit"), "{text}");
}

#[test]
fn enormous_values_cost_only_their_owner() {
    let values: String = (0..10_000).map(|number| format!("sshPublicKey: {}\n", key(number))).collect();
    let large = attribute("sshPublicKey", &[b"ssh-ed25519 ".to_vec(), vec![b'A'; 1 << 20]].concat());
    let entries = person("eve", "eve@x", &format!("hgAccountEnabled: TRUE\n{values}"))
        + &person("mallory", "mallory@x", &format!("hgAccountEnabled: TRUE\n{large}"))
        + &person("trudy", "trudy@x", &format!("hgAccountEnabled: TRUE\n{}", larger()))
        + &enabled("ann", &[key(20_000)]);
    let slapd = Slapd::start(&entries);
    let directory = LdapDirectory::open(slapd.options()).unwrap();
    assert_eq!(directory.account_by_key(key(20_000).blob()).unwrap().unwrap().mail, mail("ann@x"));
    assert_eq!(directory.account(&mail("eve@x")).unwrap().unwrap().keys.len(), 100);
    assert!(directory.account(&mail("mallory@x")).unwrap().unwrap().keys.is_empty());
    assert_eq!(directory.account(&mail("trudy@x")).unwrap(), None);
}

/// Values that no message has room for.
fn larger() -> String {
    (0..4_u8).map(|number| attribute("sshPublicKey", &vec![number; 1 << 20])).collect()
}

#[test]
fn a_server_that_lags_gives_no_rights_back() {
    let stamped = |state: &str, stamp: &str| {
        let more = format!("hgAccountEnabled: {state}\nentryCSN: {stamp}.000000Z#000000#000#000000\n");
        person("ann", "ann@x", &more) + &enabled("bob", &[key(2)])
    };
    let mut newer = Slapd::start(&stamped("FALSE", "20260102030406"));
    let older = Slapd::start(&stamped("TRUE", "20260102030405"));
    let servers = vec![newer.options().servers[0].clone(), older.options().servers[0].clone()];
    let directory = LdapDirectory::open(LdapOptions { servers, ..newer.options() }).unwrap();
    assert_eq!(directory.account(&mail("ann@x")).unwrap().unwrap().state, AccountState::Disabled);
    newer.stop();
    assert_eq!(directory.account(&mail("ann@x")).unwrap().unwrap().state, AccountState::Disabled);
    // The one that lags still answers for those of whom nothing newer is known.
    assert!(directory.account(&mail("bob@x")).unwrap().is_some());
}

#[test]
fn groups_of_names_count_and_loops_end() {
    let ann = "cn=ann,ou=people,dc=example,dc=org";
    let of_names = |name: &str, members: &[&str]| {
        let members: String = members.iter().map(|member| format!("member: {member}\n")).collect();
        format!("dn: cn={name},ou=groups,dc=example,dc=org\nobjectClass: groupOfNames\ncn: {name}\n{members}\n")
    };
    let (a, b) = ("cn=scm_a,ou=groups,dc=example,dc=org", "cn=scm_b,ou=groups,dc=example,dc=org");
    let entries = enabled("ann", &[key(1)])
        + &of_names("scm_a", &[ann, b])
        + &of_names("scm_b", &[a])
        + &of_names("other", &[ann]);
    let slapd = Slapd::start(&entries);
    let groups =
        |options: LdapOptions| LdapDirectory::open(options).unwrap().account(&mail("ann@x")).unwrap().unwrap().groups;
    // Groups within groups are not followed, in a ring or not.
    assert_eq!(groups(slapd.options()), ["scm_a"]);
    // By `memberOf` alone, which the server keeps for members that are added.
    slapd.change(&format!("dn: {b}\nchangetype: modify\nadd: member\nmember: {ann}\n"));
    let mut options = slapd.options();
    options.attributes.member = String::new();
    options.attributes.member_uid = String::new();
    assert!(groups(options.clone()).contains(&"scm_b".to_owned()));
    options.attributes.member_of = String::new();
    assert_eq!(groups(options), Vec::<String>::new());
}

#[test]
fn a_login_is_noted_once_a_day() {
    let ann = "cn=ann,ou=people,dc=example,dc=org";
    let plain = "dn: cn=bob,ou=people,dc=example,dc=org\nobjectClass: inetOrgPerson\nobjectClass: extensibleObject\n\
                 cn: bob\nsn: bob\nmail: bob@x\nhgAccountEnabled: TRUE\n\n";
    let slapd = Slapd::start(&(enabled("ann", &[key(1)]) + plain + &enabled("cat", &[key(2)])));
    let (seconds, start) = (Arc::new(AtomicU64::new(0)), Instant::now());
    let passed = seconds.clone();
    let clock = Clock::from_fn(move || start + Duration::from_secs(passed.load(Ordering::Relaxed)));
    let write_server = Some(slapd.options().servers[0].clone());
    let bind_dn = Some(ADMIN.to_owned());
    let options = LdapOptions { write_server, bind_dn, ..slapd.options() };
    let directory = LdapDirectory::open_with(options, clock).unwrap();
    let date_after = |dn: &str, before: &[&str]| {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let date = slapd.values(dn, "hgAccessDate");
            if date != before || Instant::now() > deadline {
                return date;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    // One after the other: when the second has its date, the first has been dealt with.
    directory.logged_in(&mail("bob@x"));
    directory.logged_in(&mail("ann@x"));
    let first = date_after(ann, &[]);
    assert_eq!((first.len(), first[0].len()), (1, "20261127120000.500000Z".len()), "{first:?}");
    assert!(slapd.values("cn=bob,ou=people,dc=example,dc=org", "hgAccessDate").is_empty());
    // Within the day nothing is written, not even asked.
    let old = "20200101000000Z";
    slapd.change(&format!("dn: {ann}\nchangetype: modify\nreplace: hgAccessDate\nhgAccessDate: {old}\n"));
    directory.logged_in(&mail("ann@x"));
    directory.logged_in(&mail("nobody@x"));
    directory.logged_in(&mail("cat@x"));
    assert_eq!(date_after("cn=cat,ou=people,dc=example,dc=org", &[]).len(), 1);
    assert_eq!(slapd.values(ann, "hgAccessDate"), [old]);
    seconds.store(86_400, Ordering::Relaxed);
    directory.logged_in(&mail("ann@x"));
    assert_ne!(date_after(ann, &[old]), first);
}

#[test]
fn a_login_waits_for_no_access_date() {
    let slapd = Slapd::start(&enabled("ann", &[key(1)]));
    // An address where nobody answers, and one who may not write.
    for write_server in ["ldap://127.0.0.1:1".to_owned(), slapd.options().servers[0].clone()] {
        let options = LdapOptions { write_server: Some(write_server), ..slapd.options() };
        let directory = LdapDirectory::open(options).unwrap();
        let start = Instant::now();
        for _ in 0..5000 {
            directory.logged_in(&mail("ann@x"));
        }
        assert!(start.elapsed() < Duration::from_secs(1));
        assert!(directory.account(&mail("ann@x")).unwrap().is_some());
    }
}

#[test]
fn a_removed_key_does_not_wait_for_the_next_reading_of_all_keys() {
    let slapd = Slapd::start(&enabled("ann", &[key(1), key(2)]));
    let directory = LdapDirectory::open(slapd.options()).unwrap();
    assert!(directory.account_by_key(key(1).blob()).unwrap().is_some());
    let dn = "cn=ann,ou=people,dc=example,dc=org";
    slapd.change(&format!("dn: {dn}\nchangetype: modify\ndelete: sshPublicKey\nsshPublicKey: {} of ann\n", key(1)));
    assert_eq!(directory.account_by_key(key(1).blob()).unwrap(), None);
    assert!(directory.account_by_key(key(2).blob()).unwrap().is_some());
}
