//! What `hgfleet up` says once the fleet is ready.

use crate::command::up::Addresses;
use crate::config::Config;
use crate::make_missing::{KeySource, Made};
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

/// The addresses, the fingerprint, and the commands to try next.
///
/// `state` says what of the fleet is ready.
pub fn text(config: &Config, addresses: Addresses, made: &Made, state: &str) -> String {
    let mut text = String::new();
    let ssh = config.push_url(addresses.ssh);
    let https = format!("https://{}", host(addresses.https));
    let key = config.folder.join("keys/user_ed25519");
    let ca = config.folder.join("ca.pem");
    let mut line = |words: std::fmt::Arguments<'_>| {
        // Writing to a String can't fail.
        let _ = writeln!(text, "{words}");
    };
    line(format_args!("{state}"));
    line(format_args!("  push    {ssh}NAME"));
    line(format_args!("  read    {https}/NAME    (http://{} redirects there)", addresses.http));
    line(format_args!("  data    {}", config.folder.display()));
    if let Some(fingerprint) = fingerprint(&config.path(&config.ssh.host_key)) {
        line(format_args!("  SSH host key {fingerprint}"));
    }
    if let Some(account) = &made.account {
        match &account.keys {
            KeySource::Own(paths) => {
                let paths: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
                line(format_args!("  account {} was made for you, with {}", account.mail, paths.join(" and ")));
            }
            KeySource::Fresh(private) => {
                line(format_args!(
                    "  account {} was made for you, with a fresh key, {}",
                    account.mail,
                    private.display()
                ));
            }
        }
    }
    if !addresses.https.ip().is_loopback() {
        line(format_args!("  WARNING: anybody who reaches {} can read every repository", addresses.https));
    } else {
        line(format_args!("  Anybody on this machine who reaches {} can read every repository.", addresses.https));
    }
    let identity = if key.exists() { format!(" --ssh 'ssh -i {}'", key.display()) } else { String::new() };
    let config_option = format!("--config {}", config.folder.join(crate::config::FILE_NAME).display());
    line(format_args!("Try next:"));
    line(format_args!("  hgfleet repo create team/first {config_option}"));
    line(format_args!("  hg clone{identity} {ssh}team/first"));
    line(format_args!("  cd first && echo hello > hello && hg commit -Am hello && hg push{identity} {ssh}team/first"));
    line(format_args!("  hg clone --config web.cacerts={} {https}/team/first over-https", ca.display()));
    line(format_args!("  hgfleet status {config_option}"));
    text
}

fn host(address: SocketAddr) -> String {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_loopback() => format!("localhost:{}", address.port()),
        _ => address.to_string(),
    }
}

fn fingerprint(host_key: &Path) -> Option<String> {
    let mut public = host_key.as_os_str().to_owned();
    public.push(".pub");
    let line = std::fs::read_to_string(public).ok()?;
    let key = russh::keys::PublicKey::from_openssh(line.trim()).ok()?;
    Some(key.fingerprint(russh::keys::HashAlg::Sha256).to_string())
}
