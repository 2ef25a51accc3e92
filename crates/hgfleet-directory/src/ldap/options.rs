//! What an operator says of the LDAP server: the table `[directory.ldap]`.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// Servers, rights, names and limits. Paths are used as they are; see [`LdapOptions::relative_to`].
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LdapOptions {
    /// URLs, asked in this order until one answers: `ldap://HOST[:389]`, `ldaps://HOST[:636]`, `ldapi://%2Fpath%2Fof%2Fsocket`
    pub servers: Vec<String>,
    /// The server that takes access dates. Without it none are written
    pub write_server: Option<String>,
    /// Allow `ldap://` without StartTLS where the server is on this machine's loopback. Elsewhere there is always TLS
    pub plain_on_loopback: bool,
    /// Certificates, in PEM, of the authorities that may vouch for the servers [default: the system's]
    pub ca: Option<PathBuf>,
    /// A certificate of our own, in PEM, for `bind = "external"` over TLS
    pub certificate: Option<PathBuf>,
    /// Its private key, in PEM
    pub key: Option<PathBuf>,
    /// How to say who asks
    pub bind: LdapBind,
    /// DN of a simple bind
    pub bind_dn: Option<String>,
    /// Its password; better in a file
    pub password: Option<Password>,
    /// A file that holds the password in its first line
    pub password_file: Option<PathBuf>,
    /// Where accounts lie
    pub base: String,
    /// How deep below `base`
    pub scope: LdapScope,
    /// Where groups lie [default: `ou=groups` below `base`]
    pub group_base: Option<String>,
    /// How deep below `group_base`
    pub group_scope: LdapScope,
    /// Names of the attributes
    pub attributes: LdapAttributes,
    /// How long connecting, TLS and bind may take together, in seconds
    pub connect_seconds: u64,
    /// How long one question may take, in seconds
    pub operation_seconds: u64,
    /// Connections at a time
    pub connections: usize,
    /// How long an answer counts, in seconds: so long a removed key may still work
    pub cache_seconds: u64,
    /// How long it counts for logins and reads while no server answers, in seconds
    pub stale_read_seconds: u64,
    /// How long it counts for pushes while no server answers, in seconds
    pub stale_write_seconds: u64,
}

/// How to say who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LdapBind {
    /// DN and password (RFC 4513, 5.1.3).
    Simple,
    /// SASL EXTERNAL (RFC 4513, 5.2.3): the certificate, or the process's user over `ldapi://`.
    External,
}

/// How deep a search goes (RFC 4511, 4.5.1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LdapScope {
    /// Entries directly below the base.
    One,
    /// The base and all below it.
    Subtree,
}

/// Names of attributes. An empty one of the three of membership is not asked for.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LdapAttributes {
    /// An account's address: `mail`
    pub mail: String,
    /// Its keys: `sshPublicKey`
    pub keys: String,
    /// Its switch: `hgAccountEnabled`
    pub enabled: String,
    /// When it was last used: `hgAccessDate`
    pub access_date: String,
    /// The object class that entries with an access date have: `hgAccount`
    pub access_date_class: String,
    /// A group's name: `cn`
    pub group_name: String,
    /// What the names of the groups that count begin with: `scm_`
    pub group_prefix: String,
    /// Members of a group by their address: `memberUid`
    pub member_uid: String,
    /// Members of a group by their DN (`groupOfNames`): `member`
    pub member: String,
    /// Groups of an account by their DN: `memberOf`
    pub member_of: String,
}

/// A password, which no log shows.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct Password(String);

impl Password {
    /// Wraps a password.
    pub fn new(text: impl Into<String>) -> Password {
        Password(text.into())
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// What is wrong with the options. Found before anything is connected to.
#[derive(Debug, thiserror::Error)]
#[error("[directory.ldap] {key}: {reason}")]
pub struct LdapOptionsError {
    /// The key.
    pub key: &'static str,
    /// What is wrong, and what to do.
    pub reason: String,
}

impl Default for LdapAttributes {
    fn default() -> Self {
        LdapAttributes {
            mail: "mail".into(),
            keys: "sshPublicKey".into(),
            enabled: "hgAccountEnabled".into(),
            access_date: "hgAccessDate".into(),
            access_date_class: "hgAccount".into(),
            group_name: "cn".into(),
            group_prefix: "scm_".into(),
            member_uid: "memberUid".into(),
            member: "member".into(),
            member_of: "memberOf".into(),
        }
    }
}

impl Default for LdapOptions {
    fn default() -> Self {
        LdapOptions {
            servers: Vec::new(),
            write_server: None,
            plain_on_loopback: false,
            ca: None,
            certificate: None,
            key: None,
            bind: LdapBind::Simple,
            bind_dn: None,
            password: None,
            password_file: None,
            base: String::new(),
            scope: LdapScope::Subtree,
            group_base: None,
            group_scope: LdapScope::One,
            attributes: LdapAttributes::default(),
            connect_seconds: 5,
            operation_seconds: 10,
            connections: 4,
            cache_seconds: 60,
            stale_read_seconds: 900,
            stale_write_seconds: 900,
        }
    }
}

impl LdapOptions {
    /// Takes relative paths as relative to `folder`.
    pub fn relative_to(mut self, folder: &Path) -> LdapOptions {
        for path in [&mut self.ca, &mut self.certificate, &mut self.key, &mut self.password_file].into_iter().flatten()
        {
            *path = folder.join(&*path);
        }
        self
    }
}
