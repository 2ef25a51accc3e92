//! Two machines on one: what connects to a socket here reaches the server there, and nobody else does.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use hgfleet_tunnel::{Identity, Machine, Served, ServerKind, TunnelOptions, authority};

struct Fleet {
    folder: tempfile::TempDir,
    machines: Vec<Machine>,
    runtime: tokio::runtime::Runtime,
}

impl Fleet {
    /// Two machines, `one` with a master and `two` with a mirror; no tunnel runs yet.
    fn new() -> Fleet {
        let folder = tempfile::tempdir().expect("a folder");
        let machine = |name: &str, kind, server: &str| {
            let port = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port");
            let servers = vec![Served { name: server.to_owned(), kind }];
            Machine { name: name.to_owned(), address: port.to_string(), servers }
        };
        let machines =
            vec![machine("one", ServerKind::Master, "master"), machine("two", ServerKind::Mirror, "mirror-1")];
        for name in ["one", "two"] {
            fs::create_dir_all(folder.path().join(name).join("run/master")).expect("made");
            fs::create_dir_all(folder.path().join(name).join("keys")).expect("made");
            authority::issue(&folder.path().join("one/keys"), name, &folder.path().join(name).join("keys"))
                .expect("keys");
        }
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads");
        Fleet { folder, machines, runtime }
    }

    fn path(&self, path: &str) -> std::path::PathBuf {
        self.folder.path().join(path)
    }

    fn open(&self, machine: &str, keys: &Path) {
        let options = TunnelOptions {
            machine: machine.to_owned(),
            run: self.path(&format!("{machine}/run")),
            identity: Identity::below(keys),
            machines: self.machines.clone(),
        };
        self.runtime.spawn(async move { hgfleet_tunnel::run(options, std::future::pending()).await.expect("opens") });
    }
}

fn soon<T>(what: &str, mut tried: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = tried() {
            return found;
        }
        assert!(start.elapsed() < Duration::from_secs(10), "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Answers each connection with all that it sent, once it has sent all.
fn echo(listener: UnixListener) {
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("accepted");
            let mut all = Vec::new();
            stream.read_to_end(&mut all).expect("read");
            stream.write_all(&all).expect("written");
        }
    });
}

fn ask(path: &Path, bytes: &[u8]) -> Option<Vec<u8>> {
    let mut stream = UnixStream::connect(path).ok()?;
    stream.write_all(bytes).ok()?;
    stream.shutdown(Shutdown::Write).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    Some(answer)
}

#[test]
fn a_socket_of_another_machine_is_reached_with_all_bytes_and_ends_of_either_direction() {
    let fleet = Fleet::new();
    echo(UnixListener::bind(fleet.path("one/run/master/mirrors.sock")).expect("bound"));
    echo(UnixListener::bind(fleet.path("two/run/mirror-1.sock")).expect("bound"));
    for machine in ["one", "two"] {
        fleet.open(machine, &fleet.path(&format!("{machine}/keys")));
    }
    let large: Vec<u8> = (0..3_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for path in ["two/run/master/mirrors.sock", "one/run/mirror-1.sock"] {
        let answer = soon("an answer", || ask(&fleet.path(path), &large).filter(|answer| !answer.is_empty()));
        assert!(answer == large, "{path}: {} bytes of {}", answer.len(), large.len());
    }
    // The server is away: the connection ends, and the tunnel stays.
    let answer = ask(&fleet.path("two/run/master/ssh.sock"), b"SSH");
    assert!(answer.is_none_or(|answer| answer.is_empty()));
    assert_eq!(ask(&fleet.path("two/run/master/mirrors.sock"), b"again").as_deref(), Some(&b"again"[..]));
}

#[test]
fn a_machine_of_another_authority_and_whoever_speaks_no_tls_are_turned_away() {
    let fleet = Fleet::new();
    echo(UnixListener::bind(fleet.path("one/run/master/mirrors.sock")).expect("bound"));
    fleet.open("one", &fleet.path("one/keys"));
    let strange = fleet.path("strange");
    fs::create_dir(&strange).expect("made");
    authority::issue(&strange, "two", &strange).expect("keys");
    fleet.open("two", &strange);
    let socket = fleet.path("two/run/master/mirrors.sock");
    soon("the tunnel is open", || socket.exists().then_some(()));
    for _ in 0..3 {
        assert!(ask(&socket, b"let me in").is_none_or(|answer| answer.is_empty()));
    }
    let mut plain = soon("the port answers", || TcpStream::connect(&fleet.machines[0].address).ok());
    plain.write_all(b"master/mirrors.sock\nlet me in").expect("written");
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.windows(9).any(|found| found == b"let me in"), "{answer:?}");
    for name in ["", "a.b", "-a", "a/b"] {
        assert!(authority::issue(&strange, name, &strange).is_err(), "{name:?}");
    }
    assert!(authority::issue(&strange, "two", &strange).is_err(), "a key that is there is not written over");
}
