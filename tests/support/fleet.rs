//! A fleet in a folder of its own, on ports of its own.

use super::clients::Clients;
use super::run::{Said, run};
use super::store;
use std::net::TcpListener;
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
    clients: Clients,
    /// Port that redirects
    pub http_port: u16,
}

/// A fleet on one machine has one door, and its clients are whoever comes.
impl std::ops::Deref for Fleet {
    type Target = Clients;

    fn deref(&self) -> &Clients {
        &self.clients
    }
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

    /// Starts one whose master and standbys share a volume: a folder beside the data folder, called `volume`. `sections` gets
    /// the test's folder.
    pub fn start_on_a_volume(standbys: &[&str], sections: impl FnOnce(&Path) -> String) -> Fleet {
        let mut fleet = Fleet::prepare(standbys);
        fleet.servers = ["volume", "mirror-1", "mirror-2"].map(str::to_owned).to_vec();
        let volume = fleet.volume();
        std::fs::create_dir_all(&volume).expect("made");
        let master = format!("[master]\nvolume = \"{}\"\n{}", volume.display(), sections(fleet.folder.path()));
        fleet.configure(standbys, &master);
        fleet.up_with_steps();
        fleet
    }

    /// Starts one with these sections that stops at the steps whose names lie in [`steps`](Self::steps).
    pub fn start_with_steps(sections: &str) -> Fleet {
        let mut fleet = Fleet::prepare(&[]);
        fleet.configure(&[], sections);
        fleet.up_with_steps();
        fleet
    }

    fn up_with_steps(&mut self) {
        std::fs::create_dir(self.steps()).expect("made");
        self.up(&[("HGFLEET_STOP_AT", self.steps().to_str().expect("UTF-8"))]);
    }

    /// The folder of `HGFLEET_STOP_AT`, where the fleet has one.
    pub fn steps(&self) -> PathBuf {
        self.path("stop-at")
    }

    /// The folder that master and standby share, where they do.
    pub fn volume(&self) -> PathBuf {
        self.data().join("volume")
    }

    /// The trees of the volume, the oldest first.
    pub fn trees(&self) -> Vec<u64> {
        trees_of(&self.volume())
    }

    /// Where a repository lies in a tree.
    pub fn in_tree(&self, tree: u64, name: &str) -> PathBuf {
        self.volume().join(format!("e{tree}/repos")).join(name)
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
        let servers =
            ["master", "mirror-1", "mirror-2"].iter().chain(standbys).map(|name| (*name).to_owned()).collect();
        let clients = Clients::on_this_machine(folder.path(), free_port(), free_port());
        Fleet {
            folder,
            process: Mutex::default(),
            environment: Vec::new(),
            servers,
            disks: Vec::new(),
            clients,
            http_port: free_port(),
        }
    }

    fn configure(&self, standbys: &[&str], sections: &str) {
        let entry = |section: &str, name: &str| format!("[[{section}]]\nname = \"{name}\"\n");
        let standbys = standbys.iter().map(|name| entry("standby", name));
        let mirrors = ["mirror-1", "mirror-2"].map(|name| entry("mirror", name));
        let text: String = [format!("{sections}\n")].into_iter().chain(standbys).chain(mirrors).collect();
        std::fs::create_dir_all(self.data()).expect("made");
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
        let newest = || self.trees().into_iter().rev().map(|tree| self.in_tree(tree, name)).find(|path| path.exists());
        let place = |server: &String| match server.as_str() {
            "volume" => newest().expect("a tree has it"),
            server => self.data().join(server).join("repos").join(name),
        };
        self.servers.iter().map(place).collect()
    }

    /// Waits until every copy has the log's last record, then panics unless all are the same bytes, of which `hg verify` says that they are whole.
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
        // What stock says of one it says of all: they are the same bytes.
        // It looks for the real path, which a disk of the fleet's own has not for others.
        let is_on_disk = |server: &String| self.disks.iter().any(|(name, _)| name == server);
        if let Some((copy, _)) = copies.iter().zip(&self.servers).find(|(_, server)| !is_on_disk(server)) {
            let below = copy.strip_prefix(self.data());
            let seen = below.map_or_else(|_| copy.clone(), |below| self.path("data").join(below));
            // Without the extension stock opens no repository that has largefiles; with it nothing else is looked at.
            let requires = std::fs::read_to_string(seen.join(".hg/store/requires")).unwrap_or_default();
            let extension = match requires.contains("largefiles") {
                true => &["--config", "extensions.largefiles="][..],
                false => &[],
            };
            self.hg_here(&seen, &[extension, &["verify", "-q"]].concat()).ok();
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
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("the fleet's log:\n{}", self.log());
        }
    }
}

/// The trees of a volume, the oldest first.
pub fn trees_of(volume: &Path) -> Vec<u64> {
    let entries = std::fs::read_dir(volume).expect("readable").map(|entry| entry.expect("readable"));
    let number = |name: &str| name.strip_prefix('e').and_then(|number| number.parse().ok());
    let mut trees: Vec<u64> = entries.filter_map(|entry| number(entry.file_name().to_str()?)).collect();
    trees.sort_unstable();
    trees
}

/// Sends a signal to a process.
#[track_caller]
pub fn kill(signal: &str, pid: u64) {
    run(Command::new("kill").args([&format!("-{signal}"), &pid.to_string()])).ok();
}

/// Lets a stopped process go on, if it has not been ended meanwhile (as who holds a lock of the log is).
pub fn wake(pid: u64) {
    drop(run(Command::new("kill").args(["-CONT", &pid.to_string()])));
}

/// A TCP port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}
