//! The same script with two servers behind the same client: stock `hg serve --stdio`, and ours.
//!
//! A fake `ssh` runs the remote command here. The first `hg` of the PATH is the stock server and the client; with `HGFLEET_TEST_CLIENTS=all` in the
//! environment, each `hg` of the PATH is a client in turn.

use super::run::{Said, run, run_here};
use super::store;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What clients do by themselves.
const TALKS_TO_NOBODY: [&str; 18] = [
    "add",
    "bookmark",
    "bookmarks",
    "branch",
    "commit",
    "copy",
    "debugbuilddag",
    "debugobsolete",
    "log",
    "manifest",
    "merge",
    "phase",
    "remove",
    "rename",
    "rollback",
    "tag",
    "update",
    "verify",
];

/// Who answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server {
    /// Mercurial's own.
    Stock,
    /// `hgfleet serve --stdio`.
    Ours,
}

/// A server's repository, clients' clones, and what was said so far.
pub struct World {
    folder: tempfile::TempDir,
    client: PathBuf,
    stock: PathBuf,
    /// Configuration of each command.
    config: &'static [&'static str],
    transcript: String,
}

/// All `hg` of the PATH, the first one first, no file twice.
pub fn clients() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = Vec::new();
    for folder in std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()) {
        if let Ok(hg) = folder.join("hg").canonicalize()
            && !found.contains(&hg)
        {
            found.push(hg);
        }
    }
    assert!(!found.is_empty(), "these tests need an hg on the PATH: `make client` makes one in .venv/bin");
    found
}

/// Runs `script` with both servers for each client, and compares all that the client said and what the server holds afterwards.
///
/// `hgrc` is the server repository's configuration.
#[track_caller]
pub fn compare(hgrc: &str, script: impl Fn(&mut World)) {
    compare_with(&[], hgrc, script);
}

/// As [`compare`]; each command, the one that makes the server's repository too, has this configuration.
#[track_caller]
pub fn compare_with(config: &'static [&'static str], hgrc: &str, script: impl Fn(&mut World)) {
    let mut clients = clients();
    if std::env::var_os("HGFLEET_TEST_CLIENTS").is_none_or(|which| which != "all") {
        clients.truncate(1);
    }
    for client in clients {
        let [stock, ours] = [Server::Stock, Server::Ours].map(|server| {
            let mut world = World::new(server, &client, config, hgrc);
            script(&mut world);
            let held = world.held();
            (world.transcript, held)
        });
        assert_same(&stock.0, &ours.0, &format!("what {} said", client.display()));
        assert_same(&stock.1, &ours.1, &format!("what the server holds after {}", client.display()));
    }
}

/// Panics with the first lines that differ.
#[track_caller]
fn assert_same(stock: &str, ours: &str, what: &str) {
    if stock == ours {
        return;
    }
    let differs = stock.lines().zip(ours.lines()).take_while(|(stock, ours)| stock == ours).count();
    let around = |text: &str| text.lines().skip(differs.saturating_sub(12)).take(30).collect::<Vec<_>>().join("\n");
    panic!("{what} differs from line {differs} on.\n--- stock\n{}\n--- ours\n{}\n", around(stock), around(ours));
}

impl World {
    fn new(server: Server, client: &Path, config: &'static [&'static str], hgrc: &str) -> World {
        let folder = tempfile::tempdir().expect("a folder");
        let stock = clients().swap_remove(0);
        let script = |name: &str, text: String| {
            let path = folder.path().join(name);
            fs::write(&path, text).expect("writes");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("permits");
        };
        script("ssh", "#!/bin/sh\nshift\nexec sh -c \"$*\"\n".into());
        let serve = match server {
            Server::Stock => format!("exec {} \"$@\"\n", stock.display()),
            Server::Ours => format!("exec {} serve -R \"$2\" --stdio\n", env!("CARGO_BIN_EXE_hgfleet")),
        };
        script("remote", format!("#!/bin/sh\n{serve}"));
        let world = World { folder, client: client.to_owned(), stock, config, transcript: String::new() };
        world.on_server(&["init", &world.server().display().to_string()]).ok();
        fs::write(world.server().join(".hg/hgrc"), hgrc).expect("writes");
        world
    }

    /// The server's repository.
    pub fn server(&self) -> PathBuf {
        self.folder.path().join("server")
    }

    /// A client's folder.
    pub fn path(&self, clone: &str) -> PathBuf {
        self.folder.path().join(clone)
    }

    /// A client's command; what it says is recorded.
    pub fn hg(&mut self, clone: &str, arguments: &[&str]) -> Said {
        let all = [&["-R", clone], arguments].concat();
        let said = match TALKS_TO_NOBODY.contains(&arguments[0]) {
            true => self.here(&self.client, &all),
            false => run(self.command(&self.client).args(all)),
        };
        let typed = self.without_paths(&format!("$ hg -R {clone} {arguments:?}"));
        let _ = writeln!(self.transcript, "{typed}\n{}[{}]", self.plain(&said), said.status);
        said
    }

    /// A client's command as it could be typed, for a hook of another one.
    pub fn typed(&self, clone: &str, arguments: &str) -> String {
        format!("cd {} && {} -R {clone} {arguments}", self.folder.path().display(), self.client.display())
    }

    /// A client's clone.
    pub fn clone(&mut self, name: &str) {
        let mut command = self.command(&self.client);
        command.args(["clone", "ssh://host/server", name]);
        let said = run(&mut command).ok();
        let _ = writeln!(self.transcript, "$ hg clone {name}\n{}", self.plain(&said));
    }

    /// A changeset that changes one file to a text of its own.
    pub fn commit(&mut self, clone: &str, file: &str, message: &str) {
        let path = self.path(clone).join(file);
        fs::create_dir_all(path.parent().expect("has one")).expect("makes folders");
        fs::write(&path, format!("{message}\n")).expect("writes");
        self.hg(clone, &["commit", "-q", "-A", "-m", message, "-d", "0 0"]).ok();
    }

    fn command(&self, hg: &Path) -> Command {
        let mut command = Command::new(hg);
        command.current_dir(self.folder.path()).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HGRCPATH", "/dev/null").env("HGPLAIN", "1").env("HGENCODING", "utf-8").env("LC_ALL", "C.UTF-8");
        command.args(self.settings());
        command
    }

    /// A command that needs no process of its own.
    fn here(&self, hg: &Path, arguments: &[&str]) -> Said {
        let settings = self.settings();
        let all: Vec<&str> = settings.iter().map(String::as_str).chain(arguments.iter().copied()).collect();
        run_here(hg, self.folder.path(), &all)
    }

    /// Of each command.
    fn settings(&self) -> Vec<String> {
        let folder = self.folder.path();
        let ssh = format!("ui.ssh={}", folder.join("ssh").display());
        let remote = format!("ui.remotecmd={}", folder.join("remote").display());
        let all = [&ssh, &remote, "ui.username=test", "devel.default-date=0 0", "ui.timeout=5"];
        all.iter().chain(self.config).flat_map(|config| ["--config".to_owned(), (*config).to_owned()]).collect()
    }

    /// A command of the stock server's `hg`, on this machine.
    pub fn on_server(&self, arguments: &[&str]) -> Said {
        self.here(&self.stock, arguments)
    }

    /// What it said, without the folder's name.
    fn plain(&self, said: &Said) -> String {
        self.without_paths(&format!("{}--\n{}", said.out, said.err))
    }

    fn without_paths(&self, text: &str) -> String {
        text.replace(&self.folder.path().display().to_string(), "FOLDER")
            .replace(&self.client.display().to_string(), "HG")
    }

    /// How many bytes the files of the server's repository have.
    pub fn store_bytes(&self) -> u64 {
        store::files(&self.server().join(".hg")).values().map(|content| content.len() as u64).sum()
    }

    /// All that the server's repository holds, as stock reads it; its verification has to succeed.
    ///
    /// A changeset's name is a hash over its manifest's name, and that one over the files' names, which the verification compares with what is stored.
    fn held(&self) -> String {
        const CHANGESET: &str = "{rev}:{node} {p1.node} {p2.node} {branch} {phase} {bookmarks} {user} {date|hgdate} {extras} {manifest} {files}\\n{desc}\\n";
        let server = self.server().display().to_string();
        let mut held = String::new();
        let mut tell = |arguments: &[&str]| {
            let mut all = vec!["-R", server.as_str(), "--config", "experimental.evolution=all"];
            all.extend(arguments);
            let said = self.on_server(&all);
            let _ = writeln!(held, "$ {arguments:?}\n{}[{}]", self.plain(&said), said.status);
            said
        };
        tell(&["log", "--hidden", "--debug", "-T", CHANGESET]).ok();
        tell(&["bookmarks"]).ok();
        tell(&["debugobsolete"]).ok();
        let verified = tell(&["verify", "-q"]);
        assert_eq!(verified.status, 0, "{verified:?}");
        held
    }
}
