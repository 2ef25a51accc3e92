//! Options that were checked: what the rest of the module works with.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::options::{LdapAttributes, LdapBind, LdapOptions, LdapOptionsError, Password};

/// Options that hang together: what [`LdapOptions::check`] makes of them.
#[derive(Debug, Clone)]
pub(crate) struct Checked {
    pub servers: Vec<Server>,
    pub write_server: Option<Server>,
    pub credentials: Credentials,
    pub group_base: String,
    pub connect: Duration,
    pub operation: Duration,
}

/// Who asks.
#[derive(Debug, Clone)]
pub(crate) enum Credentials {
    Simple { dn: String, password: Password },
    External,
}

/// One server, as its URL names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Server {
    /// TLS from the first byte.
    Ldaps { host: String, port: u16 },
    /// StartTLS, but perhaps not on loopback.
    Ldap { host: String, port: u16 },
    /// A socket on this machine.
    Ldapi(PathBuf),
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = |host: &str| if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        match self {
            Server::Ldaps { host: name, port } => write!(f, "ldaps://{}:{port}", host(name)),
            Server::Ldap { host: name, port } => write!(f, "ldap://{}:{port}", host(name)),
            Server::Ldapi(path) => write!(f, "ldapi:{}", path.display()),
        }
    }
}

impl LdapOptions {
    pub(crate) fn check(&self) -> Result<Checked, LdapOptionsError> {
        let fault = |key, reason: &str| LdapOptionsError { key, reason: reason.to_owned() };
        let servers: Result<Vec<Server>, String> = self.servers.iter().map(|url| server(url)).collect();
        let servers = servers.map_err(|reason| LdapOptionsError { key: "servers", reason })?;
        if servers.is_empty() {
            return Err(fault("servers", "name at least one, as in servers = [\"ldaps://ldap.example.com\"]"));
        }
        let write_server = self.write_server.as_deref().map(server).transpose();
        let write_server = write_server.map_err(|reason| LdapOptionsError { key: "write_server", reason })?;
        if self.base.trim().is_empty() {
            return Err(fault("base", "name the entry that accounts lie below, as in base = \"dc=example,dc=com\""));
        }
        for (key, name) in self.attributes.named() {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
            if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) || !name.bytes().all(allowed) {
                return Err(LdapOptionsError { key, reason: format!("{name:?} is no attribute's name") });
            }
        }
        for (key, seconds) in [("connect_seconds", self.connect_seconds), ("operation_seconds", self.operation_seconds)]
        {
            if !(1..=300).contains(&seconds) {
                return Err(fault(key, "choose from 1 to 300"));
            }
        }
        if !(1..=64).contains(&self.connections) {
            return Err(fault("connections", "choose from 1 to 64"));
        }
        if self.certificate.is_some() != self.key.is_some() {
            return Err(fault("certificate", "certificate and key go together"));
        }
        let longest = self.stale_read_seconds.max(self.stale_write_seconds).max(self.cache_seconds);
        if longest > 86_400 {
            return Err(fault("stale_read_seconds", "no answer counts for more than a day: choose 86400 at most"));
        }
        Ok(Checked {
            servers,
            write_server,
            credentials: self.credentials()?,
            group_base: self.group_base.clone().unwrap_or_else(|| format!("ou=groups,{}", self.base)),
            connect: Duration::from_secs(self.connect_seconds),
            operation: Duration::from_secs(self.operation_seconds),
        })
    }

    fn credentials(&self) -> Result<Credentials, LdapOptionsError> {
        let fault = |key, reason: &str| LdapOptionsError { key, reason: reason.to_owned() };
        if self.bind == LdapBind::External {
            if self.bind_dn.is_some() || self.password.is_some() || self.password_file.is_some() {
                return Err(fault("bind", "\"external\" takes neither bind_dn nor a password; remove them"));
            }
            return Ok(Credentials::External);
        }
        // A bind without name or password succeeds as nobody at many servers (RFC 4513, 5.1.1 and 5.1.2).
        let dn = self.bind_dn.clone().filter(|dn| !dn.trim().is_empty());
        let dn = dn.ok_or_else(|| fault("bind_dn", "a simple bind needs the DN that asks"))?;
        let password = match (&self.password, &self.password_file) {
            (Some(_), Some(_)) => return Err(fault("password", "give password or password_file, not both")),
            (Some(password), None) => password.clone(),
            (None, Some(path)) => {
                let text = std::fs::read_to_string(path).map_err(|error| LdapOptionsError {
                    key: "password_file",
                    reason: format!("cannot read {}: {error}", path.display()),
                })?;
                Password::new(text.lines().next().unwrap_or_default())
            }
            (None, None) => return Err(fault("password", "a simple bind needs password or password_file")),
        };
        if password.expose().is_empty() {
            return Err(fault("password", "an empty password would be taken for no bind at all; give one"));
        }
        Ok(Credentials::Simple { dn, password })
    }
}

impl LdapAttributes {
    fn named(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let needed = [
            ("attributes.mail", &self.mail),
            ("attributes.keys", &self.keys),
            ("attributes.enabled", &self.enabled),
            ("attributes.access_date", &self.access_date),
            ("attributes.access_date_class", &self.access_date_class),
            ("attributes.group_name", &self.group_name),
        ];
        let optional = [
            ("attributes.member_uid", &self.member_uid),
            ("attributes.member", &self.member),
            ("attributes.member_of", &self.member_of),
        ];
        let optional = optional.into_iter().filter(|(_, name)| !name.is_empty());
        needed.into_iter().chain(optional).map(|(key, name)| (key, name.as_str()))
    }
}

/// Parses a URL of RFC 4516, of which nothing but the server is allowed.
fn server(url: &str) -> Result<Server, String> {
    let wrong = || {
        format!("{url:?} is no URL of a server: write ldaps://HOST, ldap://HOST, ldap://HOST:PORT or ldapi://%2Fpath")
    };
    let (scheme, rest) = url.split_once("://").ok_or_else(wrong)?;
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.is_empty() || rest.contains(['?', '#', '@', ' ']) {
        return Err(wrong());
    }
    let default = match scheme {
        "ldapi" => {
            let path = percent_decode(rest).filter(|path| path.starts_with('/')).ok_or_else(wrong)?;
            return Ok(Server::Ldapi(path.into()));
        }
        "ldaps" => 636,
        "ldap" => 389,
        _ => return Err(wrong()),
    };
    let (host, port) = match rest.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or_else(wrong)?;
            host.parse::<IpAddr>().map_err(|_| wrong())?;
            (host, if port.is_empty() { None } else { Some(port.strip_prefix(':').ok_or_else(wrong)?) })
        }
        None => rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port))),
    };
    let port = port.map_or(Ok(default), str::parse).map_err(|_| wrong())?;
    if host.is_empty() || host.contains('/') || port == 0 {
        return Err(wrong());
    }
    let host = host.to_owned();
    Ok(if scheme == "ldaps" { Server::Ldaps { host, port } } else { Server::Ldap { host, port } })
}

fn percent_decode(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}
