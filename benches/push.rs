//! A push of one changeset onto a repository of 24,000, against stock through OpenSSH.

use crate::input::{Input, text};
use crate::measure::{HG, HGFLEET, command, median, milliseconds, on_path, report, stages, stock};
use crate::start::Fleet;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const RUNS: usize = 15;
const SSHD: &str = "/usr/sbin/sshd";

/// OpenSSH's server on a free port.
pub struct Sshd {
    process: Child,
    /// Its port
    pub port: u16,
}

impl Sshd {
    /// Starts one for the owner of a key.
    pub fn for_key(input: &Input, key: &Path) -> Option<Sshd> {
        let keys = input.scratch("authorized_keys");
        std::fs::copy(key.with_extension("pub"), &keys).expect("copied");
        Sshd::start(input, "sshd", &format!("AuthorizedKeysFile {}\n", keys.display()))
    }

    /// Starts it, with these lines in its configuration; none, with the reason printed, where it can't be.
    pub fn start(input: &Input, name: &str, lines: &str) -> Option<Sshd> {
        if !Path::new(SSHD).exists() {
            println!("left out: {SSHD} is not there (Debian package openssh-server)");
            return None;
        }
        let folder = input.scratch(name);
        std::fs::create_dir_all(&folder).expect("made");
        // sshd wants it, wherever its own files lie.
        let _ = std::fs::create_dir_all("/run/sshd");
        let host_key = folder.join("host_key");
        stock("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", text(&host_key)]);
        let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port();
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\n{lines}StrictModes no\nUsePAM no\nPermitRootLogin yes\nPidFile none\nLogLevel ERROR\n",
            host_key.display()
        );
        std::fs::write(folder.join("config"), config).expect("written");
        let process = Command::new(SSHD)
            .args(["-D", "-e", "-f", text(&folder.join("config"))])
            .stderr(Stdio::null())
            .spawn()
            .expect("sshd starts");
        let sshd = Sshd { process, port };
        for _ in 0..100 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Some(sshd);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        println!("left out: sshd does not start as this user");
        None
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        // What is ours ends with us.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// `hg`'s configuration for this key.
pub fn ssh(key: &Path) -> String {
    format!(
        "ui.ssh=ssh -oStrictHostKeyChecking=no -oUserKnownHostsFile=/dev/null -oLogLevel=ERROR -oIdentitiesOnly=yes -i {}",
        key.display()
    )
}

/// Measures whole `hg push` runs in turns, and prints the ledger of what the fleet itself took.
pub fn run(input: &Input) {
    let (home, key) = input.home_with_key("home-push");
    let data = input.scratch("push-data");
    let fleet = Fleet::start(&data, &home);
    let cargo = input.repository("cargo");
    stock(HGFLEET, &["repo", "import", text(&cargo), "cargo", "--config", text(&data.join("hgfleet.toml"))]);
    let peer = input.scratch("peer-cargo");
    let work = input.scratch("work-cargo");
    for clone in [&peer, &work] {
        stock("cp", &["-r", text(&cargo), text(clone)]);
    }
    stock(HG, &["-R", text(&work), "update", "-q", "-r", &base(&work)]);
    let sshd = Sshd::for_key(input, &key);
    let hg = on_path(HG).expect("hg is on the PATH");
    let (mut ours, mut stock_times) = (Vec::new(), Vec::new());
    for n in 0..RUNS {
        std::fs::write(work.join("a-file-of-the-bench"), format!("{n}\n")).expect("written");
        stock(
            HG,
            &["-R", text(&work), "commit", "-q", "-A", "-m", &n.to_string(), text(&work.join("a-file-of-the-bench"))],
        );
        let push = |url: &str, remote: &[&str]| {
            milliseconds(|| {
                let output = command(HG)
                    .args([
                        "-R",
                        text(&work),
                        "push",
                        "-q",
                        "-f",
                        "--config",
                        &ssh(&key),
                        "--config",
                        "phases.publish=False",
                    ])
                    .args(["-r", "."])
                    .args(remote)
                    .arg(url)
                    .output()
                    .expect("hg runs");
                assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            })
        };
        if let Some(sshd) = &sshd {
            let user = std::env::var("USER").unwrap_or_else(|_| "root".to_owned());
            let url = format!("ssh://{user}@127.0.0.1:{}/{}", sshd.port, peer.display());
            stock_times.push(push(&url, &["--remotecmd", text(&hg)]));
        }
        ours.push(push(&format!("ssh://hg@127.0.0.1:{}/cargo", fleet.ssh_port), &[]));
    }
    if stock_times.is_empty() {
        println!("hg push of one changeset: hgfleet {:.1} ms (median of {RUNS})", median(&ours));
    } else {
        report("hg push of one changeset, whole, against OpenSSH and hg serve --stdio", &ours, &stock_times);
        let ratios: Vec<f64> = ours.iter().zip(&stock_times).map(|(ours, peer)| ours / peer).collect();
        println!("hgfleet / stock: {:.2}", median(&ratios));
    }
    ledger(&data.with_extension("log"));
}

/// The newest changeset, of some, that a client checks out: no subrepositories, which would ask the network, and no
/// file below a `.hg`.
fn base(repository: &Path) -> String {
    (0..23_000)
        .rev()
        .step_by(500)
        .map(|revision| revision.to_string())
        .find(|revision| {
            let files = command(HG)
                .args(["-R", text(repository), "files", "-q", "-r", revision, "path:.hgsub", "glob:**/.hg/**"])
                .output();
            files.is_ok_and(|files| files.status.code() == Some(1))
        })
        .unwrap_or_else(|| "0".to_owned())
}

/// The medians of each stage, from the master's log.
fn ledger(log: &Path) {
    let log = std::fs::read_to_string(log).expect("readable");
    for stage in ["receive_ms", "lock_ms", "prepare_ms", "append_ms", "applied_ms", "told_ms", "total_ms"] {
        let figures = stages(&log, "", stage);
        if !figures.is_empty() {
            println!("ledger {stage}: {:.2} (median of {})", median(&figures), figures.len());
        }
    }
}
