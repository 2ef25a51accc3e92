//! From `hgfleet up` to a fleet that serves.

use crate::input::{Input, text};
use crate::measure::{HGFLEET, command, median, milliseconds};
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

const RUNS: usize = 5;
/// How long servers may take to apply what the log has.
const APPLIED_MAX: Duration = Duration::from_secs(600);

/// A fleet on free ports in a folder.
pub struct Fleet {
    process: Child,
    /// Port of the SSH door
    pub ssh_port: u16,
}

impl Fleet {
    /// Starts it, and returns when it says that it is ready.
    pub fn start(data: &std::path::Path, home: &std::path::Path) -> Fleet {
        Fleet::start_with(data, home, "")
    }

    /// The same, with these sections in the configuration of a folder that is made.
    pub fn start_with(data: &std::path::Path, home: &std::path::Path, sections: &str) -> Fleet {
        if !sections.is_empty() {
            std::fs::create_dir_all(data).expect("made");
            std::fs::write(data.join("hgfleet.toml"), sections).expect("written");
        }
        let mut process = command(HGFLEET)
            .args([
                "up",
                "--data",
                text(data),
                "--ssh",
                "127.0.0.1:0",
                "--http",
                "127.0.0.1:0",
                "--https",
                "127.0.0.1:0",
            ])
            .env("HOME", home)
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(data.with_extension("log")).expect("a log"))
            .spawn()
            .expect("hgfleet up starts");
        let mut ssh_port = 0;
        for line in BufReader::new(process.stdout.take().expect("piped")).lines() {
            let line = line.expect("text");
            assert!(!line.contains("not whole"), "{line}");
            if let Some(address) = line.trim().strip_prefix("push") {
                ssh_port =
                    address.rsplit(':').next().and_then(|rest| rest.split('/').next()?.parse().ok()).expect("a port");
            }
            if line.contains("Try next") {
                break;
            }
        }
        Fleet { process, ssh_port }
    }

    /// The process that starts again whatever ends.
    pub fn supervisor(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        // What is ours ends with us; the roles end with their parent.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Measures fresh starts, which make keys and certificates, and later ones.
pub fn run(input: &Input) {
    let home = input.scratch("home");
    std::fs::create_dir_all(&home).expect("made");
    for (what, fresh) in [("first start", true), ("later start", false)] {
        let times: Vec<f64> = (0..RUNS)
            .map(|n| {
                let data = input.scratch(&if fresh { format!("start-{n}") } else { "start-0".to_owned() });
                milliseconds(|| drop(Fleet::start(&data, &home)))
            })
            .collect();
        println!("{what} to ready: {:.0} ms (median of {RUNS})", median(&times));
    }
}

/// Waits until every server has the log's last record.
pub fn wait_until_applied(data: &std::path::Path) {
    let begun = Instant::now();
    loop {
        let now = status(data);
        let servers = now["servers"].as_array().cloned().unwrap_or_default();
        let behind = servers
            .iter()
            .filter(|server| server["role"] != "balancer" && server["position"] != now["log"]["sequence"]);
        if !servers.is_empty() && behind.count() == 0 {
            return;
        }
        assert!(begun.elapsed() < APPLIED_MAX, "{now:#}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// `status --json` of a fleet, or null where it can't be had yet.
pub fn status(data: &std::path::Path) -> serde_json::Value {
    let config = data.join("hgfleet.toml");
    let said = command(HGFLEET).args(["status", "--json", "--config", text(&config)]).output().expect("hgfleet runs");
    serde_json::from_slice(&said.stdout).unwrap_or_default()
}
