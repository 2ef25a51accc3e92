//! A whole repository pushed in one bundle: every revision rebuilt, hashed, prepared, applied.

use crate::input::{Input, text};
use crate::measure::{HG, HGFLEET, command, milliseconds, report, stock};
use std::io::{Read, Write};
use std::path::Path;
use std::process::Stdio;

const RUNS: usize = 3;
/// How much of the bundle goes into one chunk of the conversation, in bytes.
const CHUNK: usize = 4096;

/// The conversation of a push over SSH that carries this bundle: arguments, chunks, end.
pub fn conversation(bundle: &Path) -> Vec<u8> {
    let bytes = std::fs::read(bundle).expect("readable");
    let mut conversation = b"unbundle\nheads 10\n666f726365".to_vec();
    for chunk in bytes.chunks(CHUNK) {
        conversation.extend_from_slice(format!("{}\n", chunk.len()).as_bytes());
        conversation.extend_from_slice(chunk);
    }
    conversation.extend_from_slice(b"0\n");
    conversation
}

fn push(repository: &Path, conversation: &[u8]) {
    let mut server = command(HGFLEET)
        .args(["serve", "-R", text(repository), "--stdio"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("hgfleet serve starts");
    let mut stdin = server.stdin.take().expect("piped");
    let mut stdout = server.stdout.take().expect("piped");
    std::thread::scope(|scope| {
        let reader = scope.spawn(move || {
            let mut reply = Vec::new();
            stdout.read_to_end(&mut reply).expect("a reply");
            reply
        });
        stdin.write_all(conversation).expect("taken");
        drop(stdin);
        let reply = reader.join().expect("reads");
        let reply = String::from_utf8_lossy(&reply).to_ascii_lowercase();
        assert!(reply.contains("hg20") && !reply.contains("error:"), "the push was refused: {reply}");
    });
    assert!(server.wait().expect("ours").success());
}

fn size(folder: &Path) -> u64 {
    std::fs::read_dir(folder)
        .expect("readable")
        .map(|entry| entry.expect("readable"))
        .map(|entry| match entry.metadata().expect("there") {
            metadata if metadata.is_dir() => size(&entry.path()),
            metadata => metadata.len(),
        })
        .sum()
}

/// Measures `hgfleet serve --stdio` against `hg unbundle` of the same bundle into empty repositories, in turns.
pub fn run(input: &Input) {
    for name in ["vct", "cargo"] {
        let bundle = input.bundle(name);
        let conversation = conversation(&bundle);
        let (mut ours, mut peer) = (Vec::new(), Vec::new());
        let mut sizes = (0, 0);
        for n in 0..RUNS {
            let (a, b) = (input.scratch(&format!("ours-{name}-{n}")), input.scratch(&format!("peer-{name}-{n}")));
            stock(HG, &["init", text(&a)]);
            stock(HG, &["init", text(&b)]);
            ours.push(milliseconds(|| push(&a, &conversation)));
            peer.push(milliseconds(|| stock(HG, &["-R", text(&b), "unbundle", "-q", text(&bundle)])));
            sizes = (size(&a.join(".hg/store")), size(&b.join(".hg/store")));
            // They stay until the input goes: ext4 looks long for an inode that wasn't deleted a moment ago, so removing one run's files
            // would be paid by the next.
        }
        report(&format!("{name} pushed whole, against hg unbundle"), &ours, &peer);
        println!("store: hgfleet {} bytes, stock {} bytes, {:.4}", sizes.0, sizes.1, sizes.0 as f64 / sizes.1 as f64);
    }
}
