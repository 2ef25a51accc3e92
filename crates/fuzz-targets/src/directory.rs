//! What a directory says.

use hgfleet_directory::{AuthorizedKey, LdifDirectory, read_ldap_message};

/// A value of `sshPublicKey`; one that is taken is written anew, and means the same.
pub(crate) fn authorized_key(bytes: &[u8]) {
    if let Ok(key) = AuthorizedKey::parse_line(bytes) {
        assert_eq!(AuthorizedKey::parse_line(key.to_string().as_bytes()), Ok(key));
    }
}

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH";

pub(crate) fn authorized_keys() -> Vec<Vec<u8>> {
    let rsa = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQDD";
    let options = "restrict,from=\"10.0.0.0/8,!10.1.2.3,fe80::/10\",expiry-time=\"29990101\",no-pty";
    [KEY.to_owned(), format!("{KEY} of ann"), format!("{options} {KEY}"), format!("command=\"a \\\"b\" {rsa}")]
        .map(String::into_bytes)
        .into()
}

/// The LDIF file.
pub(crate) fn ldif(bytes: &[u8]) {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), bytes).expect("written");
    if let Ok(directory) = LdifDirectory::open(file.path()) {
        directory.list();
    }
}

pub(crate) fn ldifs() -> Vec<Vec<u8>> {
    let ann = format!(
        "version: 1\n# people\ndn: cn=ann,ou=people,o=fleet\nmail: ann@x\nhgAccountEnabled: TRUE\nsshPublicKey: {} \n  of ann\n\
         sshPublicKey:: c3NoLWVkMjU1MTkgQUFBQQ==\n\n",
        &KEY[..60]
    );
    let group = "dn:: Y249c3RhZmY=\ncn: staff\nmemberUid: ann@x\n";
    vec![ann.clone().into_bytes(), (ann + group).into_bytes()]
}

/// What an LDAP server sends, up to where the library would get it.
pub(crate) fn ldap_message(bytes: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let mut rest = bytes;
    while let Ok(Some(message)) = runtime.block_on(read_ldap_message(&mut rest)) {
        // What goes on to the library is a message by itself.
        assert!(matches!(runtime.block_on(read_ldap_message(&mut &message[..])), Ok(Some(again)) if again == message));
    }
}

pub(crate) fn ldap_messages() -> Vec<Vec<u8>> {
    let part = |tag: u8, content: &[u8]| [&[tag, content.len() as u8], content].concat();
    let message = |operation: &[u8]| part(0x30, &[&[2, 1, 7], operation].concat());
    let result = |tag: u8, more: &[u8]| message(&part(tag, &[&[0x0a, 1, 0, 4, 0, 4, 0], more].concat()));
    let values = part(0x31, &[part(4, b"ann@x"), part(4, b"ann@y")].concat());
    let attributes = part(0x30, &part(0x30, &[part(4, b"mail"), values].concat()));
    let entry = message(&part(0x64, &[part(4, b"cn=ann,dc=x"), attributes].concat()));
    let referral = result(0x65, &part(0xa3, &part(4, b"ldap://elsewhere")));
    vec![result(0x61, b""), [&entry[..], &result(0x65, b"")].concat(), referral, entry]
}
