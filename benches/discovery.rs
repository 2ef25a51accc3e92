//! Discovery: a `batch` of `heads` and `known`, over connections that stay open. The server has one core, this process the other.

use crate::input::{Input, text};
use crate::measure::{HG, HGFLEET, command, cpu_milliseconds, median, on_path};
use crate::server::{Server, free_port, pinned, read_answer};
use std::io::{BufReader, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

const CONNECTIONS: usize = 8;
const RUNS: usize = 5;
/// How long one run lasts.
const RUN: Duration = Duration::from_secs(2);

/// What a client with one head sends.
fn request(known: &str) -> Vec<u8> {
    format!(
        "GET /?cmd=batch HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept-Encoding: identity\r\nAccept: application/mercurial-0.1\r\n\
         User-Agent: mercurial/proto-1.0 (Mercurial 7.2.4)\r\nVary: X-HgArg-1,X-HgProto-1\r\n\
         X-HgArg-1: cmds=heads+%3Bknown+nodes%3D{known}\r\nX-HgProto-1: 0.1 0.2 comp=zstd,zlib,none,bzip2 partial-pull\r\n\r\n"
    )
    .into_bytes()
}

/// The body of one answer.
fn answer(port: u16, request: &[u8]) -> Vec<u8> {
    let mut connection = BufReader::new(TcpStream::connect(("127.0.0.1", port)).expect("it listens"));
    connection.get_mut().write_all(request).expect("taken");
    let mut body = Vec::new();
    read_answer(&mut connection, &mut body);
    body
}

/// Requests a second: each connection has one request under way.
fn per_second(port: u16, request: &[u8]) -> f64 {
    let mut connections: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let connection = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
            connection.set_nodelay(true).expect("set");
            connection.set_read_timeout(Some(Duration::from_secs(30))).expect("set");
            BufReader::with_capacity(16 << 10, connection)
        })
        .collect();
    let mut body = Vec::new();
    let (mut answers, start) = (0_u32, Instant::now());
    for connection in &mut connections {
        connection.get_mut().write_all(request).expect("taken");
    }
    while start.elapsed() < RUN {
        for connection in &mut connections {
            read_answer(connection, &mut body);
            answers += 1;
            connection.get_mut().write_all(request).expect("taken");
        }
    }
    assert!(body.len() > 3000 && body.ends_with(b";1"), "not what a batch is answered with");
    f64::from(answers) / start.elapsed().as_secs_f64()
}

/// Measures ours, `hg serve`, and hgweb in gunicorn where that is on the path, in turns.
pub fn run(input: &Input) {
    let repository = input.repository("cargo");
    let tip =
        command(HG).args(["-R", text(&repository), "log", "-r", "tip", "-T", "{node}"]).output().expect("hg runs");
    let request = request(&String::from_utf8_lossy(&tip.stdout));
    // Whoever is started before keeps its own choice.
    let own = std::process::id().to_string();
    let pin = |cores: &str| {
        let done = command("taskset").args(["-cp", cores, &own]).output().expect("util-linux is here");
        assert!(done.status.success(), "this machine has one core");
    };
    let ours = Server::start(HGFLEET, &["web", text(&repository)], Some(0));
    let serve = Server::start(HG, &["serve", "-R", text(&repository)], Some(0));
    let gunicorn = on_path("gunicorn").map(|program| {
        let folder = input.scratch("hgweb");
        std::fs::create_dir_all(&folder).expect("made");
        let application =
            format!("from mercurial.hgweb import hgweb\napplication = hgweb({:?}.encode())\n", text(&repository));
        std::fs::write(folder.join("application.py"), application).expect("written");
        let port = free_port();
        let mut command = pinned(0, text(&program));
        command.args(["--chdir", text(&folder), "-w", "1", "-k", "gthread", "--threads", "8", "--keep-alive", "30"]);
        command.args(["-b", &format!("127.0.0.1:{port}"), "application"]);
        Server::spawn(command, port)
    });
    // What HTTP alone costs here: the same bytes as a file.
    let nginx = on_path("nginx").map(|program| {
        let folder = input.scratch("answer");
        std::fs::create_dir_all(&folder).expect("made");
        std::fs::write(folder.join("answer"), answer(ours.port, &request)).expect("written");
        Server::nginx(text(&program), &folder, Some(0))
    });
    let of_file = b"GET /answer HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
    // Stock imports a module where it is first needed, which two threads at once must not do.
    for server in [Some(&serve), gunicorn.as_ref()].into_iter().flatten() {
        answer(server.port, &request);
    }
    pin("1");
    let before = cpu_milliseconds(ours.worker);
    let mut figures: [Vec<f64>; 4] = Default::default();
    for _ in 0..RUNS {
        figures[0].push(per_second(ours.port, &request));
        figures[1].push(per_second(serve.port, &request));
        if let Some(gunicorn) = &gunicorn {
            figures[2].push(per_second(gunicorn.port, &request));
        }
        if let Some(nginx) = &nginx {
            figures[3].push(per_second(nginx.port, of_file));
        }
    }
    pin("0-1");
    let answered = figures[0].iter().sum::<f64>() * RUN.as_secs_f64();
    println!("CPU of hgfleet for each answer: {:.1} us", (cpu_milliseconds(ours.worker) - before) * 1e3 / answered);
    println!(
        "discovery of cargo, {CONNECTIONS} connections, medians of {RUNS} runs: hgfleet {:.0}/s",
        median(&figures[0])
    );
    let peers = ["hg serve", "hgweb in gunicorn", "nginx, which sends a file of the same bytes"];
    for (name, peer) in peers.iter().zip(&figures[1..]).filter(|(_, peer)| !peer.is_empty()) {
        let ratios: Vec<f64> = figures[0].iter().zip(peer).map(|(ours, peer)| ours / peer).collect();
        println!("{name} {:.0}/s: hgfleet answers {:.2} times as many", median(peer), median(&ratios));
    }
    for (name, is_absent) in [("gunicorn", gunicorn.is_none()), ("nginx", nginx.is_none())] {
        if is_absent {
            println!("{name} is not here, so that nothing is compared with it");
        }
    }
}
