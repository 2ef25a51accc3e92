//! Everything of a repository over HTTP: as changesets, zstd, as the store's files, and as a clone bundle; for the first time and again.

use crate::input::{Input, text};
use crate::measure::{HG, HGFLEET, command, cpu_milliseconds, milliseconds, on_path, report, report_beside, stock};
use crate::server::Server;
use std::path::{Path, PathBuf};

const RUNS: usize = 5;
const BUNDLE: &str = "full.hg";

/// Fetches a path below a server's address.
fn fetch(server: &Server, path: &str, headers: &[String], into: &Path) -> Run {
    let before = cpu_milliseconds(server.worker);
    let mut bytes = 0;
    let wall = milliseconds(|| {
        let mut curl = command("curl");
        curl.args(["-s", "-f", "-w", "%{size_download}", "-o", text(into)]);
        curl.args(headers.iter().flat_map(|header| ["-H", header]));
        let output = curl.arg(format!("{}{path}", server.url)).output().expect("curl runs");
        assert!(output.status.success(), "{path} failed");
        bytes = String::from_utf8_lossy(&output.stdout).trim().parse().expect("a number");
    });
    Run { wall, cpu: cpu_milliseconds(server.worker) - before, bytes }
}

/// One transfer: milliseconds, milliseconds of the server's CPU, bytes.
#[derive(Clone, Copy)]
struct Run {
    wall: f64,
    cpu: f64,
    bytes: u64,
}

/// What a stock client asks for, with the query and the headers: everything as changesets, or as the store's files, or a clone bundle.
pub fn requests() -> [(&'static str, &'static str, Vec<String>); 3] {
    let head =
        "HG20%2Cbundle2%3DHG20%250Abookmarks%250Achangegroup%253D01%252C02%252C03%250Alistkeys%250Aphases%253Dheads";
    let protocol = "X-HgProto-1: 0.1 0.2 comp=zstd,zlib,none,bzip2 partial-pull".to_owned();
    let null = "0".repeat(40);
    let full = format!("X-HgArg-1: bookmarks=1&bundlecaps={head}&cg=1&common={null}&listkeys=bookmarks&phases=1");
    let stream = format!("X-HgArg-1: bookmarks=1&bundlecaps={head}%250Astream%253Dv2&cg=0&listkeys=bookmarks&stream=1");
    let inline = format!("X-HgArg-1: path={BUNDLE}");
    [
        ("full clone", "?cmd=getbundle", vec![full, protocol.clone()]),
        ("stream clone", "?cmd=getbundle", vec![stream, protocol.clone()]),
        ("inline clone bundle", "?cmd=get_cached_bundle_inline", vec![inline, protocol]),
    ]
}

/// A repository with a clone bundle.
fn with_bundle(input: &Input, name: &str) -> PathBuf {
    let path = input.scratch(&format!("with-bundle-{name}"));
    stock(HG, &["clone", "-q", "-U", text(&input.repository(name)), text(&path)]);
    let bundles = path.join(".hg/bundle-cache");
    std::fs::create_dir_all(&bundles).expect("made");
    stock(HG, &["-R", text(&path), "bundle", "-q", "--all", "-t", "zstd-v2", text(&bundles.join(BUNDLE))]);
    path
}

/// Measures wall and CPU time of the servers, in turns: ours asked for the first time and again, stock's, and nginx with a file of the
/// same bytes as ours.
pub fn run(input: &Input) {
    for name in ["cargo", "vct"] {
        let repository = with_bundle(input, name);
        let stock = Server::start(HG, &["serve", "-R", text(&repository)], None);
        let folder = input.scratch(&format!("files-{name}"));
        std::fs::create_dir_all(&folder).expect("made");
        let nginx = on_path("nginx").map(|program| Server::nginx(text(&program), &folder, None));
        if nginx.is_none() {
            println!("nginx is not here, so that nothing is compared with it");
        }
        for (what, query, headers) in requests() {
            let get = |server: &Server| fetch(server, query, &headers, &folder.join("body"));
            let (mut first, mut again, mut peer, mut file) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
            for _ in 0..RUNS {
                let ours = Server::start(HGFLEET, &["web", text(&repository)], None);
                first.push(get(&ours));
                // As nginx: its file was sent once before, too.
                get(&ours);
                again.push(get(&ours));
                peer.push(get(&stock));
                if let Some(nginx) = &nginx {
                    // The same bytes, and what curl does with them.
                    get(&ours);
                    std::fs::rename(folder.join("body"), folder.join("file")).expect("renamed");
                    fetch(nginx, "file", &[], &folder.join("body"));
                    file.push(fetch(nginx, "file", &[], &folder.join("body")));
                }
            }
            let wall = |runs: &[Run]| runs.iter().map(|run| run.wall).collect::<Vec<f64>>();
            // A hundredth of a second is all that the kernel counts: what is below is taken for half of it.
            let cpu = |runs: &[Run]| runs.iter().map(|run| run.cpu.max(5.0)).collect::<Vec<f64>>();
            report(&format!("{what} of {name}, wall"), &wall(&first), &wall(&peer));
            report(&format!("{what} of {name}, CPU of the server"), &cpu(&first), &cpu(&peer));
            report(&format!("the same heads again, {what} of {name}, wall"), &wall(&again), &wall(&peer));
            if !file.is_empty() {
                report_beside(
                    "nginx",
                    &format!("the same heads again, {what} of {name}, wall"),
                    &wall(&again),
                    &wall(&file),
                );
                report_beside("nginx", "the same, CPU", &cpu(&again), &cpu(&file));
            }
            println!("bytes: hgfleet {}, stock {}", first[0].bytes, peer[0].bytes);
        }
    }
}
