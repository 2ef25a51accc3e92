//! Machines in network namespaces of their own, joined by a bridge in one more: what one of them sends to another can get lost.
//!
//! They are made by root with `ip`, are reached by nobody else, and go with the value that made them.

use super::run::run;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Networks that this process has made.
static NETWORKS: AtomicUsize = AtomicUsize::new(0);
/// A card that nobody has.
const NOBODY: &str = "02:00:00:00:ff:ff";

/// Some machines that reach each other.
pub struct Network {
    /// What the namespaces' names begin with
    prefix: String,
    /// Names of the machines; the addresses are 10.9.0.1, 10.9.0.2 and so on.
    machines: Vec<String>,
}

impl Network {
    /// Joins machines with these names. `None`, with the reason printed, where no network can be made.
    pub fn of(machines: &[&str]) -> Option<Network> {
        let number = NETWORKS.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("hgfleet-{}-{number}-", std::process::id());
        let network = Network { prefix, machines: machines.iter().map(|name| (*name).to_owned()).collect() };
        let tried = run(Command::new("sh").args(["-c", &format!("ip netns add {}", network.namespace("bridge"))]));
        if tried.status != 0 {
            println!("left out, since no network can be made here: {}", tried.err.trim());
            return None;
        }
        let bridge = network.namespace("bridge");
        ip(&["-n", &bridge, "link", "add", "bridge", "type", "bridge"]);
        ip(&["-n", &bridge, "link", "set", "bridge", "up"]);
        for (number, name) in machines.iter().enumerate() {
            let machine = network.namespace(name);
            let port = format!("port{number}");
            ip(&["netns", "add", &machine]);
            ip(&["-n", &machine, "link", "set", "lo", "up"]);
            ip(&["-n", &machine, "link", "add", "eth0", "type", "veth", "peer", "name", &port, "netns", &bridge]);
            ip(&["-n", &machine, "link", "set", "eth0", "address", &card(number), "up"]);
            ip(&["-n", &machine, "address", "add", &format!("{}/24", address(number)), "dev", "eth0"]);
            ip(&["-n", &bridge, "link", "set", &port, "master", "bridge", "up"]);
        }
        network.join_all();
        Some(network)
    }

    /// The namespace's name of a machine.
    fn namespace(&self, machine: &str) -> String {
        format!("{}{machine}", self.prefix)
    }

    /// The file by which a machine's namespace is entered.
    pub fn file(&self, machine: &str) -> PathBuf {
        Path::new("/run/netns").join(self.namespace(machine))
    }

    /// The words before a program's that start it on a machine, with these folders or files in the place of others. The process's number
    /// is the program's.
    pub fn place(&self, machine: &str, mounts: &[(PathBuf, &str)]) -> Vec<String> {
        let mut script: String =
            mounts.iter().map(|(what, at)| format!("mount --bind {} {at} && ", what.display())).collect();
        script.push_str("exec \"$0\" \"$@\"");
        let net = format!("--net={}", self.file(machine).display());
        ["nsenter", &net, "--", "unshare", "-m", "sh", "-c", &script].map(str::to_owned).into()
    }

    fn number(&self, machine: &str) -> usize {
        self.machines.iter().position(|name| name == machine).unwrap_or_else(|| panic!("no machine {machine}"))
    }

    /// A machine's address.
    pub fn address(&self, machine: &str) -> String {
        address(self.number(machine))
    }

    /// From now on what `from` sends to `to` gets lost, without a word.
    pub fn cut_one_way(&self, from: &str, to: &str) {
        self.send_to(from, to, NOBODY);
    }

    /// From now on what they send to each other gets lost.
    pub fn cut(&self, one: &str, other: &str) {
        self.cut_one_way(one, other);
        self.cut_one_way(other, one);
    }

    /// From now on what goes between this machine and any of these gets lost.
    pub fn isolate(&self, machine: &str, others: &[&str]) {
        others.iter().filter(|other| **other != machine).for_each(|other| self.cut(machine, other));
    }

    /// All reach each other again.
    pub fn join_all(&self) {
        for from in &self.machines {
            for to in self.machines.iter().filter(|to| *to != from) {
                self.send_to(from, to, &card(self.number(to)));
            }
        }
    }

    /// What `from` sends to the address of `to` goes to this card.
    fn send_to(&self, from: &str, to: &str, card: &str) {
        let address = self.address(to);
        ip(&[
            "-n",
            &self.namespace(from),
            "neighbour",
            "replace",
            &address,
            "lladdr",
            card,
            "dev",
            "eth0",
            "nud",
            "permanent",
        ]);
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for name in self.machines.iter().map(String::as_str).chain(["bridge"]) {
            let _ = Command::new("ip").args(["netns", "delete", &self.namespace(name)]).status();
        }
    }
}

fn card(number: usize) -> String {
    format!("02:00:00:00:00:{:02x}", number + 1)
}

fn address(number: usize) -> String {
    format!("10.9.0.{}", number + 1)
}

#[track_caller]
fn ip(arguments: &[&str]) {
    run(Command::new("ip").args(arguments)).ok();
}
