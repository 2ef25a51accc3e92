//! The servers that are measured.

use crate::input::text;
use crate::measure::command;
use std::io::{BufRead, BufReader, Read};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A port that nobody listens at.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port()
}

/// A program that runs on one core.
pub fn pinned(core: usize, program: &str) -> Command {
    let mut command = command("taskset");
    command.args(["-c", &core.to_string(), program]);
    command
}

/// Reads one answer, which must be a good one; its body replaces what `body` has.
pub fn read_answer(connection: &mut BufReader<TcpStream>, body: &mut Vec<u8>) {
    let mut line = Vec::with_capacity(128);
    let mut read_line = |connection: &mut BufReader<TcpStream>| {
        line.clear();
        connection.read_until(b'\n', &mut line).expect("an answer");
        String::from_utf8_lossy(line.trim_ascii_end()).into_owned()
    };
    let status = read_line(connection);
    assert!(status.starts_with("HTTP/1.1 200"), "{status}");
    let mut length = None;
    loop {
        let field = read_line(connection);
        match field.split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = Some(value.trim().parse::<u64>().expect("digits"));
            }
            Some(_) => {}
            None => break,
        }
    }
    body.clear();
    let mut append = |connection: &mut BufReader<TcpStream>, bytes: u64| {
        let read = connection.take(bytes).read_to_end(body).expect("an answer");
        assert_eq!(read as u64, bytes, "the answer is cut");
    };
    if let Some(bytes) = length {
        return append(connection, bytes);
    }
    loop {
        let bytes = u64::from_str_radix(&read_line(connection), 16).expect("a chunk's length");
        append(connection, bytes);
        read_line(connection);
        if bytes == 0 {
            break;
        }
    }
}

/// A server over HTTP on loopback. It ends with this.
pub struct Server {
    process: Child,
    /// The process that answers.
    pub worker: u32,
    /// `http://127.0.0.1:PORT/`.
    pub url: String,
    /// Where it listens.
    pub port: u16,
}

impl Server {
    /// Starts `hgfleet web` or `hg serve`, on one core alone where that is given.
    pub fn start(program: &str, arguments: &[&str], core: Option<usize>) -> Server {
        let port = free_port();
        let mut command = match core {
            Some(core) => pinned(core, program),
            None => command(program),
        };
        command.args(arguments).args(["-a", "127.0.0.1", "-p", &port.to_string()]);
        Server::spawn(command, port)
    }

    /// Starts a server that is told already where to listen, and waits for it.
    pub fn spawn(mut command: Command, port: u16) -> Server {
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("a server starts");
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            std::thread::sleep(Duration::from_millis(20));
        }
        let worker = process.id();
        Server { process, worker, url: format!("http://127.0.0.1:{port}/"), port }
    }

    /// An nginx with one worker, which sends the files of a folder; on one core alone where that is given.
    pub fn nginx(program: &str, folder: &Path, core: Option<usize>) -> Server {
        let port = free_port();
        let here = text(folder);
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|what| format!("{what}_temp_path {here}/temporary;"))
            .concat();
        let configuration = format!(
            "daemon off; worker_processes 1; pid {here}/pid; error_log {here}/error; events {{}} \
             http {{ access_log off; sendfile on; keepalive_requests 100000000; {temporary} server {{ listen 127.0.0.1:{port}; root {here}; }} }}"
        );
        std::fs::write(folder.join("nginx.conf"), configuration).expect("written");
        let mut command = match core {
            Some(core) => pinned(core, program),
            None => command(program),
        };
        command.args(["-e", &format!("{here}/error"), "-c", &format!("{here}/nginx.conf")]);
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("nginx starts");
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            std::thread::sleep(Duration::from_millis(20));
        }
        let children =
            std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", process.id())).expect("its workers");
        let worker = children.split_whitespace().next().expect("a worker").parse().expect("a number");
        Server { process, worker, url: format!("http://127.0.0.1:{port}/"), port }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // What is ours ends with us; an nginx that is killed would leave its worker.
        let _ = rustix::process::kill_process(
            rustix::process::Pid::from_child(&self.process),
            rustix::process::Signal::TERM,
        );
        let _ = self.process.wait();
    }
}

/// The request with a number among the capabilities of a bundle that it asks for, which nobody looks at: the answer is another one for a
/// server that keeps bundles, with the same bytes.
pub fn unlike_others(request: &str, number: usize) -> String {
    request.replacen("bundlecaps=HG20", &format!("bundlecaps=HG20%2Cn{number}"), 1)
}
