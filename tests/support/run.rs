//! Runs programs and keeps what they said.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What a program said.
#[derive(Debug, Clone)]
pub struct Said {
    /// Exit status; -1 where a signal ended it
    pub status: i32,
    /// Standard output
    pub out: String,
    /// Standard error
    pub err: String,
}

impl Said {
    /// Panics with everything it said, unless it ended with status 0.
    #[track_caller]
    pub fn ok(self) -> Said {
        assert_eq!(self.status, 0, "expected success, got {self:#?}");
        self
    }

    /// Panics unless it ended with status 1 and said one line on standard error.
    #[track_caller]
    pub fn refused(self) -> Said {
        assert_eq!(self.status, 1, "expected a refusal, got {self:#?}");
        assert_eq!(self.err.lines().count(), 1, "expected one line, got {self:#?}");
        self
    }
}

/// Runs `command` with `input`, for at most `limit`.
#[track_caller]
pub fn run_with(command: &mut Command, input: &[u8], limit: Duration) -> Said {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    let feed = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let collect = |mut from: Box<dyn Read + Send>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            drop(from.read_to_end(&mut bytes));
            String::from_utf8_lossy(&bytes).into_owned()
        })
    };
    let out = collect(Box::new(child.stdout.take().expect("piped")));
    let err = collect(Box::new(child.stderr.take().expect("piped")));
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("ours to wait for") {
            break status;
        }
        if start.elapsed() > limit {
            child.kill().expect("ours to kill");
            child.wait().expect("killed");
            panic!("{command:?} did not end within {limit:?}: {:?}", (out.join(), err.join()));
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    feed.join().expect("feeds");
    Said { status: status.code().unwrap_or(-1), out: out.join().expect("reads"), err: err.join().expect("reads") }
}

/// Runs a command of Mercurial's that talks to no server, and so needs no process of its own, in this folder.
#[track_caller]
pub fn run_here(hg: &Path, folder: &Path, arguments: &[&str]) -> Said {
    let output = hg_command_server::run(hg, folder, arguments).expect("hg runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said { status: output.status.code().unwrap_or(-1), out: text(&output.stdout), err: text(&output.stderr) }
}

/// Runs `command` without input, for at most two minutes.
#[track_caller]
pub fn run(command: &mut Command) -> Said {
    run_with(command, b"", Duration::from_secs(120))
}
