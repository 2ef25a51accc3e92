//! A fleet in a folder of its own, on ports of its own.

use super::run::{Said, run};
use super::store;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The binary under test.
pub const HGFLEET: &str = env!("CARGO_BIN_EXE_hgfleet");

/// How long anything that should happen soon may take on a busy machine.
pub const SOON: Duration = Duration::from_secs(20);

/// A running fleet; ended, with everything of it, when dropped.
pub struct Fleet {
    folder: TempDir,
    process: Mutex<Option<Child>>,
    /// What its processes, and commands, find in their environment
    environment: Vec<(String, String)>,
    /// The servers with stores
    servers: Vec<String>,
    /// Folders below the data folder that are disks of their own, with their sizes in MiB.
    disks: Vec<(&'static str, u32)>,
    /// Port of the SSH door
    pub ssh_port: u16,
    /// Port that redirects
    pub http_port: u16,
    /// Port of the HTTPS door
    pub https_port: u16,
}

impl Fleet {
    /// Starts a fleet with one account, whose key is in its home folder.
    pub fn start() -> Fleet {
        Fleet::start_with(&[], "")
    }

    /// Starts one with these standbys, and with these lines in the configuration before its sections.
    pub fn start_with(standbys: &[&str], sections: &str) -> Fleet {
        let mut fleet = Fleet::prepare(standbys);
        if !standbys.is_empty() || !sections.is_empty() {
            fleet.configure(standbys, sections);
        }
        fleet.up(&[]);
        fleet
    }

    /// Starts a fleet of which some folders are small disks. `None`, with the reason printed, where nothing may be mounted.
    pub fn start_on_small_disks(disks: &[(&'static str, u32)]) -> Option<Fleet> {
        let tried = run(Command::new("unshare").args(["-rm", "mount", "-t", "tmpfs", "none", "/mnt"]));
        if tried.status != 0 {
            println!("left out, since no disk can be mounted here: {}", tried.err.trim());
            return None;
        }
        let mut fleet = Fleet::prepare(&[]);
        fleet.disks = disks.to_vec();
        fleet.up(&[]);
        Some(fleet)
    }

    fn prepare(standbys: &[&str]) -> Fleet {
        let folder = tempfile::Builder::new().prefix("hgfleet-test-").tempdir().expect("a folder");
        let ssh = folder.path().join("home/.ssh");
        std::fs::create_dir_all(&ssh).expect("made");
        std::fs::set_permissions(&ssh, std::fs::Permissions::from_mode(0o700)).expect("ours");
        run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(ssh.join("id_ed25519"))).ok();
        let servers =
            ["master", "mirror-1", "mirror-2"].iter().chain(standbys).map(|name| (*name).to_owned()).collect();
        let fleet = Fleet {
            folder,
            process: Mutex::default(),
            environment: Vec::new(),
            servers,
            disks: Vec::new(),
            ssh_port: free_port(),
            http_port: free_port(),
            https_port: free_port(),
        };
        std::fs::write(fleet.path("hgrc"), fleet.hgrc("id_ed25519")).expect("written");
        fleet
    }

    fn configure(&self, standbys: &[&str], sections: &str) {
        let entry = |section: &str, name: &str| format!("[[{section}]]\nname = \"{name}\"\n");
        let standbys = standbys.iter().map(|name| entry("standby", name));
        let mirrors = ["mirror-1", "mirror-2"].map(|name| entry("mirror", name));
        let text: String = [format!("{sections}\n")].into_iter().chain(standbys).chain(mirrors).collect();
        std::fs::create_dir(self.data()).expect("made");
        std::fs::write(self.data().join("hgfleet.toml"), text).expect("written");
    }

    /// Starts the fleet's processes, and waits until both doors answer.
    pub fn up(&mut self, environment: &[(&str, &str)]) {
        self.environment = environment.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        self.up_again();
    }

    /// Starts the processes again, with the same environment, and waits until both doors answer.
    pub fn up_again(&self) {
        let before = self.log().len();
        self.begin_again();
        self.wait_until("the fleet says that it is ready", |fleet| {
            let log = fleet.log();
            assert!(!log[before..].contains("The fleet is not whole"), "{log}");
            log[before..].contains("The fleet is ready")
        });
    }

    /// Starts the fleet's processes.
    pub fn begin(&mut self, environment: &[(&str, &str)]) {
        self.environment = environment.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        self.begin_again();
    }

    fn begin_again(&self) {
        let log = std::fs::File::options().create(true).append(true).open(self.path("up.log")).expect("a log");
        let address = |port: u16| format!("127.0.0.1:{port}");
        let mut program = Command::new(HGFLEET);
        if !self.disks.is_empty() {
            let mount = |(name, size): &(&str, u32)| {
                let folder = self.path("data").join(name);
                format!("mkdir -p {0} && mount -t tmpfs -o size={size}m none {0} && ", folder.display())
            };
            let mounts: String = self.disks.iter().map(mount).collect();
            program = Command::new("unshare");
            program.args(["-rm", "sh", "-c", &format!("{mounts} exec \"$0\" \"$@\""), HGFLEET]);
        }
        let process = program
            .arg("up")
            .arg("--data")
            .arg(self.path("data"))
            .args(["--ssh", &address(self.ssh_port)])
            .args(["--http", &address(self.http_port)])
            .args(["--https", &address(self.https_port)])
            .env("HOME", self.path("home"))
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .expect("the fleet starts");
        *self.process() = Some(process);
    }

    /// Asks the fleet to end, as Ctrl-C does, and waits for it.
    pub fn down(&mut self) {
        let Some(mut process) = self.process().take() else { return };
        run(Command::new("kill").args(["-TERM", &process.id().to_string()])).ok();
        let start = Instant::now();
        while process.try_wait().expect("ours").is_none() {
            assert!(start.elapsed() < Duration::from_secs(15), "the fleet does not end: {}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Kills the supervisor, which takes everything of the fleet with it.
    pub fn kill(&mut self) {
        self.end_supervisor();
    }

    /// Kills the supervisor.
    pub fn end_supervisor(&self) {
        if let Some(mut process) = self.process().take() {
            drop(process.kill());
            drop(process.wait());
        }
    }

    fn process(&self) -> MutexGuard<'_, Option<Child>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn supervisor(&self) -> Option<u32> {
        self.process().as_ref().map(Child::id)
    }

    /// A path in the test's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The data folder, as the fleet sees it.
    pub fn data(&self) -> PathBuf {
        match self.supervisor() {
            Some(process) if !self.disks.is_empty() => {
                let below = self.path("data");
                let below = below.strip_prefix("/").expect("an absolute path");
                PathBuf::from(format!("/proc/{process}/root")).join(below)
            }
            _ => self.path("data"),
        }
    }

    /// What the fleet has logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("up.log")).unwrap_or_default()
    }

    /// Runs `hgfleet ARGUMENTS --config …`.
    #[track_caller]
    pub fn hgfleet(&self, arguments: &[&str]) -> Said {
        self.hgfleet_then(arguments, &[])
    }

    /// The same, with a command behind `--`.
    #[track_caller]
    pub fn hgfleet_then(&self, arguments: &[&str], command: &[&str]) -> Said {
        let mut program = Command::new(HGFLEET);
        if let Some(process) = self.supervisor().filter(|_| !self.disks.is_empty()) {
            program = Command::new("nsenter");
            program.args(["-U", "-m", "--preserve-credentials", "-t", &process.to_string(), HGFLEET]);
        }
        let config = self.path("data/hgfleet.toml");
        let program = program.args(arguments).arg("--config").arg(config).env("HOME", self.path("home"));
        if !command.is_empty() {
            program.arg("--").args(command);
        }
        run(program.envs(self.environment.iter().cloned()))
    }

    /// One role as a process of its own, not yet started.
    pub fn role(&self, role: &str, name: &str) -> Command {
        let log = std::fs::File::options().create(true).append(true).open(self.path("up.log")).expect("a log");
        let mut program = Command::new(HGFLEET);
        program.args([role, "--name", name, "--config"]).arg(self.path("data/hgfleet.toml"));
        program.env("HOME", self.path("home")).envs(self.environment.iter().cloned()).stdin(Stdio::null());
        program.stdout(log.try_clone().expect("a second handle")).stderr(log);
        program
    }

    /// `status --json`, or null where it can't be had yet.
    pub fn status(&self) -> serde_json::Value {
        if !self.data().join("hgfleet.toml").exists() {
            return serde_json::Value::Null;
        }
        let said = self.hgfleet(&["status", "--json"]);
        serde_json::from_str(&said.out).unwrap_or_default()
    }

    /// One server's entry in `status --json`.
    #[track_caller]
    pub fn server(&self, name: &str) -> serde_json::Value {
        let status = self.status();
        let servers = status["servers"].as_array().cloned().unwrap_or_default();
        servers.into_iter().find(|server| server["name"] == name).unwrap_or_else(|| panic!("no {name} in {status}"))
    }

    /// Runs the stock client.
    #[track_caller]
    pub fn hg(&self, arguments: &[&str]) -> Said {
        run(&mut self.hg_command(arguments))
    }

    /// The stock client, not yet started, in the test's folder.
    pub fn hg_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("hg");
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env("HGRCPATH", self.path("hgrc"))
            .env("HGPLAIN", "1")
            .env("HGENCODING", "UTF-8")
            .env("HOME", self.path("home"));
        command
    }

    /// Runs OpenSSH's client with the account's key and this command line.
    #[track_caller]
    pub fn ssh(&self, command: &str) -> Said {
        run(self.ssh_command().arg(command))
    }

    /// OpenSSH's client with the account's key, without a command.
    pub fn ssh_command(&self) -> Command {
        let mut ssh = Command::new("ssh");
        ssh.args(["-p", &self.ssh_port.to_string()])
            .args(ssh_options())
            .arg("-i")
            .arg(self.path("home/.ssh/id_ed25519"))
            .arg("hg@127.0.0.1");
        ssh
    }

    /// A configuration for the client, with a key from the home folder.
    pub fn hgrc(&self, key: &str) -> String {
        format!(
            "[ui]\nusername = Test <test@example.org>\nssh = ssh {} -i {}\n[web]\ncacerts = {}\n[devel]\ndefault-date = 1700000000 0\n",
            ssh_options().join(" "),
            self.path("home/.ssh").join(key).display(),
            self.data().join("ca.pem").display(),
        )
    }

    /// Where one pushes.
    pub fn ssh_url(&self, name: &str) -> String {
        format!("ssh://hg@127.0.0.1:{}/{name}", self.ssh_port)
    }

    /// Where one pulls.
    pub fn https_url(&self, name: &str) -> String {
        format!("https://localhost:{}/{name}", self.https_port)
    }

    /// Sends a signal to a server's process, and returns its number.
    #[track_caller]
    pub fn signal(&self, server: &str, signal: &str) -> u64 {
        let pid = self.server(server)["pid"].as_u64().expect("a process");
        kill(signal, pid);
        pid
    }

    /// Sends a signal to the supervisor: one that is stopped starts nothing again.
    #[track_caller]
    pub fn signal_supervisor(&self, signal: &str) {
        kill(signal, u64::from(self.supervisor().expect("it runs")));
    }

    /// The same, where it may have gone.
    pub fn signal_supervisor_if_any(&self, signal: &str) {
        if let Some(process) = self.supervisor() {
            kill(signal, u64::from(process));
        }
    }

    /// The copies of a repository: the master's and each mirror's.
    pub fn copies(&self, name: &str) -> Vec<PathBuf> {
        self.servers.iter().map(|server| self.data().join(server).join("repos").join(name)).collect()
    }

    /// Waits until every copy has the log's last record, then panics unless all are the same bytes and `hg verify` is clean.
    #[track_caller]
    pub fn assert_one_store(&self, name: &str) {
        self.wait_until("every server is at the log's end", |fleet| {
            let status = fleet.status();
            let end = &status["log"]["sequence"];
            !end.is_null()
                && status["servers"].as_array().is_some_and(|servers| {
                    servers
                        .iter()
                        .filter(|server| server["role"] != "balancer")
                        .all(|server| &server["position"] == end)
                })
        });
        let copies = self.copies(name);
        for copy in &copies {
            store::assert_equal(&copies[0].join(".hg"), &copy.join(".hg"));
        }
        for (copy, server) in copies.iter().zip(&self.servers) {
            // `hg` looks for the real path, which a disk of the fleet's own has not for others; the bytes are the same.
            if !self.disks.iter().any(|(name, _)| name == server) {
                let seen = self.path("data").join(copy.strip_prefix(self.data()).expect("below it"));
                self.hg(&["verify", "-q", "-R", seen.to_str().expect("UTF-8")]).ok();
            }
        }
    }

    /// Whether all these servers are in service.
    pub fn is_whole(&self, servers: &[&str]) -> bool {
        servers.iter().all(|name| self.server(name)["state"] == "in-service")
    }

    /// Waits until they are.
    #[track_caller]
    pub fn wait_until_whole(&self, servers: &[&str]) {
        self.wait_until("every server is in service", |fleet| fleet.is_whole(servers));
    }

    /// `curl` that trusts the fleet's authority, not yet started.
    pub fn curl(&self) -> Command {
        let mut curl = Command::new("curl");
        curl.args(["-s", "--cacert"]).arg(self.data().join("ca.pem"));
        curl
    }

    /// Waits, up to [`SOON`].
    #[track_caller]
    pub fn wait_until(&self, what: &str, mut holds: impl FnMut(&Fleet) -> bool) {
        let start = Instant::now();
        while !holds(self) {
            assert!(
                start.elapsed() < SOON,
                "not within {SOON:?}: {what}\nstatus: {:#}\nlog: {}",
                self.status(),
                self.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// A working copy of a fresh local repository in the test's folder.
    pub fn init(&self, name: &str) -> WorkingCopy<'_> {
        self.hg(&["init", name]).ok();
        WorkingCopy { fleet: self, path: self.path(name) }
    }

    /// A working copy that is there already.
    pub fn working_copy(&self, name: &str) -> WorkingCopy<'_> {
        WorkingCopy { fleet: self, path: self.path(name) }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("the fleet's log:\n{}", self.log());
        }
    }
}

/// A local repository that a developer works in.
pub struct WorkingCopy<'f> {
    fleet: &'f Fleet,
    /// Its folder
    pub path: PathBuf,
}

impl WorkingCopy<'_> {
    /// Runs the stock client in it.
    #[track_caller]
    pub fn hg(&self, arguments: &[&str]) -> Said {
        run(&mut self.command(arguments))
    }

    /// The stock client, not yet started, in it.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.fleet.hg_command(arguments);
        command.current_dir(&self.path);
        command
    }

    /// Writes a file and commits everything.
    #[track_caller]
    pub fn commit(&self, file: &str, content: impl AsRef<[u8]>, message: &str) {
        write(&self.path.join(file), content.as_ref());
        self.hg(&["commit", "-q", "-A", "-m", message]).ok();
    }

    /// Pushes everything over SSH.
    #[track_caller]
    pub fn push(&self, name: &str) -> Said {
        self.hg(&["push", &self.fleet.ssh_url(name)])
    }

    /// Every changeset as `hg log --debug` shows it, by node and not by number.
    pub fn log(&self) -> String {
        history(self.fleet, &self.path)
    }
}

/// Every changeset of a repository with all that a clone should carry over, sorted, free of revision numbers.
pub fn history(fleet: &Fleet, repository: &Path) -> String {
    let template = "{node} {p1node} {p2node} {manifest} {phase} {branch} {extras} {author} {date|hgdate} {files} {tags} {bookmarks} {desc|json}\n";
    let said = fleet.hg(&["log", "-R", repository.to_str().expect("UTF-8"), "--debug", "-T", template]).ok();
    let mut lines: Vec<String> = said
        .out
        .lines()
        .map(|line| {
            line.split(' ')
                .map(|word| {
                    word.split_once(':').filter(|(rev, _)| rev.parse::<i64>().is_ok()).map_or(word, |(_, node)| node)
                })
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect();
    lines.sort();
    lines.join("\n")
}

fn write(path: &Path, content: &[u8]) {
    std::fs::create_dir_all(path.parent().expect("in a folder")).expect("made");
    std::fs::write(path, content).expect("written");
}

/// Options that make OpenSSH's client neither ask nor remember.
pub fn ssh_options() -> Vec<&'static str> {
    vec![
        "-oStrictHostKeyChecking=no",
        "-oUserKnownHostsFile=/dev/null",
        "-oLogLevel=ERROR",
        "-oIdentitiesOnly=yes",
        "-oBatchMode=yes",
    ]
}

/// Sends a signal to a process.
#[track_caller]
pub fn kill(signal: &str, pid: u64) {
    run(Command::new("kill").args([&format!("-{signal}"), &pid.to_string()])).ok();
}

/// A TCP port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}
