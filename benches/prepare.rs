//! A whole repository pushed in one bundle: every revision rebuilt, hashed, prepared, applied.

use crate::input::{Input, text};
use crate::measure::{HG, HGFLEET, command, milliseconds, report, stock};
use crate::memory::highest_resident;
use std::io::{Read, Write};
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};

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

/// Pushes to a server on these cores; returns its highest resident memory but pages of files, in megabytes.
fn push(repository: &Path, conversation: &[u8], cores: &str) -> f64 {
    let mut server = command("taskset")
        .args(["-c", cores, HGFLEET])
        .args(["serve", "-R", text(repository), "--stdio"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("hgfleet serve starts");
    let mut stdin = server.stdin.take().expect("piped");
    let mut stdout = server.stdout.take().expect("piped");
    let pid = server.id();
    let ended = AtomicBool::new(false);
    let highest = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| highest_resident(pid, &ended));
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
        ended.store(true, Ordering::Relaxed);
        watcher.join().expect("no panic")
    });
    assert!(server.wait().expect("ours").success());
    highest as f64 / 1000.0
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

/// Measures `hgfleet serve --stdio` against `hg unbundle` of the same bundle into empty repositories, in turns, on one core and on two.
pub fn run(input: &Input) {
    for (name, cores) in [("vct", "0"), ("vct", "0,1"), ("cargo", "0"), ("cargo", "0,1")] {
        let bundle = input.bundle(name);
        let conversation = conversation(&bundle);
        let (mut ours, mut peer, mut memory) = (Vec::new(), Vec::new(), 0.0_f64);
        let mut sizes = (0, 0);
        for n in 0..RUNS {
            let of = |who: &str| input.scratch(&format!("{who}-{name}-{cores}-{n}"));
            let (a, b) = (of("ours"), of("peer"));
            stock(HG, &["init", text(&a)]);
            stock(HG, &["init", text(&b)]);
            ours.push(milliseconds(|| memory = memory.max(push(&a, &conversation, cores))));
            let unbundle = ["-c", cores, HG, "-R", text(&b), "unbundle", "-q", text(&bundle)];
            peer.push(milliseconds(|| stock("taskset", &unbundle)));
            sizes = (size(&a.join(".hg/store")), size(&b.join(".hg/store")));
            // They stay until the input goes: ext4 looks long for an inode that wasn't deleted a moment ago, so removing one run's files
            // would be paid by the next.
        }
        report(&format!("{name} pushed whole, against hg unbundle, cores {cores}"), &ours, &peer);
        println!("resident memory but pages of files: {memory:.0} MB at most");
        println!("store: hgfleet {} bytes, stock {} bytes, {:.4}", sizes.0, sizes.1, sizes.0 as f64 / sizes.1 as f64);
    }
}
