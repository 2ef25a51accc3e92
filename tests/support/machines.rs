//! A fleet of three machines, set up as `docs/several-machines.md` says: each machine is a network namespace with a folder of its own as
//! `/srv`, and one more is where its users are.

use super::clients::Clients;
use super::fleet::HGFLEET;
use super::guide::Guide;
use super::nats;
use super::network::Network;
use super::run::{Said, run};
use super::status::nothing_ails;
use super::store;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The machines of the fleet.
pub const MACHINES: [&str; 3] = ["m1", "m2", "m3"];
/// The namespace that users are in.
const USERS: &str = "users";
/// The servers that `status` shows, with their machines.
pub const SERVERS: [(&str, &str); 7] = [
    ("master", "m1"),
    ("standby-1", "m2"),
    ("mirror-1", "m1"),
    ("mirror-2", "m2"),
    ("mirror-3", "m3"),
    ("balancer-1", "m1"),
    ("balancer-2", "m2"),
];
/// Those with stores.
const STORES: [(&str, &str); 5] =
    [("master", "m1"), ("standby-1", "m2"), ("mirror-1", "m1"), ("mirror-2", "m2"), ("mirror-3", "m3")];
/// The name by which users know the fleet, as in the guide.
const HOST: &str = "hg.example.org";
/// How long anything that should happen by itself may take.
const BY_ITSELF: Duration = Duration::from_secs(90);

/// The fleet; ended, with its networks, when dropped.
pub struct Machines {
    /// What they send to each other
    pub network: Network,
    /// The clients by the door of `m1`, and by that of `m2`
    pub doors: Vec<Clients>,
    folder: TempDir,
    /// Each with its machine and the command line
    services: BTreeMap<String, (String, Vec<String>)>,
    running: Mutex<BTreeMap<String, Child>>,
    environment: Vec<(String, String)>,
}

impl Machines {
    /// Does what the guide says, up to the point at which all runs; `change` may alter the configuration. `None` where no networks can be made.
    pub fn as_the_guide_says(change: impl Fn(String) -> String, environment: &[(&str, &str)]) -> Option<Machines> {
        let network = Network::of(&[&MACHINES[..], &[USERS]].concat())?;
        let folder = tempfile::Builder::new().prefix("hgfleet-test-").tempdir().expect("a folder");
        let guide = Guide::read();
        for machine in MACHINES {
            let srv = folder.path().join(machine);
            std::fs::create_dir_all(srv.join("hgfleet")).expect("made");
            let own =
                guide.nats.replacen("m1", machine, 1).replacen(&network.address("m1"), &network.address(machine), 1);
            std::fs::write(srv.join("nats.conf"), own).expect("written");
        }
        let doors = ["m1", "m2"].map(|door| {
            let hosts = folder.path().join(format!("hosts-{door}"));
            std::fs::write(&hosts, format!("127.0.0.1 localhost\n{} {HOST}\n", network.address(door)))
                .expect("written");
            let place = network.place(USERS, &[(hosts, "/etc/hosts")]);
            Clients::elsewhere(folder.path(), &folder.path().join("m1/hgfleet/ca.pem"), HOST, place)
        });
        let mut services = BTreeMap::new();
        for (machine, line) in &guide.services {
            let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            services.insert(name_of(machine, &words), (machine.clone(), words));
        }
        let machines = Machines {
            network,
            doors: doors.into(),
            folder,
            services,
            running: Mutex::default(),
            environment: environment.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
        };
        std::fs::write(machines.path("m1/hgfleet/hgfleet.toml"), change(guide.config)).expect("written");
        for line in &guide.prepare {
            let words: Vec<&str> = line.split_whitespace().collect();
            machines.hgfleet("m1", &words[1..]).ok();
        }
        machines.carry();
        for name in machines.services.keys() {
            machines.start(name);
        }
        Some(machines)
    }

    /// Carries to the other machines what they need.
    fn carry(&self) {
        let one = self.path("m1/hgfleet");
        for machine in ["m2", "m3"] {
            let there = self.path(machine).join("hgfleet");
            for file in ["hgfleet.toml", "ca.pem", "directory.ldif"] {
                std::fs::copy(one.join(file), there.join(file)).expect("copied");
            }
            std::fs::rename(one.join(format!("for-{machine}")), there.join("keys")).expect("carried over");
        }
        for file in ["https.certificate", "https.key", "ssh_host_ed25519_key"] {
            std::fs::copy(one.join("keys").join(file), self.path("m2/hgfleet/keys").join(file)).expect("copied");
        }
    }

    /// A path in the fleet's folder: `m1` is the `/srv` of that machine.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A program on a machine, not yet started, in the folder of hgfleet.
    fn program(&self, machine: &str, words: &[String]) -> Command {
        let name = match words[0].as_str() {
            "hgfleet" => HGFLEET.to_owned(),
            "nats-server" => nats::program().to_str().expect("UTF-8").to_owned(),
            other => panic!("the guide starts {other}"),
        };
        let place = self.network.place(machine, &[(self.path(machine), "/srv")]);
        let mut command = Command::new(&place[0]);
        // The folder is entered by its new name.
        command.args(&place[1..]).args(["env", "-C", "/srv/hgfleet", &name]).args(&words[1..]);
        command.env("HOME", self.path("home")).envs(self.environment.iter().cloned());
        command
    }

    /// Runs `hgfleet ARGUMENTS` on a machine.
    #[track_caller]
    pub fn hgfleet(&self, machine: &str, arguments: &[&str]) -> Said {
        let words: Vec<String> = ["hgfleet"].iter().chain(arguments).map(|word| (*word).to_owned()).collect();
        run(&mut self.program(machine, &words))
    }

    /// Names of all services, as they are started and ended here.
    pub fn services(&self) -> Vec<&str> {
        self.services.keys().map(String::as_str).collect()
    }

    /// Names of a machine's services.
    pub fn services_of(&self, machine: &str) -> Vec<&str> {
        self.services.iter().filter(|(_, (on, _))| on == machine).map(|(name, _)| name.as_str()).collect()
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<String, Child>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a service.
    pub fn start(&self, name: &str) {
        let (machine, words) = &self.services[name];
        let log = std::fs::File::options().create(true).append(true).open(self.path(&format!("{machine}.log")));
        let mut program = self.program(machine, words);
        program.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log.expect("a log"));
        self.running().insert(name.to_owned(), program.spawn().expect("it starts"));
    }

    /// Starts a service that was killed, unless that was done already.
    pub fn start_unless_it_runs(&self, name: &str) {
        if !self.running().contains_key(name) {
            self.start(name);
        }
    }

    /// Starts what has ended, as a service manager does.
    pub fn start_again(&self) {
        let ended: Vec<String> = self
            .running()
            .iter_mut()
            .filter_map(|(name, child)| child.try_wait().expect("ours").map(|_| name.clone()))
            .collect();
        ended.iter().for_each(|name| self.start(name));
    }

    /// Sends a signal to a service.
    pub fn signal(&self, name: &str, signal: &str) {
        let pid = self.running()[name].id();
        let _ = Command::new("kill").args([signal, &pid.to_string()]).stderr(Stdio::null()).status();
    }

    /// Kills services. They stay away until they are started.
    pub fn kill(&self, names: &[&str]) {
        let mut running = self.running();
        for name in names {
            if let Some(mut child) = running.remove(*name) {
                drop(child.kill());
                drop(child.wait());
            }
        }
    }

    /// What a machine's servers have logged.
    pub fn log(&self) -> String {
        let log = |machine: &str| std::fs::read_to_string(self.path(&format!("{machine}.log"))).unwrap_or_default();
        MACHINES.map(|machine| format!("--- {machine}\n{}", log(machine))).concat()
    }

    /// `status --json` on a machine, or null where it can't be had.
    pub fn status(&self, machine: &str) -> serde_json::Value {
        let said = self.hgfleet(machine, &["status", "--json"]);
        serde_json::from_str(&said.out).unwrap_or_default()
    }

    /// The server that holds the lease, as a machine sees it; the configuration's master where nobody says.
    pub fn master(&self, machine: &str) -> &'static str {
        let status = self.status(machine);
        let holder = status["lease"]["holder"].as_str().unwrap_or_default();
        if holder == "standby-1" { "standby-1" } else { "master" }
    }

    /// Gives a command on the master's machine.
    pub fn hgfleet_on_master(&self, arguments: &[&str]) -> Said {
        let machine = if self.master("m1") == "standby-1" { "m2" } else { "m1" };
        self.hgfleet(machine, arguments)
    }

    /// Whether every server is in service, and nothing ails any, as a machine sees it.
    pub fn is_whole(&self, machine: &str) -> bool {
        nothing_ails(&self.status(machine), SERVERS.map(|(name, _)| name))
    }

    /// Waits until every server is in service.
    #[track_caller]
    pub fn wait_until_whole(&self) {
        self.wait_until("every server is in service", |machines| machines.is_whole("m1"));
    }

    /// Waits; what ends by itself meanwhile is started again. Returns how long it took.
    #[track_caller]
    pub fn wait_until(&self, what: &str, mut holds: impl FnMut(&Machines) -> bool) -> Duration {
        let begun = Instant::now();
        while !holds(self) {
            self.start_again();
            assert!(begun.elapsed() < BY_ITSELF, "not within {BY_ITSELF:?}: {what}\nstatus: {:#}", self.status("m1"));
            std::thread::sleep(Duration::from_millis(50));
        }
        begun.elapsed()
    }

    /// The copies of a repository.
    pub fn copies(&self, repository: &str) -> Vec<PathBuf> {
        STORES
            .iter()
            .map(|(name, machine)| self.path(machine).join("hgfleet").join(name).join("repos").join(repository))
            .collect()
    }

    /// Waits until every copy has the log's last record, then panics unless all are the same bytes and `hg verify` is clean.
    #[track_caller]
    pub fn assert_one_store(&self, repository: &str) {
        self.wait_until("every server is at the log's end", |machines| {
            let status = machines.status("m1");
            let end = &status["log"]["sequence"];
            let is_there = |name: &str| {
                let servers = status["servers"].as_array().map_or(&[][..], Vec::as_slice);
                servers.iter().any(|server| server["name"] == name && &server["position"] == end)
            };
            !end.is_null() && STORES.iter().all(|(name, _)| is_there(name))
        });
        let copies = self.copies(repository);
        for copy in &copies {
            store::assert_equal(&copies[0].join(".hg"), &copy.join(".hg"));
            self.doors[0].hg(&["verify", "-q", "-R", text(copy)]).ok();
        }
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        for child in self.running().values_mut() {
            drop(child.kill());
            drop(child.wait());
        }
        if std::thread::panicking() {
            eprintln!("the fleet's log:\n{}", self.log());
        }
    }
}

/// What a service is called here: its server's name, or what it is and its machine.
fn name_of(machine: &str, words: &[String]) -> String {
    let named = words.iter().position(|word| word == "--name").map(|at| words[at + 1].clone());
    match (named, words[0].as_str(), words.get(1).map(String::as_str)) {
        (Some(name), ..) => name,
        (None, "nats-server", _) => format!("nats-{machine}"),
        (None, _, Some("tunnel")) => format!("tunnel-{machine}"),
        (None, _, Some(role)) => role.to_owned(),
        (None, ..) => panic!("what service is {words:?}?"),
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}
