//! What requests cost as history grows: stores of 10,000 and of 1,000,000 changesets, of which each changes one small file.

use crate::input::{Input, text};
use crate::made::Made;
use crate::measure::{HGFLEET, command, cpu_microseconds, median, stages};
use crate::replicate::{hgfleet, push, ssh};
use crate::server::{Server, free_port, read_answer, unlike_others};
use crate::start::Fleet;
use hg_store::Node;
use std::io::{BufReader, Write};
use std::net::TcpStream;
use std::time::Instant;

const LENGTHS: [usize; 2] = [10_000, 1_000_000];
const REQUESTS: usize = 2000;
const PUSHES: usize = 30;

/// What is asked, the command, and its arguments, which are made of the last changesets.
type Asked = (&'static str, &'static str, fn(&[Node]) -> String);

/// A connection that stays open, and what is asked on it.
struct Asking {
    connection: BufReader<TcpStream>,
    head: String,
    times: Vec<f64>,
}

impl Asking {
    fn new(port: u16, command: &str, arguments: &str) -> Asking {
        let connection = BufReader::new(TcpStream::connect(("127.0.0.1", port)).expect("it listens"));
        connection.get_ref().set_nodelay(true).expect("set");
        let head = format!(
            "GET /?cmd={command} HTTP/1.1\r\nHost: 127.0.0.1\r\nX-HgArg-1: {arguments}\r\n\
             X-HgProto-1: 0.1 0.2 comp=zstd,zlib,none,bzip2\r\n\r\n"
        );
        Asking { connection, head, times: Vec::new() }
    }

    /// Notes how many microseconds it takes until the answer is there.
    fn ask(&mut self) {
        let head = unlike_others(&self.head, self.times.len());
        let mut body = Vec::new();
        let start = Instant::now();
        self.connection.get_mut().write_all(head.as_bytes()).expect("taken");
        read_answer(&mut self.connection, &mut body);
        self.times.push(start.elapsed().as_secs_f64() * 1e6);
    }
}

/// Time of one request, in microseconds.
fn microseconds(port: u16, command: &str, arguments: &str) -> f64 {
    let mut asking = Asking::new(port, command, arguments);
    asking.ask();
    asking.times[0]
}

/// Measures small requests over both stores, and pushes to both; and the first request after a changeset was added.
pub fn run(input: &Input) {
    let mut made = LENGTHS.map(|length| Made::new(input.scratch(&format!("history-{length}")), length, 1));
    requests(&made);
    pushes(input, &mut made);
    after_a_push(input);
}

fn requests(made: &[Made]) {
    let mut servers = Vec::new();
    for made in made {
        let length = made.changelog.nodes.len();
        let port = free_port();
        let mut program = command(HGFLEET);
        program.args(["web", "-a", "127.0.0.1", "-p", &port.to_string(), text(&made.root)]);
        let server = Server::spawn(program, port);
        servers.push((server, made.changelog.nodes[length - 100..].to_vec()));
    }
    let head = "bundlecaps=HG20%2Cbundle2%3DHG20%250Achangegroup%253D02";
    let requests: [Asked; 6] = [
        ("heads", "heads", |_| String::new()),
        ("known of 100", "known", |last| {
            format!("nodes={}", last.iter().map(Node::to_string).collect::<Vec<_>>().join("+"))
        }),
        ("lookup of a hash", "lookup", |last| format!("key={}", last[0])),
        ("lookup of 12 digits", "lookup", |last| format!("key={}", &last[0].to_string()[..12])),
        ("lookup of no name", "lookup", |_| "key=zzz".to_owned()),
        ("getbundle of the last changeset", "getbundle", |last| format!("cg=1&common={}&heads={}", last[98], last[99])),
    ];
    for (what, name, arguments) in requests {
        let [mut short, mut long] = [0, 1].map(|at: usize| {
            let (server, last) = &servers[at];
            let mut arguments = arguments(last);
            if name == "getbundle" {
                arguments = format!("{head}&{arguments}");
            }
            Asking::new(server.port, name, &arguments)
        });
        short.ask();
        long.ask();
        let used = || [0, 1].map(|at: usize| cpu_microseconds(servers[at].0.worker));
        let before = used();
        // In turns, so that both find the machine as awake.
        for _ in 0..REQUESTS {
            short.ask();
            long.ask();
        }
        let after = used();
        let [cpu_short, cpu_long] = [0, 1].map(|at: usize| (after[at] - before[at]) / REQUESTS as f64);
        let [first_short, first_long] = [&short, &long].map(|asking| asking.times[0]);
        let [short, long] = [short, long].map(|asking| median(&asking.times));
        println!(
            "{what}, CPU: {cpu_short:.0} us with 10,000 changesets, {cpu_long:.0} us with 1,000,000: {:.2} times; wall {short:.0} and {long:.0} us, first {first_short:.0} and {first_long:.0} us",
            cpu_long / cpu_short
        );
    }
}

/// One changeset at a time, to one repository and to the other, in turns; what the master says of its stages.
fn pushes(input: &Input, made: &mut [Made]) {
    let (home, key) = input.home_with_key("home-history");
    let data = input.scratch("fleet-history");
    let fleet = Fleet::start(&data, &home);
    let ssh = ssh(&key, fleet.ssh_port, "hg");
    let names: Vec<String> = made.iter().map(|made| format!("r{}", made.changelog.nodes.len())).collect();
    for (made, name) in made.iter().zip(&names) {
        hgfleet(&data, &["repo", "import", text(&made.root), name]);
    }
    for _ in 0..PUSHES {
        for (made, name) in made.iter_mut().zip(&names) {
            made.add(Some(made.changelog.nodes.len() - 1));
            push(&ssh, &format!("hg -R {name} serve --stdio"), &made.bundle_of_last());
        }
    }
    let log = std::fs::read_to_string(data.with_extension("log")).expect("readable");
    for stage in ["lock_ms", "prepare_ms", "append_ms", "applied_ms", "told_ms", "total_ms"] {
        let of = |name: &String| median(&stages(&log, &format!("repository={name}"), stage));
        let [short, long] = [of(&names[0]), of(&names[1])];
        println!(
            "push of one changeset, {stage}: {short:.2} with 10,000 changesets, {long:.2} with 1,000,000: {:.2} times (medians of {PUSHES})",
            long / short
        );
    }
}

fn after_a_push(input: &Input) {
    let mut made = Made::new(input.scratch("history-heads"), 24_000, 10_000);
    let server = Server::start(HGFLEET, &["web", text(&made.root)], None);
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for _ in 0..PUSHES {
        made.add(Some(made.changelog.nodes.len() - 1));
        made.write();
        let known = format!("cmds=heads+%3Bknown+nodes%3D{}", made.changelog.nodes[0]);
        first.push(microseconds(server.port, "batch", &known));
        second.push(microseconds(server.port, "batch", &known));
    }
    let (first, second) = (median(&first), median(&second));
    println!(
        "24,000 changesets, 10,000 heads: first batch after a push {first:.0} us, the second {second:.0} us: {:.0} us more (medians of {PUSHES})",
        first - second
    );
}
