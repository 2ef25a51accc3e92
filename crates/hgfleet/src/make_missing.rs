//! Makes what a data folder lacks: configuration, keys, certificates, directory.

use crate::command::up::Addresses;
use crate::config::{self, Config};
use crate::data_folder::{DataFolder, write_new};
use anyhow::Context;
use hgfleet_balancer::Identity;
use hgfleet_balancer::authority::{self, AuthorityFiles};
use hgfleet_directory::{DirectoryLocation, LdifDirectory, Mail, PublicKey};
use russh::keys::{Algorithm, PrivateKey, ssh_key::LineEnding};
use std::path::{Path, PathBuf};

/// Public keys of the caller that are tried, the newest kind first.
const USER_KEYS: [&str; 2] = ["id_ed25519.pub", "id_rsa.pub"];

/// What was made, as far as the caller is told.
#[derive(Debug, Default)]
pub struct Made {
    /// The account that was made for the caller
    pub account: Option<NewAccount>,
}

/// The account made for the caller of `hgfleet up`.
#[derive(Debug)]
pub struct NewAccount {
    /// Its mail address
    pub mail: String,
    /// Where its keys come from
    pub keys: KeySource,
}

/// Where the keys of the caller's account come from.
#[derive(Debug)]
pub enum KeySource {
    /// These public keys of the caller's own
    Own(Vec<PathBuf>),
    /// A fresh pair; the private key lies here
    Fresh(PathBuf),
}

/// Makes what is missing; what is there is left as it is.
///
/// # Errors
///
/// What can't be read or written, by path.
pub fn in_folder(folder: &DataFolder, addresses: &Addresses) -> anyhow::Result<Made> {
    let path = folder.path();
    let file = path.join(config::FILE_NAME);
    if !file.exists() {
        write_new(&file, config::template(addresses.ssh, addresses.http, addresses.https).as_bytes(), 0o644)?;
    }
    let config = Config::read(&file)?;
    let host_key = config.path(&config.ssh.host_key);
    if !host_key.exists() {
        write_key_pair(&host_key, "hgfleet host key")?;
    }
    let mut files = AuthorityFiles::below(path);
    files.server = Identity { certificate: config.path(&config.http.certificate), key: config.path(&config.http.key) };
    let addresses = [addresses.ssh, addresses.http, addresses.https].map(|address| address.ip().to_string());
    let names: Vec<String> = config.http.host.iter().cloned().chain(addresses).collect();
    authority::ensure(&files, &names).context("cannot make the certificates")?;
    let mut made = Made::default();
    if let DirectoryLocation::Ldif(ldif) = config.directory_location()
        && !ldif.exists()
    {
        LdifDirectory::create(&ldif)?;
        made.account = Some(make_account(&ldif, path)?);
    }
    Ok(made)
}

fn make_account(ldif: &Path, folder: &Path) -> anyhow::Result<NewAccount> {
    let user = std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).unwrap_or_else(|_| "user".to_owned());
    let mail = Mail::parse(&format!("{user}@localhost")).or_else(|_| Mail::parse("user@localhost"))?;
    let directory = LdifDirectory::open(ldif)?;
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default().join(".ssh");
    // A key that the fleet doesn't take, or that another account has, is not the caller's way in.
    let own: Vec<(PathBuf, PublicKey)> = USER_KEYS
        .iter()
        .map(|name| home.join(name))
        .filter_map(|path| Some((path.clone(), PublicKey::parse_line(&std::fs::read(path).ok()?).ok()?)))
        .collect();
    if !own.is_empty() {
        let (paths, keys): (Vec<PathBuf>, Vec<PublicKey>) = own.into_iter().unzip();
        directory.add(&mail, &keys)?;
        return Ok(NewAccount { mail: mail.to_string(), keys: KeySource::Own(paths) });
    }
    let private = folder.join("keys/user_ed25519");
    let public = write_key_pair(&private, mail.as_str())?;
    directory.add(&mail, &[PublicKey::parse_line(public.as_bytes())?])?;
    Ok(NewAccount { mail: mail.to_string(), keys: KeySource::Fresh(private) })
}

/// Writes a fresh ed25519 pair in OpenSSH's format, the public key beside the private one, and returns the public line.
fn write_key_pair(private: &Path, comment: &str) -> anyhow::Result<String> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| anyhow::anyhow!("no random numbers for a key: {error}"))?;
    let pair = russh::keys::ssh_key::private::Ed25519Keypair::from_seed(&seed);
    let mut key = PrivateKey::from(pair);
    debug_assert_eq!(key.algorithm(), Algorithm::Ed25519);
    key.set_comment(comment);
    let text = key.to_openssh(LineEnding::LF).with_context(|| format!("cannot encode {}", private.display()))?;
    write_new(private, text.as_bytes(), 0o600)?;
    let public = key
        .public_key()
        .to_openssh()
        .with_context(|| format!("cannot encode the public half of {}", private.display()))?;
    let mut beside = private.as_os_str().to_owned();
    beside.push(".pub");
    let beside = PathBuf::from(beside);
    if !beside.exists() {
        write_new(&beside, format!("{public}\n").as_bytes(), 0o644)?;
    }
    Ok(public)
}
