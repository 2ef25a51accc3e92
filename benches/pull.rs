//! A pull of the last 60 changesets, computed each time: no answer is kept for the next.

use crate::input::{Input, text};
use crate::measure::{HG, HGFLEET, command, cpu_milliseconds, milliseconds, report};
use crate::server::{Server, free_port, pinned, read_answer, unlike_others};
use std::io::{BufReader, Write};
use std::net::TcpStream;
use std::ops::Range;
use std::path::Path;

const CHANGESETS: usize = 60;
/// Requests of one run: the kernel counts CPU time in hundredths of a second.
const PULLS: usize = 100;
const RUNS: usize = 5;
/// Characters of one header of arguments; clients ask the server.
const HEADER_CHARACTERS: usize = 1000;

/// CPU and wall milliseconds of one answer. Each request has its number in it, and needs an answer of its own.
fn pulls(server: &Server, request: &str, numbers: Range<usize>) -> (f64, f64) {
    let count = numbers.len() as f64;
    let requests: Vec<String> = numbers.map(|number| unlike_others(request, number)).collect();
    let mut connection = BufReader::new(TcpStream::connect(("127.0.0.1", server.port)).expect("it listens"));
    connection.get_mut().set_nodelay(true).expect("set");
    let mut body = Vec::new();
    let before = cpu_milliseconds(server.worker);
    let wall = milliseconds(|| {
        for request in &requests {
            connection.get_mut().write_all(request.as_bytes()).expect("taken");
            read_answer(&mut connection, &mut body);
            assert!(body.len() > 1000, "not what a pull is answered with");
        }
    });
    ((cpu_milliseconds(server.worker) - before) / count, wall / count)
}

/// What a client asks for that has all but the last changesets.
fn request(repository: &Path) -> String {
    let nodes = |revisions: &str| {
        let log = command(HG).args(["-R", text(repository), "log", "-r", revisions, "-T", "{node} "]).output();
        String::from_utf8_lossy(&log.expect("hg runs").stdout).trim_end().replace(' ', "+")
    };
    let common = nodes(&format!("heads(0:-{})", CHANGESETS + 1));
    let heads = nodes("head()");
    let able =
        "HG20%2Cbundle2%3DHG20%250Abookmarks%250Achangegroup%253D01%252C02%252C03%250Alistkeys%250Aphases%253Dheads";
    let arguments =
        format!("bookmarks=1&bundlecaps={able}&cg=1&common={common}&heads={heads}&listkeys=bookmarks&phases=1");
    let pieces = arguments.as_bytes().chunks(HEADER_CHARACTERS).zip(1..);
    let headers: String =
        pieces.map(|(piece, n)| format!("X-HgArg-{n}: {}\r\n", String::from_utf8_lossy(piece))).collect();
    format!(
        "GET /?cmd=getbundle HTTP/1.1\r\nHost: 127.0.0.1\r\n{headers}\
         X-HgProto-1: 0.1 0.2 comp=zstd,zlib,none,bzip2 partial-pull\r\n\r\n"
    )
}

/// Measures ours and `hg serve`, in turns, each on one core.
pub fn run(input: &Input) {
    let repository = input.repository("cargo");
    let request = request(&repository);
    let stock = Server::start(HG, &["serve", "-R", text(&repository)], Some(0));
    let port = free_port();
    let mut program = pinned(0, HGFLEET);
    program.args(["web", "-a", "127.0.0.1", "-p", &port.to_string(), text(&repository)]);
    let ours = Server::spawn(program, port);
    let first = pulls(&ours, &request, 0..1).1;
    pulls(&stock, &request, 0..1);
    let runs = (0..RUNS).map(|run| {
        let begin = 1 + run * PULLS;
        (pulls(&ours, &request, begin..begin + PULLS), pulls(&stock, &request, begin..begin + PULLS / 5))
    });
    let (ours, peer): (Vec<_>, Vec<_>) = runs.unzip();
    println!("the first one after the start of the server: {first:.1} ms");
    for (what, of) in [("CPU", (|run| run.0) as fn(&(f64, f64)) -> f64), ("wall", |run| run.1)] {
        let (ours, peer): (Vec<f64>, Vec<f64>) = (ours.iter().map(of).collect(), peer.iter().map(of).collect());
        report(&format!("pull of cargo's last {CHANGESETS}, {what}"), &ours, &peer);
    }
}
