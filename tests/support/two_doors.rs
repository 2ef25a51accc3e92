//! A fleet with both SSH doors: the built-in one, and OpenSSH's `sshd`.

use super::clients::Clients;
use super::fleet::Fleet;
use super::run::{Said, run};
use super::sshd::{Sshd, user};
use std::process::Command;

/// A fleet with both doors.
pub struct TwoDoors {
    /// The fleet, with the repository `team/first`
    pub fleet: Fleet,
    /// The second door
    pub sshd: Sshd,
    /// The name by which one logs in at both
    pub user: String,
}

impl TwoDoors {
    /// Starts both; `section` is what the configuration has more in `[ssh]`, and behind it.
    pub fn open(section: &str) -> TwoDoors {
        let user = user();
        let fleet = Fleet::start_with_steps(&format!("[ssh]\nlogin = \"{user}\"\n{section}"));
        fleet.hgfleet(&["repo", "create", "team/first"]).ok();
        let sshd = Sshd::start(&fleet);
        TwoDoors { fleet, sshd, user }
    }

    /// The fleet's clients, by each door.
    pub fn doors(&self) -> [(&'static str, Clients); 2] {
        let by = |port| self.fleet.by_door(&self.user, port);
        [("built-in", by(self.fleet.ssh_port)), ("OpenSSH", by(self.sshd.port))]
    }

    /// Says the same at both doors, and expects the same answer.
    #[track_caller]
    pub fn both(&self, what: &str, say: impl Fn(&Clients) -> Said) -> Said {
        let [(_, built_in), (_, openssh)] = self.doors();
        let (first, second) = (say(&built_in), say(&openssh));
        assert_eq!((first.status, &first.out, &first.err), (second.status, &second.out, &second.err), "{what}");
        second
    }

    /// Makes a key pair in the clients' home, and returns the path of its public half.
    pub fn key(&self, name: &str, kind: &[&str]) -> String {
        let path = self.fleet.path(&format!("home/.ssh/{name}"));
        run(Command::new("ssh-keygen").args(["-q", "-N", ""]).args(kind).arg("-f").arg(&path)).ok();
        path.with_extension("pub").to_str().expect("UTF-8").to_owned()
    }
}
