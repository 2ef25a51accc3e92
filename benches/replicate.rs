//! What a push takes with 2 and with 8 mirrors, with the log in a file and in three NATS servers; and how many pushes a fleet takes, against
//! a master that has each of its mirrors pull over SSH.

use crate::cluster::Cluster;
use crate::input::{Input, text};
use crate::measure::{HG, HGFLEET, command, median, on_path, stages, stock};
use crate::push::Sshd;
use crate::start::Fleet;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Pushes of which the median is taken.
const PUSHES: usize = 30;
/// Repositories that are pushed to at the same time, and pushes to each.
const REPOSITORIES: usize = 8;
const PUSHES_EACH: usize = 12;
/// Mirrors of the fleet and of the peer.
const MIRRORS: usize = 2;

fn mirrors(count: usize) -> String {
    (1..=count).map(|n| format!("[[mirror]]\nname = 'mirror-{n}'\n")).collect()
}

/// The bundles of a line of changesets, each with the one that it adds: of the old kind, to which a server replies unasked.
fn bundles(input: &Input, name: &str, count: usize) -> Vec<Vec<u8>> {
    let work = input.scratch(name);
    stock(HG, &["init", text(&work)]);
    stock(HG, &["-R", text(&work), "debugbuilddag", "--new-file", &format!("+{count}")]);
    let make = |n: usize| {
        let bundle = work.join(format!("{n}.hg"));
        let base = if n == 0 { "null".to_owned() } else { (n - 1).to_string() };
        stock(
            HG,
            &["-R", text(&work), "bundle", "-q", "-t", "none-v1", "--base", &base, "-r", &n.to_string(), text(&bundle)],
        );
        std::fs::read(bundle).expect("readable")
    };
    (0..count).map(make).collect()
}

/// Pushes a bundle as a client does: one SSH connection, one command.
pub fn push(ssh: &[String], remote: &str, bundle: &[u8]) {
    let mut child = Command::new("ssh")
        .args(ssh)
        .arg(remote)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("ssh starts");
    let mut input = child.stdin.take().expect("piped");
    input.write_all(b"unbundle\nheads 10\n666f726365").expect("sent");
    writeln!(input, "{}", bundle.len()).expect("sent");
    input.write_all(bundle).expect("sent");
    input.write_all(b"0\n").expect("sent");
    drop(input);
    let mut errors = String::new();
    std::io::copy(&mut child.stdout.take().expect("piped"), &mut std::io::sink()).expect("read");
    child.stderr.take().expect("piped").read_to_string(&mut errors).expect("text");
    let ended = child.wait().expect("ended");
    let is_stored = errors.contains("added 1 changesets");
    assert!(ended.success() && is_stored, "{remote}: {ended}, {errors}");
}

/// `ssh`'s arguments for this key, up to the command.
pub fn ssh(key: &Path, port: u16, user: &str) -> Vec<String> {
    let options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "IdentitiesOnly=yes"];
    let options = options.iter().flat_map(|option| ["-o".to_owned(), (*option).to_owned()]);
    let port = port.to_string();
    options.chain(["-p", &port, "-i", text(key), &format!("{user}@127.0.0.1")].map(str::to_owned)).collect()
}

/// A command for the fleet of a folder, which must succeed.
pub fn hgfleet(data: &Path, arguments: &[&str]) {
    stock(HGFLEET, &[arguments, &["--config", text(&data.join("hgfleet.toml"))]].concat());
}

/// One push after the other; the ledger's medians.
fn one_by_one(input: &Input, name: &str, key: &Path, home: &Path, sections: &str, bundles: &[Vec<u8>]) {
    let data = input.scratch(name);
    let fleet = Fleet::start_with(&data, home, sections);
    hgfleet(&data, &["repo", "create", "one"]);
    let ssh = ssh(key, fleet.ssh_port, "hg");
    bundles.iter().for_each(|bundle| push(&ssh, "hg -R one serve --stdio", bundle));
    let log = std::fs::read_to_string(data.with_extension("log")).expect("readable");
    let of = |stage: &str| median(&stages(&log, "repository=one", stage));
    println!(
        "{name}: bundle received to reply {:.1} ms, of it append {:.1} ms, told {:.1} ms (medians of {})",
        of("total_ms"),
        of("append_ms"),
        of("told_ms"),
        bundles.len()
    );
}

/// How many pushes a second, with one client for each repository.
fn at_once(ssh: &[String], remote: impl Fn(usize) -> String + Sync, bundles: &[Vec<Vec<u8>>]) -> f64 {
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for (n, bundles) in bundles.iter().enumerate() {
            let remote = &remote;
            scope.spawn(move || bundles.iter().for_each(|bundle| push(ssh, &remote(n), bundle)));
        }
    });
    (bundles.len() * PUSHES_EACH) as f64 / begun.elapsed().as_secs_f64()
}

/// Stock behind OpenSSH; a hook has each mirror pull over SSH, all at once, before the push is answered.
fn peer(input: &Input, sshd: &Sshd, key: &Path, bundles: &[Vec<Vec<u8>>]) -> f64 {
    let user = std::env::var("USER").unwrap_or_else(|_| "root".to_owned());
    let ssh = ssh(key, sshd.port, &user);
    let hg = on_path(HG).expect("hg is on the PATH");
    let shell = format!("ssh {}", ssh.join(" "));
    for n in 0..bundles.len() {
        let of = |place: usize| input.scratch(&format!("peer-{n}-{place}"));
        (0..=MIRRORS).for_each(|place| stock(HG, &["init", text(&of(place))]));
        let pull = |place: usize| {
            let remote = format!("{} -R {} pull -q {}", hg.display(), of(place).display(), of(0).display());
            format!("{shell} '{remote}' &")
        };
        let hook = of(0).join("replicate.sh");
        let pulls: Vec<String> = (1..=MIRRORS).map(pull).collect();
        std::fs::write(&hook, format!("{}\nwait\n", pulls.join("\n"))).expect("written");
        let hgrc = format!("[hooks]\nchangegroup.replicate = sh {}\n", hook.display());
        std::fs::write(of(0).join(".hg/hgrc"), hgrc).expect("written");
    }
    std::thread::sleep(Duration::from_millis(100));
    let remote = |n: usize| {
        let repository = input.scratch(&format!("peer-{n}-0"));
        format!("HGRCPATH= {} -R {} serve --stdio", hg.display(), repository.display())
    };
    let rate = at_once(&ssh, remote, bundles);
    for n in 0..bundles.len() {
        let mirror = input.scratch(&format!("peer-{n}-{MIRRORS}"));
        let tip = command(HG).args(["-R", text(&mirror), "log", "-r", "tip", "-T", "{rev}"]).output().expect("hg runs");
        let all = (PUSHES_EACH - 1).to_string();
        assert_eq!(String::from_utf8_lossy(&tip.stdout), all, "the peer's mirrors have everything");
    }
    rate
}

/// Measures one push after the other, then many at once.
pub fn run(input: &Input) {
    let (home, key) = input.home_with_key("home-replicate");
    let pushed = bundles(input, "bundles-one", PUSHES);
    for count in [2, 8] {
        one_by_one(input, &format!("embedded log, {count} mirrors"), &key, &home, &mirrors(count), &pushed);
    }
    for count in [2, 8] {
        let name = format!("three NATS servers, {count} mirrors");
        let Some(cluster) = Cluster::start(&input.scratch(&format!("cluster-{count}"))) else { break };
        one_by_one(input, &name, &key, &home, &(cluster.section() + &mirrors(count)), &pushed);
    }

    let pushed: Vec<Vec<Vec<u8>>> =
        (0..REPOSITORIES).map(|n| bundles(input, &format!("bundles-{n}"), PUSHES_EACH)).collect();
    let data = input.scratch("at-once");
    let fleet = Fleet::start_with(&data, &home, &mirrors(MIRRORS));
    (0..REPOSITORIES).for_each(|n| hgfleet(&data, &["repo", "create", &format!("r{n}")]));
    let ours = at_once(&ssh(&key, fleet.ssh_port, "hg"), |n| format!("hg -R r{n} serve --stdio"), &pushed);
    drop(fleet);
    println!("{REPOSITORIES} repositories at once, {MIRRORS} mirrors: {ours:.1} pushes a second");
    let Some(sshd) = Sshd::for_key(input, &key) else { return };
    let peer = peer(input, &sshd, &key, &pushed);
    println!("stock, each mirror pulls over SSH: {peer:.1} pushes a second; hgfleet / stock {:.1}", ours / peer);
}
