//! A full clone's `getbundle` over HTTP, zstd.

use crate::input::{Input, text};
use crate::measure::{HG, HGFLEET, command, cpu_milliseconds, milliseconds, report};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

const RUNS: usize = 5;

struct Server {
    process: Child,
    url: String,
}

impl Server {
    fn start(program: &str, arguments: &[&str], repository: &Path) -> Server {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port();
        let mut command = command(program);
        command.args(arguments).args(["-a", "127.0.0.1", "-p", &port.to_string()]);
        if program == HGFLEET {
            command.arg(repository);
        }
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("a server starts");
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            std::thread::sleep(Duration::from_millis(20));
        }
        Server { process, url: format!("http://127.0.0.1:{port}/") }
    }

    /// Fetches everything, as a stock client asks for it; returns milliseconds and bytes.
    fn fetch(&self) -> (f64, f64, u64) {
        let caps = "HG20%2Cbundle2%3DHG20%250Abookmarks%250Achangegroup%253D01%252C02%252C03%250Alistkeys%250Aphases%253Dheads";
        let arguments = format!(
            "X-HgArg-1: bookmarks=1&bundlecaps={caps}&cg=1&common={}&listkeys=bookmarks&phases=1",
            "0".repeat(40)
        );
        let before = cpu_milliseconds(self.process.id());
        let mut bytes = 0;
        let wall = milliseconds(|| {
            let output = command("curl")
                .args(["-s", "-f", "-o", "/dev/null", "-w", "%{size_download}", "-H", &arguments])
                .args(["-H", "X-HgProto-1: 0.1 0.2 comp=zstd,zlib,none,bzip2 partial-pull"])
                .arg(format!("{}?cmd=getbundle", self.url))
                .output()
                .expect("curl runs");
            assert!(output.status.success(), "getbundle failed");
            bytes = String::from_utf8_lossy(&output.stdout).trim().parse().expect("a number");
        });
        (wall, cpu_milliseconds(self.process.id()) - before, bytes)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // What is ours ends with us.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Measures wall and CPU time of both servers, in turns.
pub fn run(input: &Input) {
    for name in ["cargo", "vct"] {
        let repository = input.repository(name);
        let ours = Server::start(HGFLEET, &["web"], &repository);
        let stock = Server::start(HG, &["serve", "-R", text(&repository)], &repository);
        let (mut ours_runs, mut stock_runs) = (Vec::new(), Vec::new());
        for _ in 0..RUNS {
            ours_runs.push(ours.fetch());
            stock_runs.push(stock.fetch());
        }
        let column = |runs: &[(f64, f64, u64)], at: usize| -> Vec<f64> {
            runs.iter().map(|run| if at == 0 { run.0 } else { run.1 }).collect()
        };
        report(&format!("full clone of {name}, wall"), &column(&ours_runs, 0), &column(&stock_runs, 0));
        report(&format!("full clone of {name}, CPU of the server"), &column(&ours_runs, 1), &column(&stock_runs, 1));
        println!("bytes: hgfleet {}, stock {}", ours_runs[0].2, stock_runs[0].2);
    }
}
