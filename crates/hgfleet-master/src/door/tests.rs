//! The door with real clients: OpenSSH's where it is installed, and the SSH library's for what OpenSSH would not send.

mod bytes;
mod limits;
mod requests;

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;

use hgfleet_directory::{Account, Directory, DirectoryError, LdifDirectory, Mail, PublicKey as DirectoryKey};
use russh::client;
use russh::keys::{PrivateKeyWithHashAlg, PublicKey};
use russh::{ChannelMsg, Disconnect};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::frame;
use crate::login::{ClientAddress, Denial, LoginOptions};
use crate::session::{Access, Identity};

struct Fixture {
    folder: tempfile::TempDir,
    address: SocketAddr,
    directory: Arc<LdifDirectory>,
    logins: Arc<Logins>,
    door: Arc<Door>,
    /// The keys that the directory was asked for.
    asked: Arc<Mutex<Vec<Vec<u8>>>>,
}

/// A directory that keeps what it was asked for.
struct Listening {
    directory: Arc<LdifDirectory>,
    asked: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Directory for Listening {
    fn account_by_key(&self, blob: &[u8]) -> Result<Option<Account>, DirectoryError> {
        self.asked.lock().unwrap().push(blob.to_vec());
        self.directory.account_by_key(blob)
    }

    fn account(&self, mail: &Mail) -> Result<Option<Account>, DirectoryError> {
        self.directory.account(mail)
    }
}

/// A door whose sessions are a shell script.
async fn door(script: &str, limits: SshLimits) -> Fixture {
    door_in(tempfile::tempdir().unwrap(), script, limits, LoginOptions::default()).await
}

async fn door_in(folder: tempfile::TempDir, script: &str, limits: SshLimits, login: LoginOptions) -> Fixture {
    let path = folder.path();
    for (name, kind) in
        [("host", "ed25519"), ("user", "ed25519"), ("other", "ed25519"), ("landing", "ed25519"), ("rsa", "rsa")]
    {
        keygen(&path.join(name), kind);
    }
    LdifDirectory::create(&path.join("directory.ldif")).unwrap();
    let directory = Arc::new(LdifDirectory::open(&path.join("directory.ldif")).unwrap());
    let key = |name: &str| DirectoryKey::parse_line(fs::read(path.join(name)).unwrap().trim_ascii_end()).unwrap();
    directory.add(&Mail::parse("user@example.com").unwrap(), &[key("user.pub"), key("rsa.pub")]).unwrap();
    directory.add(&Mail::parse("landing@example.com").unwrap(), &[key("landing.pub")]).unwrap();
    let program = path.join("program");
    fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let sessions = session_program(program, path.to_owned(), limits_of_sessions(), Peers::default());
    let landing = Landing { accounts: vec![Mail::parse("landing@example.com").unwrap()], ..Landing::default() };
    let asked = Arc::<Mutex<Vec<Vec<u8>>>>::default();
    let listening = Arc::new(Listening { directory: directory.clone(), asked: asked.clone() });
    let logins = Arc::new(Logins::open(&login, listening).unwrap());
    let door = Door::new(&path.join("host"), limits, landing, logins.clone(), sessions).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let accepting = door.clone();
    tokio::spawn(async move {
        while let Ok((stream, peer)) = listener.accept().await {
            tokio::spawn(accepting.clone().serve(stream, peer));
        }
    });
    Fixture { folder, address, directory, logins, door, asked }
}

fn limits_of_sessions() -> Limits {
    Limits { address_space_bytes: 1 << 36, memory_bytes: 1 << 30, cpu_seconds: 60, open_files: 64 }
}

fn keygen(path: &Path, kind: &str) {
    let made = Command::new("ssh-keygen").args(["-q", "-N", "", "-t", kind, "-f"]).arg(path).status().unwrap();
    assert!(made.success());
}

impl Fixture {
    fn ssh(&self, key: &str, options: &[&str]) -> Command {
        let mut command = Command::new("ssh");
        command
            .args(["-F", "/dev/null", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"])
            .args([
                "-o",
                "IdentitiesOnly=yes",
                "-o",
                "IdentityAgent=none",
                "-o",
                "BatchMode=yes",
                "-o",
                "LogLevel=ERROR",
            ])
            .arg("-i")
            .arg(self.folder.path().join(key))
            .args(options)
            .args(["-p", &self.address.port().to_string(), "-l", "hg", "127.0.0.1"]);
        command
    }

    async fn run(&self, key: &str, options: &[&str], command: &str) -> Output {
        let mut ssh = self.ssh(key, options);
        ssh.arg(command).stdin(Stdio::null());
        tokio::task::spawn_blocking(move || ssh.output().unwrap()).await.unwrap()
    }

    async fn client(&self, key: &str) -> client::Handle<AnyServer> {
        self.client_with(client::Config::default(), key).await
    }

    async fn client_with(&self, config: client::Config, key: &str) -> client::Handle<AnyServer> {
        let mut session = client::connect(Arc::new(config), self.address, AnyServer).await.unwrap();
        self.log_in(&mut session, key).await;
        session
    }

    async fn log_in(&self, session: &mut client::Handle<AnyServer>, key: &str) {
        let key = PrivateKey::from_openssh(fs::read(self.folder.path().join(key)).unwrap()).unwrap();
        let key = PrivateKeyWithHashAlg::new(Arc::new(key), Some(HashAlg::Sha256));
        assert!(session.authenticate_publickey("hg", key).await.unwrap().success());
    }
}

struct AnyServer;

impl client::Handler for AnyServer {
    type Error = russh::Error;
    async fn check_server_key(&mut self, _key: &russh::keys::PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        Ok(true)
    }
}

/// What a session that echoes its input was told, and what follows.
fn told(output: &[u8]) -> (Identity, &[u8]) {
    let mut rest = output;
    let identity = frame::read(&mut rest, 1 << 20).unwrap();
    (identity, rest)
}

/// Trap 3 of the SSH library: with its own channel queue this hangs.
#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_megabytes_come_back() {
    let door = door("exec cat", SshLimits::default()).await;
    let input: Vec<u8> = (0..50u32 << 20).flat_map(|number| number.wrapping_mul(2_654_435_761).to_be_bytes()).collect();
    fs::write(door.folder.path().join("input"), &input).unwrap();
    for _ in 0..2 {
        let mut ssh = door.ssh("user", &[]);
        ssh.arg("echo").stdin(fs::File::open(door.folder.path().join("input")).unwrap());
        let started = Instant::now();
        let output = tokio::task::spawn_blocking(move || ssh.output().unwrap()).await.unwrap();
        assert!(output.status.success(), "{output:.200?}");
        assert!(told(&output.stdout).1 == input, "the bytes differ");
        assert!(started.elapsed() < Duration::from_secs(240));
    }
}

/// A client that sends and never reads stops neither the connection nor the memory's bound.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_stalls_is_waited_for_and_then_served() {
    let door = door("exec cat", SshLimits::default()).await;
    let session = door.client("user").await;
    let channel = session.channel_open_session().await.unwrap();
    channel.exec(true, "echo").await.unwrap();
    let (mut read, write) = channel.split();
    let chunk = vec![7u8; 32 << 10];
    let sent = tokio::spawn(async move {
        for _ in 0..640 {
            write.data_bytes(chunk.clone()).await.unwrap();
        }
        write.eof().await.unwrap();
    });
    // Nothing is read for a while: 20 MiB are on their way, most of it held back at the client by its window.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut bytes = 0;
    while let Some(message) = read.wait().await {
        if let ChannelMsg::Data { data } = message {
            bytes += data.len();
        }
    }
    sent.await.unwrap();
    assert!(bytes >= 640 * (32 << 10), "{bytes}");
}

/// Trap 2: a signature over SHA-1 is refused, the same key with SHA-2 is not.
#[tokio::test(flavor = "multi_thread")]
async fn rsa_keys_sign_with_sha2_only() {
    let door = door("exec cat", SshLimits::default()).await;
    for (algorithm, accepted) in [("rsa-sha2-512", true), ("rsa-sha2-256", true), ("ssh-rsa", false)] {
        let hash = match algorithm {
            "rsa-sha2-512" => Some(HashAlg::Sha512),
            "rsa-sha2-256" => Some(HashAlg::Sha256),
            _ => None,
        };
        let mut session = client::connect(Arc::default(), door.address, AnyServer).await.unwrap();
        let key = PrivateKey::from_openssh(fs::read(door.folder.path().join("rsa")).unwrap()).unwrap();
        let answer =
            session.authenticate_publickey("hg", PrivateKeyWithHashAlg::new(Arc::new(key), hash)).await.unwrap();
        assert_eq!(answer.success(), accepted, "{algorithm}");
        let output = door.run("rsa", &["-o", &format!("PubkeyAcceptedAlgorithms={algorithm}")], "x").await;
        assert_eq!(output.status.success(), accepted, "{algorithm}: {output:?}");
    }
}

/// Trap 1: the library accepts a security key's signature without a touch, so such keys are not accepted at all.
#[tokio::test]
async fn security_keys_are_refused_by_name() {
    let door = door("exec cat", SshLimits::default()).await;
    let line = "sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAIAcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHAAAABHNzaDo=";
    let key = PublicKey::from_openssh(line).unwrap();
    let nowhere = ClientAddress::Unknown;
    let denial = keys::account_of_key(&door.logins, "hg", &key, &key.algorithm(), nowhere).unwrap_err();
    assert_eq!(denial, Denial::SecurityKey);
    let rsa = PublicKey::from_openssh(&fs::read_to_string(door.folder.path().join("rsa.pub")).unwrap()).unwrap();
    let judge = |user: &str, hash| keys::account_of_key(&door.logins, user, &rsa, &Algorithm::Rsa { hash }, nowhere);
    assert_eq!(judge("hg", None).unwrap_err(), Denial::Sha1);
    assert_eq!(judge("root", Some(HashAlg::Sha256)).unwrap_err(), Denial::UserName);
    assert!(judge("hg", Some(HashAlg::Sha256)).is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_session_is_told_who_comes_and_gets_no_environment() {
    let door = door("env >&2; exec cat", SshLimits::default()).await;
    let mut ssh = door.ssh("user", &["-o", "SetEnv=HGRCPATH=/tmp/x LD_PRELOAD=/tmp/y", "-o", "SendEnv=PATH"]);
    ssh.arg("hg -R 'a b'\tc").stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || ssh.output().unwrap()).await.unwrap();
    let (identity, rest) = told(&output.stdout);
    assert_eq!(identity.account, "user@example.com");
    assert_eq!(identity.access, Access::Enabled);
    assert!(identity.address.starts_with("127.0.0.1:"));
    assert_eq!(identity.command.as_deref(), Some(&b"hg -R 'a b'\tc"[..]));
    assert!(rest.is_empty());
    let environment = String::from_utf8(output.stderr).unwrap();
    for line in environment.lines() {
        assert!(line.starts_with("LC_ALL=") || line.starts_with("PWD=") || line.starts_with("_="), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_landing_account_alone_names_who_asked() {
    let door = door("exec cat", SshLimits::default()).await;
    for (key, variables, requester) in [
        ("landing", "AUTOLAND_REQUEST_USER=jane@example.com", Some("jane@example.com")),
        ("landing", "AUTOLAND_REQUEST_USER=nobody", Some("nobody")),
        ("landing", "OTHER_REQUEST_USER=jane@example.com", None),
        ("user", "AUTOLAND_REQUEST_USER=jane@example.com", None),
    ] {
        let output = door.run(key, &["-o", &format!("SetEnv={variables}")], "x").await;
        assert_eq!(told(&output.stdout).0.requester.as_deref(), requester, "{key} {variables}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_account_gets_to_the_session_which_says_so() {
    let door = door("exec cat", SshLimits::default()).await;
    door.directory.set_enabled(&Mail::parse("user@example.com").unwrap(), false).unwrap();
    assert_eq!(told(&door.run("user", &[], "x").await.stdout).0.access, Access::Disabled);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_names_and_keys_are_denied_alike() {
    let door = door("exec cat", SshLimits::default()).await;
    for (key, user) in [("other", "hg"), ("user", "root"), ("user", "user@example.com"), ("user", "*")] {
        // A user that is named first is the one that OpenSSH's client takes.
        let mut ssh = door.ssh(key, &["-o", &format!("User={user}")]);
        ssh.arg("x").stdin(Stdio::null());
        let output = tokio::task::spawn_blocking(move || ssh.output().unwrap()).await.unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(errors.contains("Permission denied (publickey)"), "{key} {user}: {errors}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_of_stderr_comes_before_the_status() {
    let door = door("head -c 3000000 /dev/zero | tr '\\0' x >&2; echo last >&2; exit 7", SshLimits::default()).await;
    let output = door.run("user", &[], "x").await;
    assert_eq!(output.status.code(), Some(7));
    assert_eq!(output.stderr.len(), 3_000_005);
    assert!(output.stderr.ends_with(b"xlast\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_killed_is_named_and_has_status_255() {
    let door = door("kill -9 $$", SshLimits::default()).await;
    let output = door.run("user", &[], "x").await;
    assert_eq!(output.status.code(), Some(255));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("outcome unknown: the session was ended by signal 9"), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_ends_the_sessions_input() {
    let door = door("cat > /dev/null; touch \"$3/gone\"", SshLimits::default()).await;
    let session = door.client("user").await;
    let channel = session.channel_open_session().await.unwrap();
    channel.exec(true, "x").await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let gone = door.folder.path().join("gone");
    assert!(!gone.exists());
    session.disconnect(Disconnect::ByApplication, "", "").await.unwrap();
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        if gone.exists() {
            return;
        }
    }
    panic!("the session still waits for input");
}

/// How a channel's session has ended: its status, and what it said on standard error.
async fn ended(mut channel: russh::Channel<client::Msg>) -> (Option<u32>, String) {
    let (mut status, mut errors) = (None, Vec::new());
    while let Some(message) = channel.wait().await {
        match message {
            ChannelMsg::ExitStatus { exit_status } => status = Some(exit_status),
            ChannelMsg::ExtendedData { data, .. } => errors.extend_from_slice(&data),
            _ => {}
        }
    }
    (status, String::from_utf8(errors).unwrap())
}
