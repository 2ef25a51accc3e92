//! What requests cost as history grows: stores of 10,000 and of 1,000,000 changesets, of which each changes one small file.

use crate::input::{Input, text};
use crate::measure::{HGFLEET, median};
use crate::server::{Server, read_answer};
use hg_store::Node;
use std::fs;
use std::io::{BufReader, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Instant;

const LENGTHS: [usize; 2] = [10_000, 1_000_000];
const REQUESTS: usize = 400;
const PUSHES: usize = 30;

/// What is asked, the command, and its arguments, which are made of the last changesets.
type Asked = (&'static str, &'static str, fn(&[Node]) -> String);

/// A revlog whose revisions are full texts.
struct Grown {
    index: Vec<u8>,
    data: Vec<u8>,
    nodes: Vec<Node>,
}

impl Grown {
    fn new() -> Grown {
        Grown { index: Vec::new(), data: Vec::new(), nodes: Vec::new() }
    }

    /// Adds a child of the revision `parent`; of none where that isn't there.
    fn add(&mut self, parent: Option<usize>, content: &[u8]) -> Node {
        let number = self.nodes.len() as u32;
        let node = Node::of(&parent.map_or(Node::NULL, |parent| self.nodes[parent]), &Node::NULL, content);
        let mut entry = [0; 64];
        entry[..8].copy_from_slice(&((self.data.len() as u64) << 16).to_be_bytes());
        if number == 0 {
            // Version 1, neither inline nor general deltas.
            entry[..4].copy_from_slice(&1_u32.to_be_bytes());
        }
        let parent = parent.map_or(u32::MAX, |parent| parent as u32);
        let words = [content.len() as u32 + 1, content.len() as u32, number, number, parent, u32::MAX];
        for (n, word) in words.iter().enumerate() {
            entry[8 + n * 4..12 + n * 4].copy_from_slice(&word.to_be_bytes());
        }
        entry[32..52].copy_from_slice(node.as_bytes());
        self.index.extend_from_slice(&entry);
        self.data.push(b'u');
        self.data.extend_from_slice(content);
        self.nodes.push(node);
        node
    }

    /// Writes what the files lack.
    fn write(&self, path: &Path) {
        for (extension, content) in [("d", &self.data), ("i", &self.index)] {
            let path = path.with_extension(extension);
            let mut file = fs::File::options().create(true).append(true).open(path).expect("opened");
            let written = file.metadata().expect("there").len() as usize;
            file.write_all(&content[written..]).expect("written");
        }
    }
}

/// A repository that is made without a program that would take minutes.
struct Made {
    root: PathBuf,
    changelog: Grown,
    manifest: Grown,
    file: Grown,
}

impl Made {
    /// So many changesets; each is a child of the one before, but for the last ones: these are heads.
    fn new(root: PathBuf, changesets: usize, heads: usize) -> Made {
        fs::create_dir_all(root.join(".hg/store/data")).expect("made");
        fs::write(root.join(".hg/requires"), "dotencode\nfncache\nrevlogv1\nstore\n").expect("written");
        fs::write(root.join(".hg/store/fncache"), "data/a.i\ndata/a.d\n").expect("written");
        let mut made = Made { root, changelog: Grown::new(), manifest: Grown::new(), file: Grown::new() };
        for number in 0..changesets {
            made.add(number.checked_sub(1).map(|before| before.min(changesets - heads)));
        }
        made.write();
        made
    }

    fn add(&mut self, parent: Option<usize>) {
        let number = self.changelog.nodes.len();
        let node = self.file.add(parent, format!("line {number}\n").as_bytes());
        let node = self.manifest.add(parent, format!("a\0{node}\n").as_bytes());
        self.changelog.add(parent, format!("{node}\nbench\n{number} 0\na\n\nchange {number}").as_bytes());
    }

    fn write(&self) {
        self.file.write(&self.root.join(".hg/store/data/a"));
        self.manifest.write(&self.root.join(".hg/store/00manifest"));
        self.changelog.write(&self.root.join(".hg/store/00changelog"));
    }
}

/// Median time of a request on a connection that stays open, in microseconds, and of the first one.
fn microseconds(port: u16, command: &str, arguments: &str, requests: usize) -> (f64, f64) {
    let mut connection = BufReader::new(TcpStream::connect(("127.0.0.1", port)).expect("it listens"));
    connection.get_mut().set_nodelay(true).expect("set");
    let head = format!(
        "GET /?cmd={command} HTTP/1.1\r\nHost: 127.0.0.1\r\nX-HgArg-1: {arguments}\r\n\
         X-HgProto-1: 0.1 0.2 comp=zstd,zlib,none,bzip2\r\n\r\n"
    );
    let (mut times, mut body) = (Vec::new(), Vec::new());
    for _ in 0..requests {
        let start = Instant::now();
        connection.get_mut().write_all(head.as_bytes()).expect("taken");
        read_answer(&mut connection, &mut body);
        times.push(start.elapsed().as_secs_f64() * 1e6);
    }
    (median(&times), times[0])
}

/// Measures small requests over both stores, and the first one after a changeset was added.
pub fn run(input: &Input) {
    as_history_grows(input);
    after_a_push(input);
}

fn as_history_grows(input: &Input) {
    let mut servers = Vec::new();
    for length in LENGTHS {
        let made = Made::new(input.scratch(&format!("history-{length}")), length, 1);
        let server = Server::start(HGFLEET, &["web", text(&made.root)], None);
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
    for (what, command, arguments) in requests {
        let of = |(server, last): &(Server, Vec<Node>)| {
            let mut arguments = arguments(last);
            if command == "getbundle" {
                arguments = format!("{head}&{arguments}");
            }
            microseconds(server.port, command, &arguments, REQUESTS)
        };
        let [(short, first_short), (long, first_long)] = [of(&servers[0]), of(&servers[1])];
        println!(
            "{what}: {short:.0} us with 10,000 changesets, {long:.0} us with 1,000,000: {:.2} times; first {first_short:.0}, {first_long:.0} us",
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
        first.push(microseconds(server.port, "batch", &known, 1).0);
        second.push(microseconds(server.port, "batch", &known, 1).0);
    }
    let (first, second) = (median(&first), median(&second));
    println!(
        "24,000 changesets, 10,000 heads: first batch after a push {first:.0} us, the second {second:.0} us: {:.0} us more (medians of {PUSHES})",
        first - second
    );
}
