//! OpenSSH's server as a fleet's second SSH door, with the configuration that `deploy/openssh` recommends.

use super::fleet::{Fleet, HGFLEET, free_port};
use super::run::run;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const RECOMMENDED: &str = include_str!("../../deploy/openssh/sshd_config");

/// A running `sshd`; ended when dropped. Whoever runs the test is the user by whom it logs in.
pub struct Sshd {
    process: Child,
    log: PathBuf,
    /// Where it listens
    pub port: u16,
}

/// The user that runs the tests, and so the fleet.
pub fn user() -> String {
    run(Command::new("id").arg("-un")).ok().out.trim().to_owned()
}

impl Sshd {
    /// Starts one before a fleet whose login name is [`user`].
    pub fn start(fleet: &Fleet) -> Sshd {
        let (port, log) = (free_port(), fleet.path("sshd.log"));
        let (key, config) = (fleet.path("sshd_host_key"), fleet.path("sshd_config"));
        run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key)).ok();
        // Where a process has no rights to lose there is nothing to separate; as root it wants this folder.
        let _ = std::fs::create_dir("/run/sshd");
        let user = user();
        // The program lies below a folder that `sshd` does not trust with a command; what `env` starts it does not look at.
        // The shell by which `sshd` starts a command takes itself for a nested one: it reads no files of whoever runs the tests. Hundreds
        // of connections are made, so their key exchange is the cheapest of those that are recommended.
        let text = RECOMMENDED
            .replace(
                "Port 222\n",
                &format!("Port {port}\nListenAddress 127.0.0.1\nSetEnv SHLVL=2\nKexAlgorithms curve25519-sha256\n"),
            )
            .replace("/etc/hgfleet/ssh_host_ed25519_key", key.to_str().expect("UTF-8"))
            .replace("/etc/hgfleet/hgfleet.toml", fleet.path("data/hgfleet.toml").to_str().expect("UTF-8"))
            .replace("AuthorizedKeysCommand /usr/bin/hgfleet", &format!("AuthorizedKeysCommand /usr/bin/env {HGFLEET}"))
            .replace("ForceCommand /usr/bin/hgfleet", &format!("ForceCommand {HGFLEET}"))
            .replace("AllowUsers hg", &format!("AllowUsers {user}"))
            .replace("AuthorizedKeysCommandUser hg", &format!("AuthorizedKeysCommandUser {user}"))
            .replace("PermitRootLogin no", "PermitRootLogin prohibit-password");
        std::fs::write(&config, text).expect("written");
        let process = Command::new("/usr/sbin/sshd")
            .args(["-D", "-E"])
            .arg(&log)
            .arg("-f")
            .arg(&config)
            .stdin(Stdio::null())
            // What the commands say that it asks; `sshd` logs their status.
            .stderr(Stdio::null())
            .spawn()
            .expect("sshd starts");
        let sshd = Sshd { process, log, port };
        let begun = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(10), "sshd does not listen: {}", sshd.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        sshd
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
        if std::thread::panicking() {
            eprintln!("the log of sshd:\n{}", self.log());
        }
    }
}
