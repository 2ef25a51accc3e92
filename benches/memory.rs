//! Memory of the server while a hundred clients clone at once.

use crate::clone::requests;
use crate::input::{Input, text};
use crate::measure::{HGFLEET, command};
use crate::server::{Server, free_port};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const CLIENTS: usize = 100;

/// Reads the answer to a request to its end; returns its bytes.
fn clone(port: u16, head: &str) -> u64 {
    let mut connection = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    connection.write_all(head.as_bytes()).expect("taken");
    connection.set_read_timeout(Some(Duration::from_secs(600))).expect("set");
    let (mut bytes, mut buffer) = (0, vec![0; 64 << 10]);
    loop {
        match connection.read(&mut buffer).expect("an answer") {
            0 => return bytes,
            read => bytes += read as u64,
        }
    }
}

/// What is resident of a process but pages of files, in kilobytes (`proc_pid_status(5)`).
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process of ours");
    let line =
        |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok());
    line("RssAnon:").unwrap_or(0_u64)
}

/// The most that was resident of a process until `ended`, looked at fifty times a second, in kilobytes.
pub fn highest_resident(pid: u32, ended: &AtomicBool) -> u64 {
    let mut highest = 0;
    while !ended.load(Ordering::Relaxed) {
        highest = highest.max(resident(pid));
        std::thread::sleep(Duration::from_millis(20));
    }
    highest
}

/// Measures the highest resident memory: with bundles kept in their folder, and where that takes none.
pub fn run(input: &Input) {
    let repository = input.repository("cargo");
    for (what, folder) in [("bundles in their folder", None), ("their folder takes none", Some("/proc/none"))] {
        let port = free_port();
        let mut program = command(HGFLEET);
        program.args(["web", "-a", "127.0.0.1", "-p", &port.to_string(), text(&repository)]);
        if let Some(folder) = folder {
            program.env("TMPDIR", folder);
        }
        let server = Server::spawn(program, port);
        let [(_, query, headers), ..] = requests();
        let head = format!(
            "GET /{query} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n{}\r\n\r\n",
            headers.join("\r\n")
        );
        let (before, start, ended) = (resident(server.worker), Instant::now(), AtomicBool::new(false));
        let (highest, bytes) = std::thread::scope(|scope| {
            let watcher = scope.spawn(|| highest_resident(server.worker, &ended));
            let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(|| clone(port, &head))).collect();
            let bytes: Vec<u64> = clients.into_iter().map(|client| client.join().expect("no panic")).collect();
            ended.store(true, Ordering::Relaxed);
            (watcher.join().expect("no panic"), bytes)
        });
        assert!(bytes.iter().all(|bytes| *bytes > 20_000_000), "a clone was cut: {bytes:?}");
        println!(
            "{CLIENTS} clones of cargo at once, {what}: resident {:.0} MB, {:.0} MB before, {:.1} s in all",
            highest as f64 / 1000.0,
            before as f64 / 1000.0,
            start.elapsed().as_secs_f64()
        );
    }
}
