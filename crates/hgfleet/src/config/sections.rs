//! The sections of the configuration, with their defaults.

use super::{SshLimitsSection, TrustedProxySection};
use hgfleet_directory::LdapOptions;
use hgfleet_master::Landing;
use hgfleet_master::login::LoginName;
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// `[log]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogSection {
    /// Which engine keeps the log
    pub backend: LogBackend,
    /// Folder of the embedded log
    pub path: PathBuf,
    /// The NATS servers, as `nats://host:4222`
    pub servers: Vec<String>,
    /// Name of the stream of records; the other streams' names begin with it
    pub stream: String,
    /// How many NATS servers keep each record
    pub replicas: u8,
    /// File with a NATS user's JWT and key
    pub credentials: Option<PathBuf>,
    /// File with a NATS user's nkey seed
    pub nkey: Option<PathBuf>,
    /// Certificates, where the connection to NATS is encrypted
    pub tls: Option<LogTlsSection>,
    /// Monitoring ports of the NATS servers, as `http://host:8222`, asked whether records are on disk
    pub monitoring: Vec<String>,
    /// The newest records, so many, are never trimmed
    pub retain_records: u64,
    /// How long a server may be silent and still find all records that it needs, in seconds
    pub retain_seconds: u64,
    /// How often it is looked whether something can be trimmed, and how old a record is at least that goes, in seconds
    pub trim_every_seconds: u64,
}

/// `tls` in `[log]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogTlsSection {
    /// The authority of the servers' certificates, PEM [default: the system's]
    pub ca: Option<PathBuf>,
    /// This server's own certificate, PEM
    pub certificate: Option<PathBuf>,
    /// Its private key, PEM
    pub key: Option<PathBuf>,
}

/// The engines that can keep the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogBackend {
    /// SQLite, one machine
    Embedded,
    /// A NATS cluster
    JetStream,
}

/// `[ssh]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SshSection {
    /// The public address
    pub listen: SocketAddr,
    /// Private host key, ed25519, OpenSSH's format
    pub host_key: PathBuf,
    /// How long a client may take to log in, in seconds
    pub login_grace_seconds: u64,
    /// The user name by which everybody logs in, or `mail`: each by the account's mail address
    pub login: Login,
    /// File with the public keys of the authorities whose user certificates count [default: none do]
    pub trusted_user_ca_keys: Option<PathBuf>,
    /// An `sshd` on each master's own machine that gets the clients of the balancer [default: the built-in door does]
    pub backend: Option<SocketAddr>,
    /// What clients may use up
    pub limits: SshLimitsSection,
}

/// `login` in `[ssh]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(try_from = "String")]
pub struct Login(pub LoginName);

impl TryFrom<String> for Login {
    type Error = String;

    fn try_from(name: String) -> Result<Login, String> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
        match name.as_str() {
            "mail" => Ok(Login(LoginName::Mail)),
            _ if name.is_empty() || name.len() > 32 || name.starts_with('-') || !name.bytes().all(plain) => {
                Err(format!("login = {name:?} in [ssh] is no user name; give one, such as \"hg\", or \"mail\""))
            }
            _ => Ok(Login(LoginName::Fixed(name))),
        }
    }
}

/// `[http]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpSection {
    /// The name by which clients reach it, in redirects and the certificate that is made [default: the address]
    pub host: Option<String>,
    /// Address that redirects to HTTPS
    pub listen: SocketAddr,
    /// Address of the HTTPS door
    pub listen_https: SocketAddr,
    /// Certificate chain of the HTTPS door, PEM
    pub certificate: PathBuf,
    /// Its private key, PEM
    pub key: PathBuf,
    /// An authenticating proxy before the balancers, which names accounts
    pub trusted_proxy: Option<TrustedProxySection>,
    /// How long a mirror that can't read the log takes the tokens that it knows, in seconds
    pub tokens_stale_seconds: u64,
    /// Bytes of bundles that each mirror keeps for the next client that asks for the same; 0: none is
    pub bundle_cache_bytes: u64,
}

/// `[directory]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DirectorySection {
    /// What has the accounts
    pub backend: DirectoryBackend,
    /// The LDIF file with accounts and keys
    pub ldif: PathBuf,
    /// The LDAP servers
    pub ldap: Option<LdapOptions>,
}

/// What can have the accounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DirectoryBackend {
    /// One file
    Ldif,
    /// LDAP servers
    Ldap,
}

/// `[access]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AccessSection {
    /// The file with the access rules [default: everybody reads, every account writes]
    pub rules: Option<PathBuf>,
}

/// `[session]`: the commands of people who come by SSH
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SessionSection {
    /// `clone` and `edit`: each account makes repositories below `users/`, which belong to it
    pub user_repositories: bool,
    /// How many of those one account may have
    pub user_repositories_max: usize,
    /// `repo-group`
    pub repo_group: bool,
    /// `repo-config`
    pub repo_config: bool,
    /// `keys add` and `keys remove`, where the accounts are in a file of the only machine
    pub own_keys: bool,
    /// Accounts that may push for others
    pub landing_accounts: Vec<String>,
    /// The variable by which their clients name for whom
    pub landing_variable: String,
}

/// `[policy]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PolicySection {
    /// The file with the rules of what a push may bring [default: what protects clients]
    pub rules: Option<PathBuf>,
}

/// `[master]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MasterSection {
    /// Its name in `status` and in the log's epochs
    pub name: String,
    /// Folder of its stores and its state
    pub data: PathBuf,
    /// A volume that the servers which can be master share, and that has their stores [default: each has its own]
    pub volume: Option<PathBuf>,
    /// Program and arguments that keep the server whose name is added from writing to the volume
    pub fence_command: Option<Vec<String>>,
    /// How long that may take, in seconds
    pub fence_seconds: u64,
    /// How long what nobody needs any more stays in the volume's old trees, in seconds
    pub keep_trees_seconds: u64,
    /// How long the answer to a push waits for the mirrors, in milliseconds
    pub told_wait_ms: u64,
    /// How long an append of unknown outcome may keep its client and the pushes behind it waiting, in milliseconds
    pub append_wait_ms: u64,
    /// How long the lease lasts without renewal, in seconds: when that is over, a standby becomes master
    pub lease_seconds: u64,
    /// The same in milliseconds, where it is given: an older release wrote it so
    pub lease_ms: Option<u64>,
    /// A mirror that lags by more seconds is left out of service, unless it is the last one
    pub lag_seconds_max: u64,
    /// So is one that lacks more records
    pub lag_records_max: u64,
    /// The largest bundle that a push may send, in bytes
    pub push_bytes_max: u64,
}

/// `[repositories]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RepositoriesSection {
    /// Requirements of new repositories
    pub format: RepositoryFormat,
    /// How long a deleted repository is kept and can be brought back
    pub deletion_grace_seconds: u64,
}

/// The formats in which new repositories are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum RepositoryFormat {
    /// As stock 7.x makes them: `share-safe`, zstd; opened by 5.8 and later
    #[serde(rename = "7.x")]
    Current,
    /// Plainer ones, which 4.9 opens
    #[serde(rename = "4.9")]
    Plain,
}

/// `[balancer]`, or `[[balancer]]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BalancerSection {
    /// Its name in `status`
    pub name: String,
}

/// `[[standby]]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StandbySection {
    /// Its name in `status` and in the log's epochs
    pub name: String,
    /// Folder of its stores and its state [default: the name]
    pub data: Option<PathBuf>,
    /// SSH address of its own while it is master, besides the balancer's socket
    pub listen: Option<SocketAddr>,
}

/// `[resync]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ResyncSection {
    /// Bytes that a server takes of copies in a second; 0, as many as come
    pub bytes_per_second: u64,
}

/// `[scrub]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScrubSection {
    /// Bytes of stores that a server reads again in a second [default: as many as it takes]; 0, none
    pub bytes_per_second: Option<u64>,
    /// How old the last reading of a repository may become, in seconds
    pub every_seconds: u64,
}

/// `[[mirror]]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MirrorSection {
    /// Its name in `status` and in the view
    pub name: String,
    /// Folder of its stores and its state [default: the name]
    pub data: Option<PathBuf>,
    /// TCP address for direct requests, besides the balancer's socket
    pub listen: Option<SocketAddr>,
}

impl Default for LogSection {
    fn default() -> Self {
        LogSection {
            backend: LogBackend::Embedded,
            path: "log".into(),
            servers: Vec::new(),
            stream: "hgfleet".to_owned(),
            replicas: 3,
            credentials: None,
            nkey: None,
            tls: None,
            monitoring: Vec::new(),
            retain_records: 100_000,
            retain_seconds: 86_400,
            trim_every_seconds: 600,
        }
    }
}

impl Default for SshSection {
    fn default() -> Self {
        SshSection {
            listen: SocketAddr::from(([127, 0, 0, 1], 2222)),
            host_key: "keys/ssh_host_ed25519_key".into(),
            login_grace_seconds: 30,
            login: Login::default(),
            trusted_user_ca_keys: None,
            backend: None,
            limits: SshLimitsSection::default(),
        }
    }
}

impl Default for HttpSection {
    fn default() -> Self {
        HttpSection {
            host: None,
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            listen_https: SocketAddr::from(([127, 0, 0, 1], 8443)),
            certificate: "keys/https.certificate".into(),
            key: "keys/https.key".into(),
            trusted_proxy: None,
            tokens_stale_seconds: 900,
            bundle_cache_bytes: 1 << 30,
        }
    }
}

impl Default for DirectorySection {
    fn default() -> Self {
        DirectorySection { backend: DirectoryBackend::Ldif, ldif: "directory.ldif".into(), ldap: None }
    }
}

impl Default for SessionSection {
    fn default() -> Self {
        SessionSection {
            user_repositories: false,
            user_repositories_max: 100,
            repo_group: false,
            repo_config: false,
            own_keys: true,
            landing_accounts: Vec::new(),
            landing_variable: Landing::default().variable,
        }
    }
}

impl Default for MasterSection {
    fn default() -> Self {
        MasterSection {
            name: "master".into(),
            data: "master".into(),
            volume: None,
            fence_command: None,
            fence_seconds: 60,
            keep_trees_seconds: 86_400,
            told_wait_ms: 5_000,
            append_wait_ms: 30_000,
            lease_seconds: 5,
            lease_ms: None,
            lag_seconds_max: 15,
            lag_records_max: 10_000,
            push_bytes_max: 4 << 30,
        }
    }
}

impl Default for RepositoriesSection {
    fn default() -> Self {
        RepositoriesSection { format: RepositoryFormat::Current, deletion_grace_seconds: 604_800 }
    }
}

impl Default for BalancerSection {
    fn default() -> Self {
        BalancerSection { name: "balancer".into() }
    }
}

impl Default for ResyncSection {
    fn default() -> Self {
        ResyncSection { bytes_per_second: 200 << 20 }
    }
}

impl Default for ScrubSection {
    fn default() -> Self {
        ScrubSection { bytes_per_second: None, every_seconds: 72_000 }
    }
}

pub(super) fn only_balancer() -> Vec<BalancerSection> {
    vec![BalancerSection::default()]
}

pub(super) fn one_or_many<'de, D: serde::Deserializer<'de>>(input: D) -> Result<Vec<BalancerSection>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Given {
        One(BalancerSection),
        Many(Vec<BalancerSection>),
    }
    Ok(match Given::deserialize(input)? {
        Given::One(one) => vec![one],
        Given::Many(many) => many,
    })
}

impl MasterSection {
    /// How long the lease lasts without renewal.
    pub fn lease(&self) -> Duration {
        self.lease_ms.map_or(Duration::from_secs(self.lease_seconds), Duration::from_millis)
    }
}

impl StandbySection {
    /// Folder of its stores and its state, as written.
    pub fn data_folder(&self) -> PathBuf {
        self.data.clone().unwrap_or_else(|| PathBuf::from(&self.name))
    }
}

impl MirrorSection {
    /// Folder of its stores and its state, as written.
    pub fn data_folder(&self) -> PathBuf {
        self.data.clone().unwrap_or_else(|| PathBuf::from(&self.name))
    }
}
