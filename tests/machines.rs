//! A fleet of two machines: each has its own folder, its own sockets, and a tunnel to the other. The log is in NATS.

use crate::support::fleet::free_port;
use crate::support::nats;
use crate::support::networks::Networks;
use crate::support::run::{Said, run};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const HGFLEET: &str = env!("CARGO_BIN_EXE_hgfleet");
const SERVERS: [&str; 6] = ["balancer-1", "balancer-2", "master", "mirror-1", "mirror-2", "standby-1"];

/// A process of the fleet, which ends with the test.
pub struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Two machines of one fleet.
pub struct Machines {
    folder: tempfile::TempDir,
    /// Their networks, where they have any of their own.
    networks: Option<Networks>,
    /// Their addresses.
    hosts: [String; 2],
    /// Of each machine's balancer: SSH and HTTPS.
    ports: [(u16, u16); 2],
}

impl Machines {
    /// Makes both machines' folders as the guide says; nothing runs yet.
    fn new(log: &str) -> Machines {
        Machines::in_networks(log, None, |_| String::new())
    }

    /// The same with each in a network of its own, and with more in the section of the master, which gets the test's folder.
    pub fn in_networks(log: &str, networks: Option<Networks>, more: impl FnOnce(&Path) -> String) -> Machines {
        let folder = tempfile::Builder::new().prefix("hgfleet-test-").tempdir().expect("a folder");
        let host = |machine| networks.as_ref().map_or_else(|| "127.0.0.1".to_owned(), |all| all.address(machine));
        let hosts = [host(0), host(1)];
        let ports = [(free_port(), free_port()), (free_port(), free_port())];
        let more = more(folder.path());
        let machines = Machines { folder, networks, hosts, ports };
        let [first, second] = &machines.hosts;
        let ssh = machines.path("home/.ssh");
        std::fs::create_dir_all(&ssh).expect("made");
        run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(ssh.join("id_ed25519"))).ok();
        let sections = format!(
            "[log]\nbackend = 'jetstream'\nservers = ['{log}']\nreplicas = 1\n[master]\nlease_ms = 3000\n{more}\
             [[standby]]\nname = 'standby-1'\n[[mirror]]\nname = 'mirror-1'\n[[mirror]]\nname = 'mirror-2'\n\
             [[balancer]]\nname = 'balancer-1'\n[[balancer]]\nname = 'balancer-2'\n\
             [[machine]]\nname = 'm1'\naddress = '{first}:{}'\nservers = ['master', 'mirror-1', 'balancer-1']\n\
             [[machine]]\nname = 'm2'\naddress = '{second}:{}'\nservers = ['standby-1', 'mirror-2', 'balancer-2']\n",
            free_port(),
            free_port()
        );
        for ((machine, (ssh, https)), host) in ["m1", "m2"].into_iter().zip(machines.ports).zip(&machines.hosts) {
            let doors = format!(
                "[ssh]\nlisten = '{host}:{ssh}'\n[http]\nlisten = '{host}:{}'\nlisten_https = '{host}:{https}'\n",
                free_port()
            );
            std::fs::create_dir(machines.path(machine)).expect("made");
            std::fs::write(machines.path(machine).join("hgfleet.toml"), sections.clone() + &doors).expect("written");
        }
        let (one, two) = (machines.path("m1"), machines.path("m2"));
        let told = |arguments: &[&str]| {
            run(Command::new(HGFLEET).args(arguments).env("HOME", machines.path("home")).current_dir(&one)).ok()
        };
        told(&["init", "--data", "."]);
        told(&["machine-keys", "m1"]);
        std::fs::create_dir(two.join("keys")).expect("made");
        for file in
            ["ca.pem", "directory.ldif", "keys/https.certificate", "keys/https.key", "keys/ssh_host_ed25519_key"]
        {
            std::fs::copy(one.join(file), two.join(file)).expect("copied");
        }
        told(&["machine-keys", "m2", "--out", two.join("keys").to_str().expect("UTF-8")]);
        machines
    }

    /// A path in the test's folder, which has a folder of each machine.
    pub fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// Starts a role on a machine.
    pub fn start(&self, machine: &str, arguments: &[&str]) -> Running {
        let log = std::fs::File::options().create(true).append(true).open(self.path(&format!("{machine}.log")));
        let mut command = match &self.networks {
            Some(networks) => networks.command(usize::from(machine == "m2"), HGFLEET),
            None => Command::new(HGFLEET),
        };
        command.args(arguments).current_dir(self.path(machine)).stdin(Stdio::null()).stdout(Stdio::null());
        Running(command.stderr(log.expect("a log")).spawn().expect("hgfleet starts"))
    }

    /// Gives a command with a machine's configuration.
    pub fn hgfleet(&self, machine: &str, arguments: &[&str]) -> Said {
        run(Command::new(HGFLEET).args(arguments).current_dir(self.path(machine)))
    }

    /// Runs the stock client.
    pub fn hg(&self, arguments: &[&str]) -> Said {
        let ssh = format!(
            "ui.ssh=ssh -i {} -oStrictHostKeyChecking=no -oUserKnownHostsFile=/dev/null -oLogLevel=ERROR",
            self.path("home/.ssh/id_ed25519").display()
        );
        let authority = format!("web.cacerts={}", self.path("m1/ca.pem").display());
        let mut command = Command::new("hg");
        command.args(["--config", &ssh, "--config", &authority, "--config", "ui.username=somebody"]).args(arguments);
        run(command.env("HGRCPATH", "/dev/null").env("HGPLAIN", "1").current_dir(self.folder.path()))
    }

    /// Commits in the working copy `work`.
    pub fn commit(&self, content: &str) {
        std::fs::write(self.path("work/file"), content).expect("written");
        self.hg(&["-R", "work", "commit", "-q", "-A", "-m", content, "work"]).ok();
    }

    /// Pushes through one machine's balancer.
    pub fn push(&self, balancer: usize) -> Said {
        self.hg(&["-R", "work", "push", &format!("ssh://hg@{}:{}/one", self.hosts[balancer], self.ports[balancer].0)])
    }

    /// The tip as one machine's balancer shows it.
    fn tip(&self, balancer: usize) -> String {
        self.hg(&["identify", "--id", &format!("https://localhost:{}/one", self.ports[balancer].1)]).ok().out
    }

    /// A server's entry in `status --json`.
    pub fn server(&self, name: &str) -> serde_json::Value {
        let said = self.hgfleet("m1", &["status", "--json"]);
        let status: serde_json::Value = serde_json::from_str(&said.out).unwrap_or_default();
        let servers = status["servers"].as_array().cloned().unwrap_or_default();
        servers.into_iter().find(|server| server["name"] == name).unwrap_or_default()
    }

    /// The networks, where the machines have any of their own.
    pub fn networks(&self) -> Option<&Networks> {
        self.networks.as_ref()
    }

    /// Starts all that runs on a machine.
    pub fn start_all(&self, machine: &str) -> Vec<Running> {
        let number = if machine == "m1" { "1" } else { "2" };
        let master = if machine == "m1" { "master" } else { "standby-1" };
        let (mirror, balancer) = (format!("mirror-{number}"), format!("balancer-{number}"));
        let roles = [
            &["master", "--name", master][..],
            &["mirror", "--name", &mirror],
            &["balancer", "--name", &balancer],
            &["tunnel", "--machine", machine],
        ];
        roles.map(|arguments| self.start(machine, arguments)).into()
    }

    /// Waits, up to 30 s.
    #[track_caller]
    pub fn wait_until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let start = Instant::now();
        while !holds() {
            let log = |machine: &str| std::fs::read_to_string(self.path(&format!("{machine}.log"))).unwrap_or_default();
            assert!(start.elapsed() < Duration::from_secs(30), "waited in vain: {what}\n{}{}", log("m1"), log("m2"));
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until every server is in service.
    pub fn wait_until_whole(&self) {
        self.wait_until("every server is in service", || {
            SERVERS.iter().all(|name| self.server(name)["state"] == "in-service")
        });
    }
}

#[test]
fn two_machines_are_one_fleet_outlive_a_cut_between_them_and_hand_over() {
    let log = nats::Server::alone("");
    let machines = Machines::new(&log.url());
    let refused = machines.hgfleet("m1", &["up", "--data", "."]);
    assert!(refused.err.contains("several machines"), "{refused:#?}");
    let mut one = machines.start_all("m1");
    let _two = [
        &["master", "--name", "standby-1"][..],
        &["mirror", "--name", "mirror-2"],
        &["balancer", "--name", "balancer-2"],
    ]
    .map(|arguments| machines.start("m2", arguments));
    let tunnel = machines.start("m2", &["tunnel", "--machine", "m2"]);
    machines.wait_until_whole();

    machines.hgfleet("m1", &["repo", "create", "one"]).ok();
    machines.hg(&["init", "work"]).ok();
    for (balancer, content) in ["through the master's machine", "through the other one"].into_iter().enumerate() {
        machines.commit(content);
        let said = machines.push(balancer).ok();
        assert!(said.out.contains("visible on 2 of 2 mirrors"), "{said:#?}");
        assert_eq!(machines.tip(0), machines.tip(1));
    }

    // Cut off, the other machine's mirror holds nobody up, and its readers go on.
    drop(tunnel);
    machines.wait_until("the other machine's mirror is out", || machines.server("mirror-2")["state"] != "in-service");
    let before = machines.tip(1);
    machines.commit("while they are cut off");
    let said = machines.push(0).ok();
    assert!(said.out.contains("visible on 1 of 1 mirrors"), "{said:#?}");
    assert_ne!(machines.tip(0), before);
    // What it had, or what it has read in the log meanwhile.
    assert!([before, machines.tip(0)].contains(&machines.tip(1)));
    let _tunnel = machines.start("m2", &["tunnel", "--machine", "m2"]);
    machines.wait_until_whole();
    assert_eq!(machines.tip(1), machines.tip(0));

    machines.hgfleet("m1", &["failover", "--to", "standby-1"]).ok();
    machines.commit("after the hand-over");
    machines.push(0).ok();
    assert_eq!(machines.tip(1), machines.tip(0));

    // The first machine is gone, all of it: the other one has everything.
    let last = machines.tip(0);
    one.clear();
    machines.wait_until("the other machine takes pushes alone", || {
        machines.commit(&format!("alone {:?}", Instant::now()));
        machines.push(1).status == 0
    });
    assert_ne!(machines.tip(1), last);
    let store = machines.path("m2/mirror-2/repos/one");
    machines.hg(&["-R", text(&store), "verify", "-q"]).ok();
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}
