//! Entries that tests are made of, as LDIF that both backends read.

use hgfleet_directory::{Mail, PublicKey};

/// An ed25519 key that no other number has.
pub fn key(number: u32) -> PublicKey {
    let string = |value: &[u8]| [&(value.len() as u32).to_be_bytes(), value].concat();
    let mut bytes = [7; 32];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    PublicKey::parse_blob(&[string(b"ssh-ed25519"), string(&bytes)].concat()).unwrap()
}

pub fn mail(text: &str) -> Mail {
    Mail::parse(text).unwrap()
}

/// An attribute with a value of any bytes.
pub fn attribute(name: &str, value: &[u8]) -> String {
    use base64::Engine;
    format!("{name}:: {}\n", base64::engine::general_purpose::STANDARD.encode(value))
}

/// An entry for one person; `more` holds further attributes.
pub fn person(name: &str, mail: &str, more: &str) -> String {
    format!(
        "dn: cn={name},ou=people,dc=example,dc=org\nobjectClass: inetOrgPerson\nobjectClass: hgAccount\n\
         objectClass: ldapPublicKey\ncn: {name}\nsn: {name}\nmail: {mail}\n{more}\n"
    )
}

pub fn enabled(name: &str, keys: &[PublicKey]) -> String {
    let keys: String = keys.iter().map(|key| format!("sshPublicKey: {key} of {name}\n")).collect();
    person(name, &format!("{name}@x"), &format!("hgAccountEnabled: TRUE\n{keys}"))
}

/// A group that lists addresses.
pub fn group(name: &str, members: &[&str]) -> String {
    let members: String = members.iter().map(|member| format!("memberUid: {member}\n")).collect();
    format!(
        "dn: cn={name},ou=groups,dc=example,dc=org\nobjectClass: posixGroup\ncn: {name}\ngidNumber: 100\n{members}\n"
    )
}
