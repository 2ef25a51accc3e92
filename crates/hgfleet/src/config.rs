//! The configuration: one TOML file that every role and every tool reads.

mod machine;
mod proxy_protocol;
mod sections;
mod ssh_limits;
mod template;
mod trusted_proxy;
mod volume;

pub use machine::MachineSection;
pub use proxy_protocol::ProxyProtocolSection;
pub use sections::*;
pub use ssh_limits::SshLimitsSection;
pub use template::template;
pub use trusted_proxy::TrustedProxySection;

use anyhow::{Context, bail};
use hgfleet_directory::{DirectoryLocation, Mail};
use hgfleet_log::{JetStreamOptions, LogLocation, TlsFiles};
use hgfleet_master::login::{LoginName, LoginOptions};
use hgfleet_master::{CommandOptions, Landing, Retention};
use hgfleet_resync::{ResyncOptions, ScrubOptions};
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The newest layout of the file that this release writes into a fresh data folder.
pub const FILE_NAME: &str = "hgfleet.toml";

/// The largest configuration file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Where `--config` is not given: these, in this order, below the current folder.
const SEARCHED: [&str; 2] = ["hgfleet.toml", "hgfleet-data/hgfleet.toml"];

/// The sections and their keys, for a message that names the nearest one to what was misspelt.
const KNOWN: [(&str, &[&str]); 16] = [
    (
        "log",
        &[
            "backend",
            "path",
            "servers",
            "stream",
            "replicas",
            "credentials",
            "nkey",
            "tls",
            "monitoring",
            "retain_records",
            "retain_seconds",
            "trim_every_seconds",
        ],
    ),
    ("ssh", &["listen", "host_key", "login_grace_seconds", "login", "trusted_user_ca_keys", "backend", "limits"]),
    ("proxy_protocol", &["from"]),
    (
        "http",
        &[
            "host",
            "listen",
            "listen_https",
            "certificate",
            "key",
            "trusted_proxy",
            "tokens_stale_seconds",
            "bundle_cache_bytes",
        ],
    ),
    ("directory", &["backend", "ldif", "ldap"]),
    ("access", &["rules"]),
    (
        "session",
        &[
            "user_repositories",
            "user_repositories_max",
            "repo_group",
            "repo_config",
            "own_keys",
            "landing_accounts",
            "landing_variable",
        ],
    ),
    ("policy", &["rules"]),
    (
        "master",
        &[
            "name",
            "data",
            "volume",
            "fence_command",
            "fence_seconds",
            "keep_trees_seconds",
            "told_wait_ms",
            "append_wait_ms",
            "lease_seconds",
            "lease_ms",
            "lag_seconds_max",
            "lag_records_max",
            "push_bytes_max",
        ],
    ),
    ("standby", &["name", "data", "listen"]),
    ("repositories", &["format", "deletion_grace_seconds"]),
    ("balancer", &["name"]),
    ("resync", &["bytes_per_second"]),
    ("scrub", &["bytes_per_second", "every_seconds"]),
    ("mirror", &["name", "data", "listen"]),
    ("machine", &["name", "address", "servers"]),
];

/// The whole file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The folder that holds the file; paths in it are relative to it.
    #[serde(skip)]
    pub folder: PathBuf,
    /// The log
    #[serde(default)]
    pub log: LogSection,
    /// The SSH door
    #[serde(default)]
    pub ssh: SshSection,
    /// The servers before the doors
    #[serde(default)]
    pub proxy_protocol: ProxyProtocolSection,
    /// The HTTP and HTTPS doors
    #[serde(default)]
    pub http: HttpSection,
    /// Who may log in
    #[serde(default)]
    pub directory: DirectorySection,
    /// Who may do what with which repository
    #[serde(default)]
    pub access: AccessSection,
    /// The commands of people who come by SSH
    #[serde(default)]
    pub session: SessionSection,
    /// What a push may bring
    #[serde(default)]
    pub policy: PolicySection,
    /// The master
    #[serde(default)]
    pub master: MasterSection,
    /// What new repositories are like
    #[serde(default)]
    pub repositories: RepositoriesSection,
    /// The balancers
    #[serde(default = "sections::only_balancer", deserialize_with = "sections::one_or_many")]
    pub balancer: Vec<BalancerSection>,
    /// The servers that can become master
    #[serde(default)]
    pub standby: Vec<StandbySection>,
    /// Copies of repositories between servers
    #[serde(default)]
    pub resync: ResyncSection,
    /// How the stores are read again
    #[serde(default)]
    pub scrub: ScrubSection,
    /// The mirrors
    #[serde(default)]
    pub mirror: Vec<MirrorSection>,
    /// The machines, where there are several
    #[serde(default)]
    pub machine: Vec<MachineSection>,
}

impl Config {
    /// Reads the file that `--config` names, or the first of `./hgfleet.toml` and `./hgfleet-data/hgfleet.toml`.
    ///
    /// # Errors
    ///
    /// No file found; not readable; not TOML; an unknown key (the message names the nearest known one); two servers of
    /// one name.
    pub fn find(given: Option<&Path>) -> anyhow::Result<Config> {
        if let Some(path) = given {
            return Config::read(path);
        }
        for candidate in SEARCHED {
            if Path::new(candidate).exists() {
                return Config::read(Path::new(candidate));
            }
        }
        bail!(
            "no configuration: neither ./{} nor ./{} exists; name one with --config, or make one with `hgfleet up`",
            SEARCHED[0],
            SEARCHED[1]
        )
    }

    /// Reads one file.
    ///
    /// # Errors
    ///
    /// As [`Config::find`].
    pub fn read(path: &Path) -> anyhow::Result<Config> {
        let shown = path.display();
        let bytes = std::fs::metadata(path).with_context(|| format!("cannot read the configuration {shown}"))?.len();
        if bytes > FILE_BYTES_MAX {
            bail!("the configuration {shown} has {bytes} bytes; at most {FILE_BYTES_MAX} are read");
        }
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read the configuration {shown}"))?;
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
            _ => PathBuf::from("."),
        };
        let folder = folder.canonicalize().with_context(|| format!("cannot resolve the folder of {shown}"))?;
        Config::parse(&text, folder).with_context(|| format!("in the configuration {shown}"))
    }

    fn parse(text: &str, folder: PathBuf) -> anyhow::Result<Config> {
        let table: toml::Table =
            text.parse().map_err(|error: toml::de::Error| anyhow::anyhow!("{}", error.message()))?;
        refuse_unknown_keys(&table)?;
        let mut config: Config =
            table.try_into().map_err(|error: toml::de::Error| anyhow::anyhow!("{}", error.message()))?;
        config.folder = folder;
        let mut names = vec![config.master.name.as_str()];
        names.extend(config.balancer.iter().map(|balancer| balancer.name.as_str()));
        names.extend(config.standby.iter().map(|standby| standby.name.as_str()));
        names.extend(config.mirror.iter().map(|mirror| mirror.name.as_str()));
        for (at, name) in names.iter().enumerate() {
            if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) {
                bail!("the server name {name:?} is not made of letters, digits, '-', '_' and '.'; rename it");
            }
            if names[..at].contains(name) {
                bail!("two servers are called {name}; give each its own name");
            }
        }
        if config.directory.backend == DirectoryBackend::Ldap && config.directory.ldap.is_none() {
            bail!(
                "[directory] backend = \"ldap\" needs the section [directory.ldap]; docs/directory.md has one to begin with"
            );
        }
        config.check_volume()?;
        config.trusted_proxy()?;
        config.landing()?;
        Ok(config)
    }

    /// A path of the file, relative to the folder that the file lies in.
    pub fn path(&self, path: &Path) -> PathBuf {
        self.folder.join(path)
    }

    /// Where the fleet's log is. Every role and every command opens it by this.
    pub fn log_location(&self) -> LogLocation {
        match self.log.backend {
            LogBackend::Embedded => LogLocation::Embedded(self.path(&self.log.path)),
            LogBackend::JetStream => {
                let path = |path: &Option<PathBuf>| path.as_ref().map(|path| self.path(path));
                LogLocation::JetStream(Box::new(JetStreamOptions {
                    servers: self.log.servers.clone(),
                    stream: self.log.stream.clone(),
                    replicas: self.log.replicas,
                    credentials: path(&self.log.credentials),
                    nkey: path(&self.log.nkey),
                    tls: self.log.tls.as_ref().map(|tls| TlsFiles {
                        ca: path(&tls.ca),
                        certificate: path(&tls.certificate),
                        key: path(&tls.key),
                    }),
                    monitoring: self.log.monitoring.clone(),
                }))
            }
        }
    }

    /// Where the accounts are.
    pub fn directory_location(&self) -> DirectoryLocation {
        match (self.directory.backend, &self.directory.ldap) {
            (DirectoryBackend::Ldap, Some(options)) => {
                DirectoryLocation::Ldap(Box::new(options.clone().relative_to(&self.folder)))
            }
            _ => DirectoryLocation::Ldif(self.path(&self.directory.ldif)),
        }
    }

    /// Who may push for others, and how they say for whom.
    ///
    /// # Errors
    ///
    /// What is no mail address.
    pub fn landing(&self) -> anyhow::Result<Landing> {
        let accounts = self.session.landing_accounts.iter().map(|mail| Mail::parse(mail));
        let accounts = accounts.collect::<Result<_, _>>().context("landing_accounts in [session]")?;
        Ok(Landing { accounts, variable: self.session.landing_variable.clone() })
    }

    /// The file of the access rules, where there is one.
    pub fn access_rules(&self) -> Option<PathBuf> {
        self.access.rules.as_ref().map(|rules| self.path(rules))
    }

    /// Which commands are served to people who come by SSH.
    pub fn commands(&self) -> CommandOptions {
        CommandOptions {
            user_repositories: self.session.user_repositories,
            user_repositories_max: self.session.user_repositories_max,
            repo_group: self.session.repo_group,
            repo_config: self.session.repo_config,
            // Each machine has a file of its own: a key that is taken away on one would open the others still.
            own_keys: self.session.own_keys
                && (self.machine.len() < 2 || self.directory.backend == DirectoryBackend::Ldap),
        }
    }

    /// Which name clients log in by, and which certificates count.
    pub fn login(&self) -> LoginOptions {
        LoginOptions {
            name: self.ssh.login.0.clone(),
            trusted_user_ca_keys: self.ssh.trusted_user_ca_keys.as_ref().map(|file| self.path(file)),
            hidden_from_sshd: self.ssh.backend.is_some(),
        }
    }

    /// Where people push, up to the repository's name.
    pub fn push_url(&self, ssh: SocketAddr) -> String {
        match &self.ssh.login.0 {
            LoginName::Fixed(name) => format!("ssh://{name}@{ssh}/"),
            // Each has a name of his own.
            LoginName::Mail => format!("ssh://{ssh}/"),
        }
    }

    /// The file of the rules of what a push may bring, where there is one.
    pub fn policy_rules(&self) -> Option<PathBuf> {
        self.policy.rules.as_ref().map(|rules| self.path(rules))
    }

    /// Folder of private keys and certificates; mode 0700.
    pub fn keys_folder(&self) -> PathBuf {
        self.folder.join("keys")
    }

    /// What the log keeps beyond what the servers still need.
    pub fn retention(&self) -> Retention {
        Retention {
            records_min: self.log.retain_records,
            silent_max: Duration::from_secs(self.log.retain_seconds),
            every: Duration::from_secs(self.log.trim_every_seconds.max(1)),
        }
    }

    /// Folder of sockets and of pushes being received; mode 0700.
    pub fn run_folder(&self) -> PathBuf {
        self.folder.join("run")
    }

    /// The sockets of `[master]`, where it has any; those of the other servers on this machine lie beside it.
    pub fn master_run_folder(&self) -> PathBuf {
        self.run_folder().join(&self.master.name)
    }

    /// The server called `name` that can be master: none for `[master]` itself, which is meant where `name` is absent.
    ///
    /// # Errors
    ///
    /// No such entry.
    pub fn standby_named(&self, name: Option<&str>) -> anyhow::Result<Option<&StandbySection>> {
        let Some(name) = name.filter(|name| *name != self.master.name) else { return Ok(None) };
        let found = self.standby.iter().find(|standby| standby.name == name);
        let known = self.standby.iter().map(|standby| &standby.name).chain([&self.master.name]);
        let known = || known.cloned().collect::<Vec<_>>().join(", ");
        found
            .map(Some)
            .with_context(|| format!("no [master] and no [[standby]] is called {name}; there are: {}", known()))
    }

    /// How every server takes copies and scrubs.
    pub fn resync_options(&self) -> ResyncOptions {
        ResyncOptions {
            run: self.run_folder(),
            bytes_per_second: self.resync.bytes_per_second,
            scrub: ScrubOptions {
                bytes_per_second: self.scrub.bytes_per_second,
                every: Duration::from_secs(self.scrub.every_seconds),
            },
        }
    }

    /// The balancer called `name`; the only one where `name` is absent.
    ///
    /// # Errors
    ///
    /// No such entry, or several and no name.
    pub fn balancer_named(&self, name: Option<&str>) -> anyhow::Result<&BalancerSection> {
        let known = || self.balancer.iter().map(|balancer| balancer.name.as_str()).collect::<Vec<_>>().join(", ");
        match (name, self.balancer.as_slice()) {
            (None, [only]) => Ok(only),
            (None, _) => bail!("there are several balancers; choose one with --name: {}", known()),
            (Some(name), balancers) => balancers
                .iter()
                .find(|balancer| balancer.name == name)
                .with_context(|| format!("no [[balancer]] is called {name}; there are: {}", known())),
        }
    }

    /// The mirror called `name`; the only one where `name` is absent.
    ///
    /// # Errors
    ///
    /// No such entry, or several and no name.
    pub fn mirror_named(&self, name: Option<&str>) -> anyhow::Result<&MirrorSection> {
        match (name, self.mirror.as_slice()) {
            (Some(name), mirrors) => mirrors
                .iter()
                .find(|mirror| mirror.name == name)
                .with_context(|| format!("no [[mirror]] is called {name}; there are: {}", names(mirrors))),
            (None, [only]) => Ok(only),
            (None, []) => bail!("the configuration has no [[mirror]]; add one"),
            (None, mirrors) => bail!("there are several mirrors; choose one with --name: {}", names(mirrors)),
        }
    }
}

fn names(mirrors: &[MirrorSection]) -> String {
    mirrors.iter().map(|mirror| mirror.name.as_str()).collect::<Vec<_>>().join(", ")
}

fn refuse_unknown_keys(table: &toml::Table) -> anyhow::Result<()> {
    for (section, value) in table {
        let Some((_, keys)) = KNOWN.iter().find(|(name, _)| name == section) else {
            bail!("unknown section [{section}]{}", nearest(section, KNOWN.iter().map(|(name, _)| *name)));
        };
        let entries: Vec<&toml::Table> = match value {
            toml::Value::Table(table) => vec![table],
            toml::Value::Array(array) => array.iter().filter_map(|entry| entry.as_table()).collect(),
            _ => bail!("{section} must be a section, [{section}]"),
        };
        for key in entries.iter().flat_map(|entry| entry.keys()) {
            if !keys.contains(&key.as_str()) {
                bail!("unknown key {key} in [{section}]{}", nearest(key, keys.iter().copied()));
            }
        }
    }
    Ok(())
}

fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> String {
    known
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .min()
        .map(|(_, candidate)| format!("; the nearest known one is {candidate}"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn parse(text: &str) -> anyhow::Result<Config> {
        Config::parse(text, PathBuf::from("/data"))
    }

    #[test]
    fn a_log_in_jetstream_is_read_with_its_paths_and_misspelt_keys_are_named() {
        let text = "[log]\nbackend = 'jetstream'\nservers = ['nats://n1:4222']\nreplicas = 1\n\
                    nkey = 'keys/nats.seed'\ntls = { ca = 'nats.ca' }";
        let LogLocation::JetStream(options) = parse(text).expect("parses").log_location() else { panic!("embedded") };
        assert_eq!(options.nkey.as_deref(), Some(Path::new("/data/keys/nats.seed")));
        assert_eq!(options.tls.expect("tls").ca.as_deref(), Some(Path::new("/data/nats.ca")));
        assert_eq!((options.stream.as_str(), options.replicas), ("hgfleet", 1));
        let misspelt = parse("[log]\nserver = ['nats://n1:4222']").expect_err("unknown");
        assert!(misspelt.to_string().contains("servers"), "{misspelt}");
        assert!(parse("[log]\ntls = { cert = 'x' }").is_err());
    }

    #[test]
    fn the_file_that_up_writes_is_read_back_as_the_defaults_with_two_mirrors() {
        let addresses = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let config = parse(&template(addresses(2222), addresses(8080), addresses(8443))).expect("the template parses");
        let defaults = parse("").expect("an empty file is the defaults");
        assert_eq!(config.mirror.len(), 2);
        assert_eq!(format!("{:?}", config.ssh), format!("{:?}", defaults.ssh));
        assert_eq!(format!("{:?}", config.http), format!("{:?}", defaults.http));
        assert_eq!(format!("{:?}", config.master), format!("{:?}", defaults.master));
        assert_eq!(config.path(&config.directory.ldif), Path::new("/data/directory.ldif"));
    }

    #[test]
    fn accounts_are_in_a_file_or_in_ldap() {
        let ldif = parse("").expect("parses").directory_location();
        assert!(matches!(ldif, DirectoryLocation::Ldif(path) if path == Path::new("/data/directory.ldif")));
        let text =
            "[directory]\nbackend = 'ldap'\n[directory.ldap]\nservers = ['ldaps://a']\nbase = 'dc=x'\nca = 'ldap.ca'";
        let DirectoryLocation::Ldap(options) = parse(text).expect("parses").directory_location() else {
            panic!("LDIF")
        };
        assert_eq!((options.ca.as_deref(), options.cache_seconds), (Some(Path::new("/data/ldap.ca")), 60));
        let message = |text: &str| parse(text).expect_err("refused").to_string();
        assert!(message("[directory]\nbackend = 'ldap'").contains("[directory.ldap]"));
        assert!(message("[directory]\nbackend = 'nis'").contains("ldap"));
        assert!(message("[directory.ldap]\nserver = 'ldaps://a'").contains("servers"));
    }

    #[test]
    fn a_misspelt_key_is_refused_with_the_nearest_known_one() {
        let message = |text| format!("{:#}", parse(text).expect_err("refused"));
        assert!(message("[ssh]\nlisen = \"127.0.0.1:1\"").contains("nearest known one is listen"));
        assert!(message("[miror]\nname = \"a\"").contains("nearest known one is mirror"));
        assert!(message("[log]\nbackend = \"kafka\"").contains("embedded"));
        assert!(message("[ssh]\nlisten = \"nowhere\"").contains("socket address"));
    }

    #[test]
    fn clients_log_in_by_one_name_or_by_their_own() {
        let login = |text| parse(text).expect("parses").login();
        assert_eq!(login("").name, LoginName::Fixed("hg".to_owned()));
        assert_eq!(login("[ssh]\nlogin = 'code'").name, LoginName::Fixed("code".to_owned()));
        let ssh = SocketAddr::from(([127, 0, 0, 1], 22));
        assert_eq!(parse("").expect("parses").push_url(ssh), "ssh://hg@127.0.0.1:22/");
        assert_eq!(parse("[ssh]\nlogin = 'mail'").expect("parses").push_url(ssh), "ssh://127.0.0.1:22/");
        let mail = login("[ssh]\nlogin = 'mail'\ntrusted_user_ca_keys = 'user_ca.pub'");
        assert_eq!(mail.name, LoginName::Mail);
        assert_eq!(mail.trusted_user_ca_keys.as_deref(), Some(Path::new("/data/user_ca.pub")));
        for odd in ["", "-oX", "a b", "a@b", "*"] {
            assert!(parse(&format!("[ssh]\nlogin = '{odd}'")).is_err(), "{odd}");
        }
    }

    #[test]
    fn two_servers_of_one_name_are_refused() {
        assert!(parse("[[mirror]]\nname = \"a\"\n[[mirror]]\nname = \"a\"").is_err());
        assert!(parse("[[mirror]]\nname = \"master\"").is_err());
        assert!(parse("[[mirror]]\nname = \"../a\"").is_err());
    }

    #[test]
    fn a_server_that_can_be_master_is_chosen_by_name() {
        let config = parse("[[standby]]\nname = \"spare\"\nlisten = \"127.0.0.1:2223\"").expect("parses");
        assert!(config.standby_named(None).expect("[master]").is_none());
        assert!(config.standby_named(Some("master")).expect("[master]").is_none());
        let spare = config.standby_named(Some("spare")).expect("there").expect("a standby");
        assert_eq!(spare.data_folder(), Path::new("spare"));
        assert!(config.standby_named(Some("other")).is_err());
        assert!(parse("[[standby]]\nname = \"master\"").is_err(), "two servers of one name");
    }

    #[test]
    fn a_lease_that_an_older_release_wrote_in_milliseconds_is_read() {
        let lease = |text| parse(text).expect("parses").master.lease();
        assert_eq!(lease(""), Duration::from_secs(5));
        assert_eq!(lease("[master]\nlease_seconds = 7"), Duration::from_secs(7));
        assert_eq!(lease("[master]\nlease_ms = 2500"), Duration::from_millis(2500));
    }

    #[test]
    fn a_mirror_is_chosen_by_name_where_there_are_several() {
        let config = parse("[[mirror]]\nname = \"a\"\n[[mirror]]\nname = \"b\"").expect("parses");
        assert_eq!(config.mirror_named(Some("b")).expect("there").name, "b");
        assert!(config.mirror_named(None).is_err());
        assert!(config.mirror_named(Some("c")).is_err());
    }
}
