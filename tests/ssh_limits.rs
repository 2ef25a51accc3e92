//! The SSH door's limits and bans as clients see them through the balancer, and where these are found to be.

use crate::support::fleet::{Fleet, SOON};
use crate::support::run::{Said, run};
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tokio::io::{AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpSocket};

/// A load balancer at an address of its own: it says by the PROXY protocol that its clients are elsewhere.
struct LoadBalancer {
    port: u16,
    _runtime: tokio::runtime::Runtime,
}

impl LoadBalancer {
    fn start(at: [u8; 4], to: u16, header: &'static [u8]) -> LoadBalancer {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let port = listener.local_addr().unwrap().port();
        runtime.spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let socket = TcpSocket::new_v4()?;
                    socket.bind((Ipv4Addr::from(at), 0).into())?;
                    let mut server = socket.connect(SocketAddr::from(([127, 0, 0, 1], to))).await?;
                    server.write_all(header).await?;
                    copy_bidirectional(&mut client, &mut server).await
                });
            }
        });
        LoadBalancer { port, _runtime: runtime }
    }
}

const SECTIONS: &str = "[ssh.limits]\nsessions_per_account = 1\nban_failures = 3\nban_seconds = 3\n\n\
                        [proxy_protocol]\nfrom = [\"127.0.0.3\"]\n";

/// From which address of this machine a client connects.
fn from(fleet: &Fleet, address: &str, key: &str, command: &str) -> Said {
    let mut ssh = fleet.ssh_command();
    if key != "id_ed25519" {
        ssh = Command::new("ssh");
        ssh.args(["-p", &fleet.ssh_port.to_string()]).args(crate::support::clients::ssh_options());
        ssh.args(["-o", "IdentityAgent=none", "-i"]).arg(fleet.path("home/.ssh").join(key)).arg("hg@127.0.0.1");
    }
    run(ssh.args(["-b", address, command]))
}

#[test]
fn limits_and_bans_are_of_the_client_and_not_of_the_balancer() {
    let fleet = Fleet::start_with(&[], SECTIONS);
    fleet.hgfleet(&["repo", "create", "team/first"]).ok();
    one_session_of_each_account(&fleet);
    three_wrong_keys_ban_their_address_alone(&fleet);
    a_load_balancer_says_where_its_clients_are(&fleet);
    assert!(!fleet.log().contains("panicked"), "{}", fleet.log());
}

fn one_session_of_each_account(fleet: &Fleet) {
    let mut ssh = fleet.ssh_command();
    ssh.arg("hg -R team/first serve --stdio").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut first = ssh.spawn().expect("ssh starts");
    let mut stdin = first.stdin.take().expect("piped");
    std::io::Write::write_all(&mut stdin, b"hello\n").expect("sent");
    let mut line = String::new();
    BufReader::new(first.stdout.take().expect("piped")).read_line(&mut line).expect("answered");
    let refused = fleet.ssh("hg -R team/first serve --stdio").refused();
    assert!(refused.err.starts_with("refused: 1 sessions are open already, of "), "{refused:?}");
    let clone = fleet.hg(&["clone", &fleet.ssh_url("team/first"), "refused"]);
    assert!(clone.err.contains("remote: refused: 1 sessions are open already"), "{clone:?}");
    drop(stdin);
    first.wait().expect("ends");
    fleet.wait_until("the session's place is free", |fleet| {
        fleet.ssh("hg -R nowhere serve --stdio").err.contains("not exist")
    });
}

fn three_wrong_keys_ban_their_address_alone(fleet: &Fleet) {
    let key = fleet.path("home/.ssh/stranger");
    run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(key)).ok();
    for _ in 0..3 {
        let denied = from(fleet, "127.0.0.2", "stranger", "x");
        assert!(denied.err.contains("Permission denied (publickey)"), "{denied:?}");
    }
    let begun = Instant::now();
    let banned = from(fleet, "127.0.0.2", "id_ed25519", "hg -R nowhere serve --stdio");
    assert!(
        banned.err.contains("refused: too many failed logins, from 127.0.0.2. Try again in 1 minutes"),
        "{banned:?}"
    );
    assert!(begun.elapsed() < Duration::from_secs(2), "at once");
    assert!(fleet.ssh("hg -R nowhere serve --stdio").err.contains("does not exist"), "others are not concerned");
    assert_eq!(fleet.log().matches("ssh source banned").count(), 1);
    fleet.wait_until("the ban is over", |fleet| {
        from(fleet, "127.0.0.2", "id_ed25519", "hg -R nowhere serve --stdio").err.contains("does not exist")
    });
    assert!(begun.elapsed() < SOON);
}

fn a_load_balancer_says_where_its_clients_are(fleet: &Fleet) {
    let header = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 22\r\n";
    let trusted = LoadBalancer::start([127, 0, 0, 3], fleet.ssh_port, header);
    let work = fleet.init("work");
    work.commit("a", "1\n", "first");
    work.hg(&["push", "-q", &format!("ssh://hg@127.0.0.1:{}/team/first", trusted.port)]).ok();
    let records = fleet.hgfleet(&["log", "list", "--json"]).ok().out;
    assert!(records.contains("192.0.2.7"), "the record has the client's address: {records}");
    let log = fleet.log();
    assert!(log.lines().any(|line| line.contains("session ended") && line.contains("192.0.2.7:4711")), "{log}");

    // Version 2, of a check of its own: its address is its own.
    let own = LoadBalancer::start([127, 0, 0, 3], fleet.ssh_port, b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0");
    work.hg(&["identify", &format!("ssh://hg@127.0.0.1:{}/team/first", own.port)]).ok();
    // Without a header nobody gets in from there, and with one nobody from anywhere else.
    let silent = LoadBalancer::start([127, 0, 0, 3], fleet.ssh_port, b"");
    let stranger = LoadBalancer::start([127, 0, 0, 4], fleet.ssh_port, header);
    for port in [silent.port, stranger.port] {
        let refused = work.hg(&["identify", &format!("ssh://hg@127.0.0.1:{port}/team/first")]);
        assert_eq!(refused.status, 255, "{refused:?}");
    }
    let https = |address: &str, proxied: bool| {
        let mut curl = fleet.curl();
        curl.args(["--interface", address, "-w", "%{http_code}", "-o", "/dev/null"]);
        if proxied {
            curl.arg("--haproxy-protocol");
        }
        run(curl.arg(fleet.https_url("team/first"))).out
    };
    let answers = [("127.0.0.3", true), ("127.0.0.3", false), ("127.0.0.4", true), ("127.0.0.4", false)];
    assert_eq!(answers.map(|(address, proxied)| https(address, proxied)), ["200", "000", "000", "200"]);
}
