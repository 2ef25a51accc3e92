//! How long a client waits at an SSH door: from its connection to the first byte of `hello`, and behind `sshd` what a session adds.

use crate::input::{Input, text};
use crate::measure::{HGFLEET, median, milliseconds, stock};
use crate::push::Sshd;
use crate::start::Fleet;
use russh::client::{self, Handler};
use russh::keys::{HashAlg, PrivateKey, PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use russh::{ChannelMsg, Error};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

const LOGINS: usize = 60;
const PAIRS: usize = 100;
const COMMAND: &str = "hg -R one serve --stdio";

/// Measures both doors of one fleet.
pub fn run(input: &Input) {
    let (home, key) = input.home_with_key("home-login");
    let data = input.scratch("login-data");
    let config = data.join("hgfleet.toml");
    let user = Command::new("id").arg("-un").output().expect("id runs").stdout;
    let user = String::from_utf8(user).expect("a name").trim().to_owned();
    let mirrors = "[[mirror]]\nname = \"mirror-1\"\n[[mirror]]\nname = \"mirror-2\"\n";
    let fleet = Fleet::start_with(&data, &home, &format!("[ssh]\nlogin = \"{user}\"\n{mirrors}"));
    stock(HGFLEET, &["repo", "create", "one", "--config", text(&config)]);
    built_in(&user, fleet.ssh_port, &key);
    behind_sshd(input, &user, &config, &key);
}

/// A client without a process of its own, so that only the door is measured.
fn built_in(user: &str, port: u16, key: &Path) {
    let key = PrivateKey::from_openssh(std::fs::read(key).expect("readable")).expect("a key");
    let (key, config) = (Arc::new(key), Arc::new(client::Config { nodelay: true, ..Default::default() }));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut times: Vec<f64> = (0..LOGINS)
        .map(|_| milliseconds(|| runtime.block_on(hello(user, port, &key, &config)).expect("a login")))
        .collect();
    times.sort_by(f64::total_cmp);
    println!(
        "connect to the first byte of hello, built-in door: {:.1} ms (median of {LOGINS}; 95 %: {:.1} ms)",
        median(&times),
        times[LOGINS * 95 / 100]
    );
}

async fn hello(user: &str, port: u16, key: &Arc<PrivateKey>, config: &Arc<client::Config>) -> Result<(), Error> {
    let mut session = client::connect(config.clone(), ("127.0.0.1", port), AnyServer).await?;
    let key = PrivateKeyWithHashAlg::new(key.clone(), Some(HashAlg::Sha256));
    assert!(session.authenticate_publickey(user, key).await?.success(), "the account is let in");
    let mut channel = session.channel_open_session().await?;
    channel.exec(false, COMMAND).await?;
    channel.data_bytes(&b"hello\n"[..]).await?;
    loop {
        match channel.wait().await {
            Some(ChannelMsg::Data { .. }) => return Ok(()),
            Some(_) => {}
            None => return Err(Error::HUP),
        }
    }
}

struct AnyServer;

impl Handler for AnyServer {
    type Error = Error;

    async fn check_server_key(&mut self, _key: &PublicKeyOrCertificate) -> Result<bool, Error> {
        Ok(true)
    }
}

/// The same `ssh` command with a session and with `true` behind two servers that are else the same, in turns.
fn behind_sshd(input: &Input, user: &str, config: &Path, key: &Path) {
    let sshd = |name: &str, command: &str| {
        let config = text(config);
        let keys = format!("/usr/bin/env {HGFLEET} authorized-keys --config {config} %u %t %k");
        // What both spend alike is kept small: the recommended key exchange, and a shell that takes itself for a nested one, which
        // reads no files of the user's.
        let more = format!(
            "AuthorizedKeysCommand {keys}\nAuthorizedKeysCommandUser {user}\nAuthorizedKeysFile none\nExposeAuthInfo yes\n\
             KexAlgorithms curve25519-sha256\nSetEnv SHLVL=5\nForceCommand {command}\n"
        );
        Sshd::start(input, name, &more)
    };
    let session = format!("{HGFLEET} session --config {}", text(config));
    let (Some(session), Some(nothing)) = (sshd("sshd-session", &session), sshd("sshd-true", "/bin/true")) else {
        return;
    };
    let login = |port: u16| {
        let mut ssh = Command::new("ssh");
        ssh.args([
            "-F",
            "/dev/null",
            "-oStrictHostKeyChecking=no",
            "-oUserKnownHostsFile=/dev/null",
            "-oLogLevel=ERROR",
        ])
        .args(["-oIdentitiesOnly=yes", "-oBatchMode=yes", "-p", &port.to_string(), "-i", text(key)])
        .args(["-l", user, "127.0.0.1", COMMAND])
        .stdin(Stdio::null())
        .stdout(Stdio::null());
        milliseconds(|| assert!(ssh.status().expect("ssh runs").success(), "the account is let in"))
    };
    let pairs: Vec<(f64, f64)> = (0..PAIRS)
        .map(|pair| match pair % 2 {
            0 => (login(session.port), login(nothing.port)),
            _ => {
                let nothing = login(nothing.port);
                (login(session.port), nothing)
            }
        })
        .collect();
    let differences: Vec<f64> = pairs.iter().map(|(session, nothing)| session - nothing).collect();
    let (sessions, nothings): (Vec<f64>, Vec<f64>) = pairs.into_iter().unzip();
    println!(
        "behind sshd: a session {:.1} ms, true {:.1} ms, the session adds {:.1} ms (medians of {PAIRS} pairs)",
        median(&sessions),
        median(&nothings),
        median(&differences)
    );
}
