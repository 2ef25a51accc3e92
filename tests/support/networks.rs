//! Networks of their own for machines, joined by a switch: a cut between them is a cable that is pulled.

use super::run::run;
use std::process::Command;

/// Network namespaces, joined with this one by a bridge; gone when dropped.
pub struct Networks {
    name: String,
    subnet: String,
    machines: usize,
}

impl Networks {
    /// Makes them. `None`, with the reason printed, where that may not be done: it takes root, and `ip`.
    pub fn new(machines: usize) -> Option<Networks> {
        let process = std::process::id();
        let networks =
            Networks { name: format!("hgf{process}"), subnet: format!("198.18.{}", process % 250), machines };
        match networks.make() {
            Ok(()) => Some(networks),
            Err(why) => {
                println!("left out, since no networks can be made here: {}", why.trim());
                None
            }
        }
    }

    fn make(&self) -> Result<(), String> {
        let bridge = &self.name;
        ip(&["link", "add", bridge, "type", "bridge"])?;
        ip(&["addr", "add", &format!("{}/24", self.switch()), "dev", bridge])?;
        ip(&["link", "set", bridge, "up"])?;
        for machine in 0..self.machines {
            let (space, cable) = (self.space(machine), self.cable(machine));
            ip(&["netns", "add", &space])?;
            ip(&["link", "add", &cable, "type", "veth", "peer", "name", "eth0", "netns", &space])?;
            ip(&["link", "set", &cable, "master", bridge, "up"])?;
            ip(&["-n", &space, "addr", "add", &format!("{}/24", self.address(machine)), "dev", "eth0"])?;
            ip(&["-n", &space, "link", "set", "eth0", "up"])?;
            ip(&["-n", &space, "link", "set", "lo", "up"])?;
        }
        Ok(())
    }

    /// The address of the switch, which is this process's own.
    pub fn switch(&self) -> String {
        format!("{}.254", self.subnet)
    }

    /// A machine's address.
    pub fn address(&self, machine: usize) -> String {
        format!("{}.{}", self.subnet, machine + 1)
    }

    /// A program that is to run on a machine, without its arguments.
    pub fn command(&self, machine: usize, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.space(machine), program]);
        command
    }

    /// Pulls a machine's cable.
    #[track_caller]
    pub fn cut(&self, machine: usize) {
        ip(&["link", "set", &self.cable(machine), "down"]).expect("cut");
    }

    /// Puts it in again.
    #[track_caller]
    pub fn join(&self, machine: usize) {
        ip(&["link", "set", &self.cable(machine), "up"]).expect("joined");
    }

    fn space(&self, machine: usize) -> String {
        format!("{}-m{machine}", self.name)
    }

    fn cable(&self, machine: usize) -> String {
        format!("{}v{machine}", self.name)
    }
}

impl Drop for Networks {
    fn drop(&mut self) {
        for machine in 0..self.machines {
            let _ = ip(&["netns", "del", &self.space(machine)]);
        }
        let _ = ip(&["link", "del", &self.name]);
    }
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    if !std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).any(|folder| folder.join("ip").is_file()) {
        return Err("there is no `ip` (Debian: iproute2)".to_owned());
    }
    let said = run(Command::new("ip").args(arguments));
    if said.status == 0 { Ok(()) } else { Err(said.err) }
}
