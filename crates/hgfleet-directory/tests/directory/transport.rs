//! How connections are made safe, and whose they are.

use std::fs;

use hgfleet_directory::{Account, Directory, DirectoryError, LdapBind, LdapDirectory, LdapOptions, Password};

use crate::entries::{enabled, key, mail};
use crate::slapd::{Slapd, certificates};

fn ask(options: LdapOptions) -> Result<Option<Account>, DirectoryError> {
    LdapDirectory::open(options)?.account(&mail("ann@x"))
}

fn answers(options: LdapOptions) {
    assert_eq!(ask(options).unwrap().unwrap().keys, [key(1).into()]);
}

fn refused(options: LdapOptions) -> String {
    let error = ask(options).unwrap_err();
    assert!(error.is_outage(), "{error}");
    error.to_string()
}

fn external(options: LdapOptions) -> LdapOptions {
    LdapOptions { bind: LdapBind::External, bind_dn: None, password: None, ..options }
}

#[test]
fn tls_is_used_and_its_certificate_checked() {
    let slapd = Slapd::start(&enabled("ann", &[key(1)]));
    let folder = tempfile::tempdir().unwrap();
    let other = certificates(folder.path());
    let ldaps = format!("ldaps://localhost:{}", slapd.tls_port);
    let start_tls = format!("ldap://localhost:{}", slapd.port);
    for url in [&ldaps, &start_tls] {
        let options = LdapOptions { servers: vec![url.clone()], plain_on_loopback: false, ..slapd.options() };
        let with = |ca| LdapOptions { ca: Some(ca), ..options.clone() };
        answers(with(slapd.path("ca.pem")));
        let text = refused(with(other.ca.clone()));
        assert!(text.contains("TLS") && text.contains(url.as_str()), "{text}");
        // Without a file the system's authorities count, and none of them is this one.
        assert!(refused(options.clone()).contains("TLS"));
        let by_address = vec![url.replace("localhost", "127.0.0.1")];
        let text = refused(LdapOptions { servers: by_address, ..with(slapd.path("ca.pem")) });
        assert!(text.contains("TLS"), "the certificate is another name's: {text}");
    }
}

#[test]
fn the_kernel_or_a_certificate_says_who_asks() {
    let slapd = Slapd::start(&enabled("ann", &[key(1)]));
    answers(external(LdapOptions { servers: vec![slapd.ldapi()], ..slapd.options() }));
    let options = external(LdapOptions {
        servers: vec![format!("ldaps://localhost:{}", slapd.tls_port)],
        ca: Some(slapd.path("ca.pem")),
        ..slapd.options()
    });
    answers(LdapOptions {
        certificate: Some(slapd.path("client.pem")),
        key: Some(slapd.path("client.key")),
        ..options.clone()
    });
    assert!(refused(options).contains("the bind as EXTERNAL is refused"));
}

#[test]
fn a_password_is_right_and_never_empty() {
    let slapd = Slapd::start(&enabled("ann", &[key(1)]));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    let from_file = LdapOptions { password: None, password_file: Some(file.clone()), ..slapd.options() };
    fs::write(&file, format!("{}\n", crate::slapd::PASSWORD)).unwrap();
    answers(from_file.clone());
    let wrong = LdapOptions { password: Some(Password::new("wrong")), ..slapd.options() };
    assert!(refused(wrong.clone()).contains("invalidCredentials"));
    assert!(!format!("{wrong:?}").contains("wrong"), "a password is never shown");
    let empty = LdapOptions { password: Some(Password::new("")), ..slapd.options() };
    let none = LdapOptions { password: None, ..slapd.options() };
    let nobody = LdapOptions { bind_dn: Some(" ".to_owned()), ..slapd.options() };
    fs::write(&file, "\nsecond line\n").unwrap();
    for options in [empty, none, nobody, from_file] {
        assert!(matches!(LdapDirectory::open(options), Err(DirectoryError::Options(_))));
    }
}

#[test]
fn the_next_server_answers_for_one_that_is_gone() {
    let mut first = Slapd::start(&enabled("ann", &[key(1)]));
    let second = Slapd::start(&enabled("ann", &[key(1)]));
    let servers = vec![first.options().servers[0].clone(), second.options().servers[0].clone()];
    let directory = LdapDirectory::open(LdapOptions { servers, ..first.options() }).unwrap();
    for _ in 0..2 {
        assert!(directory.account(&mail("ann@x")).unwrap().is_some());
        first.stop();
    }
    drop(second);
    let text = directory.account(&mail("ann@x")).unwrap_err().to_string();
    assert_eq!(text.matches("ldap://").count(), 2, "what each server did is said: {text}");
}
