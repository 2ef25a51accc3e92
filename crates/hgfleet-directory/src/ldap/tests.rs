use super::settings::Server;
use super::*;

fn refused(change: impl FnOnce(&mut LdapOptions)) -> String {
    let mut options = LdapOptions {
        servers: vec!["ldaps://a".to_owned()],
        bind_dn: Some("cn=a".to_owned()),
        password: Some(Password::new("b")),
        base: "dc=x".to_owned(),
        ..LdapOptions::default()
    };
    assert!(options.check().is_ok());
    change(&mut options);
    options.check().unwrap_err().to_string()
}

#[test]
fn options_that_could_let_someone_in_are_refused_by_name() {
    assert!(refused(|options| options.servers.clear()).contains("servers"));
    assert!(refused(|options| options.base = " ".to_owned()).contains("base"));
    assert!(refused(|options| options.bind = LdapBind::External).contains("bind"));
    assert!(refused(|options| options.password = Some(Password::new(""))).contains("empty password"));
    assert!(refused(|options| options.password_file = Some("x".into())).contains("not both"));
    assert!(refused(|options| options.attributes.mail = "mail=*)(a".to_owned()).contains("attributes.mail"));
    assert!(refused(|options| options.attributes.keys = String::new()).contains("attributes.keys"));
    assert!(refused(|options| options.operation_seconds = 0).contains("operation_seconds"));
    assert!(refused(|options| options.stale_write_seconds = 1 << 40).contains("86400"));
    assert!(refused(|options| options.certificate = Some("x".into())).contains("go together"));
}

#[test]
fn urls_name_a_server_and_nothing_else() {
    let parse = |url: &str| {
        let options = LdapOptions {
            servers: vec![url.to_owned()],
            bind: LdapBind::External,
            base: "dc=x".to_owned(),
            ..LdapOptions::default()
        };
        options.check().map(|settings| settings.servers[0].to_string())
    };
    for (url, shown) in [
        ("ldaps://a.example", "ldaps://a.example:636"),
        ("ldap://a/", "ldap://a:389"),
        ("ldap://[::1]:3890", "ldap://[::1]:3890"),
        ("ldapi://%2Frun%2Fslapd%2Fldapi", "ldapi:/run/slapd/ldapi"),
    ] {
        assert_eq!(parse(url).unwrap(), shown);
    }
    for bad in [
        "",
        "a",
        "http://a",
        "ldap://",
        "ldap:///",
        "ldap://a/dc=x",
        "ldap://a?x",
        "ldap://u@a",
        "ldap://a:0",
        "ldap://a:b",
        "ldap://a:70000",
        "ldap://[::1",
        "ldap://[x]",
        "ldapi://run",
        "ldapi://%2",
        "ldapi://%zz",
        "ldap://a b",
    ] {
        assert!(parse(bad).is_err(), "{bad:?}");
    }
    assert_eq!(Server::Ldapi("/a".into()).to_string(), "ldapi:/a");
}

#[test]
fn options_are_read_as_they_are_written_in_the_configuration() {
    let text = "servers = ['ldap://a', 'ldap://b']\nwrite_server = 'ldap://c'\nca = 'ca.pem'\nbind_dn = 'cn=a'\n\
                password_file = 'password'\nbase = 'dc=x'\nscope = 'one'\nattributes = { member = '' }";
    let options: LdapOptions = toml::from_str(text).unwrap();
    let options = options.relative_to(std::path::Path::new("/data"));
    assert_eq!(options.ca.as_deref(), Some(std::path::Path::new("/data/ca.pem")));
    assert_eq!(options.password_file.as_deref(), Some(std::path::Path::new("/data/password")));
    assert_eq!((options.scope, options.attributes.mail.as_str()), (LdapScope::One, "mail"));
    assert!(toml::from_str::<LdapOptions>("follow_referrals = true").is_err());
    assert!(toml::from_str::<LdapOptions>("attributes = { mial = 'x' }").is_err());
}
