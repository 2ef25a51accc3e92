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
    line(format_args!("  {}", who_reads(addresses.https, config.access_rules().as_deref())));
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

/// Who may read by this door, by these rules if there are any.
fn who_reads(https: SocketAddr, rules: Option<&Path>) -> String {
    match rules {
        Some(rules) => {
            format!("Who may read which repository over {https}, the access rules say: {}", rules.display())
        }
        None if https.ip().is_loopback() => {
            format!("Anybody on this machine who reaches {https} can read every repository.")
        }
        None => format!("WARNING: anybody who reaches {https} can read every repository"),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_of_who_reads_what_is_true() {
        let said = |address: &str, rules: Option<&str>| who_reads(address.parse().unwrap(), rules.map(Path::new));
        assert!(said("127.0.0.1:8443", None).starts_with("Anybody on this machine who reaches 127.0.0.1:8443 can"));
        assert!(said("[::1]:8443", None).starts_with("Anybody on this machine"));
        assert!(said("0.0.0.0:443", None).starts_with("WARNING: anybody who reaches 0.0.0.0:443 can read every"));
        for address in ["127.0.0.1:8443", "0.0.0.0:443"] {
            let said = said(address, Some("/data/access.toml"));
            assert!(said.ends_with("the access rules say: /data/access.toml") && !said.contains("every"), "{said}");
        }
    }
}
