//! Folders, processes and clients for the tests.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use hgfleet_balancer::authority::{self, AuthorityFiles};
use hgfleet_balancer::{BalancerOptions, BalancerTimes};
use hgfleet_directory::DirectoryLocation;
use hgfleet_log::LogLocation;
use hgfleet_mirror::{MirrorOptions, MirrorTimes};
use hgfleet_resync::{ResyncOptions, ScrubOptions};

/// The variable that makes this test program a mirror: `NAME DATA`.
const MIRROR: &str = "HGFLEET_TEST_MIRROR";

/// Runs `hg` with nobody's settings; the tests need one on the PATH (Debian: `mercurial`).
pub fn hg(arguments: &[&str]) -> Output {
    let mut command = Command::new("hg");
    command.env("HGRCPATH", "/dev/null").env("HGPLAIN", "1").args(["--config", "ui.username=test"]);
    command.args(arguments).output().expect("an `hg` on the PATH")
}

/// Runs `hg`, which must succeed, and gives its output.
pub fn hg_ok(arguments: &[&str]) -> String {
    let output = hg(arguments);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "hg {arguments:?}: {error}");
    String::from_utf8(output.stdout).expect("text")
}

/// A stock repository to which changesets are added.
pub struct Work {
    pub path: PathBuf,
    commits: u32,
}

impl Work {
    pub fn new(path: PathBuf) -> Self {
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        hg_ok(&["init", text(&path)]);
        Self { path, commits: 0 }
    }

    /// Adds a changeset that changes one file and adds another; gives its node.
    pub fn commit(&mut self) -> String {
        self.commits += 1;
        let path = text(&self.path);
        let line = format!("line {}\n", self.commits);
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(self.path.join("log")).expect("open");
        file.write_all(line.as_bytes()).expect("written");
        std::fs::write(self.path.join(format!("file{}", self.commits)), line.repeat(40)).expect("written");
        hg_ok(&["-R", path, "commit", "-A", "-q", "-m", &format!("change {}", self.commits)]);
        hg_ok(&["-R", path, "log", "-r", "tip", "-T", "{node}"])
    }
}

pub fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

pub fn mirror_options(name: &str, data: &Path) -> MirrorOptions {
    MirrorOptions {
        name: name.into(),
        data: data.join(name),
        log: LogLocation::Embedded(data.join("log")),
        run: data.join("run"),
        listener: None,
        push_address: Some("ssh://hg@localhost:2222".into()),
        access: None,
        user_repositories: false,
        directory: DirectoryLocation::Ldif(data.join("directory.ldif")),
        tokens_stale: Duration::from_secs(900),
        bundle_cache_bytes: 64 << 20,
        resync: ResyncOptions {
            scrub: ScrubOptions { bytes_per_second: None, every: Duration::from_millis(300) },
            ..ResyncOptions::new(data.join("run"))
        },
        times: MirrorTimes { wait: Duration::from_secs(2), drain: Duration::from_secs(1), ..MirrorTimes::default() },
    }
}

/// Is this process one that was started as a mirror? Then it is one until it is killed.
pub fn be_a_mirror() {
    let Ok(what) = std::env::var(MIRROR) else { return };
    let (name, data) = what.split_once(' ').expect("name and data");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let options = mirror_options(name, Path::new(data));
    runtime.block_on(hgfleet_mirror::run(options, std::future::pending())).expect("a mirror");
}

/// A mirror in a process of its own.
pub struct Mirror {
    pub child: Child,
    socket: PathBuf,
}

impl Mirror {
    /// Starts it; it stops at the steps named by files in `DATA/stop-NAME`.
    pub fn start(name: &str, data: &Path) -> Self {
        let stop = data.join(format!("stop-{name}"));
        std::fs::create_dir_all(&stop).expect("made");
        let child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "a_mirror_process", "--nocapture"])
            .env(MIRROR, format!("{name} {}", data.display()))
            .env("HGFLEET_STOP_AT", stop)
            .stdout(Stdio::null())
            .spawn()
            .expect("started");
        Self { child, socket: data.join("run").join(format!("{name}.sock")) }
    }

    /// Waits until it has died by itself.
    pub fn wait_for_death(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.child.try_wait().expect("waited").is_none() {
            assert!(Instant::now() < deadline, "it still lives");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sends a signal by its number.
    pub fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", signal, &pid]).status().expect("kill");
        assert!(sent.success());
    }

    /// Asks over its socket, as a balancer does.
    pub fn ask(&self, target: &str, tag: Option<u64>) -> Answer {
        let tag = tag.map_or(String::new(), |tag| format!("X-Hgfleet-Position: {tag}\r\n"));
        let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n{tag}Connection: close\r\n\r\n");
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut stream = loop {
            match UnixStream::connect(&self.socket) {
                Ok(stream) => break stream,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        stream.write_all(request.as_bytes()).expect("sent");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("read");
        Answer(String::from_utf8_lossy(&answer).into_owned())
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        // It may be dead already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An HTTP answer, as text.
#[derive(Debug)]
pub struct Answer(pub String);

impl Answer {
    pub fn status(&self) -> u16 {
        self.0.split(' ').nth(1).and_then(|word| word.parse().ok()).expect("a status")
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let head = self.0.split("\r\n\r\n").next().unwrap_or_default();
        head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    pub fn position(&self) -> u64 {
        self.header("x-hgfleet-position").and_then(|p| p.parse().ok()).expect("a position")
    }

    pub fn body(&self) -> &str {
        self.0.split_once("\r\n\r\n").map_or("", |(_, body)| body)
    }
}

/// A balancer in this process; it lives as long as the runtime.
pub struct Front {
    pub https: SocketAddr,
    pub authority: PathBuf,
    _runtime: tokio::runtime::Runtime,
}

impl Front {
    pub fn start(data: &Path) -> Self {
        std::fs::create_dir_all(data.join("keys")).expect("made");
        let files = AuthorityFiles::below(data);
        authority::ensure(&files, &[]).expect("certificates");
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let https = listener.local_addr().expect("an address");
        let options = BalancerOptions {
            name: "balancer".into(),
            log: LogLocation::Embedded(data.join("log")),
            run: data.join("run"),
            http: None,
            https: Some(listener),
            ssh: None,
            identity: Some(files.server),
            host: "localhost".into(),
            hosts: Vec::new(),
            https_port: https.port(),
            masters: Vec::new(),
            mirrors: Vec::new(),
            trusted_proxy: None,
            trusted: Vec::new(),
            times: BalancerTimes::default(),
        };
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.spawn(async move { hgfleet_balancer::run(options, std::future::pending()).await.expect("a balancer") });
        Self { https, authority: files.certificate, _runtime: runtime }
    }

    pub fn url(&self, name: &str) -> String {
        format!("https://localhost:{}/{name}", self.https.port())
    }

    /// What `hg` needs to trust it.
    pub fn trust(&self) -> String {
        format!("web.cacerts={}", self.authority.display())
    }

    /// Asks by `curl`; gives head and body.
    pub fn ask(&self, target: &str) -> Answer {
        let url = format!("https://localhost:{}{target}", self.https.port());
        let output = Command::new("curl").args(["-s", "-i", "--cacert", text(&self.authority), &url]).output();
        let output = output.expect("a `curl` on the PATH");
        Answer(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// The digest of a server's copy of a repository, from its files alone.
pub fn digest(data: &Path, server: &str, name: &str) -> [u8; 32] {
    let hg = data.join(server).join("repos").join(name).join(".hg");
    *hg_store::digest::digest_of_store(&hg).expect("a digest").as_bytes()
}
