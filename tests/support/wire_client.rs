//! A client of the wire protocol over SSH that is no `hg`: it sends what it is told, piece by piece.

use super::clients::Clients;
use super::fleet::SOON;
use super::run::Said;
use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// One session, `hg -R NAME serve --stdio`; ended when dropped.
pub struct WireClient {
    ssh: Child,
    input: Option<ChildStdin>,
    output: Heard,
    errors: Heard,
}

/// What came over one of the session's pipes so far.
struct Heard {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
    /// Where what was not looked at yet begins
    from: usize,
}

impl Heard {
    fn listen(mut pipe: impl Read + Send + 'static) -> Heard {
        let bytes = Arc::<Mutex<Vec<u8>>>::default();
        let all = bytes.clone();
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 1 << 14];
            while let Ok(count @ 1..) = pipe.read(&mut buffer) {
                all.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&buffer[..count]);
            }
        });
        Heard { bytes, reader: Some(reader), from: 0 }
    }

    fn unread(&self) -> String {
        let bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes[self.from..]).into_owned()
    }
}

/// An `unbundle` up to the end of these bytes; [`PUSH_END`] is what it lacks.
pub fn push_start(bundle: &[u8]) -> Vec<u8> {
    let length = if bundle.is_empty() { String::new() } else { format!("{}\n", bundle.len()) };
    [b"unbundle\nheads 10\n666f726365", length.as_bytes(), bundle].concat()
}

/// The end of a bundle's bytes.
pub const PUSH_END: &[u8] = b"0\n";

impl WireClient {
    /// Begins a session with a key from the clients' home.
    pub fn begin(clients: &Clients, key: &str, name: &str) -> WireClient {
        WireClient::begin_with(clients, key, &[], name)
    }

    /// The same, with these options of `ssh`.
    pub fn begin_with(clients: &Clients, key: &str, options: &[&str], name: &str) -> WireClient {
        let mut ssh = clients.ssh_with(key, options);
        ssh.arg(format!("hg -R {name} serve --stdio"));
        let mut ssh =
            ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("ssh starts");
        let output = Heard::listen(ssh.stdout.take().expect("piped"));
        let errors = Heard::listen(ssh.stderr.take().expect("piped"));
        WireClient { input: ssh.stdin.take(), output, errors, ssh }
    }

    /// Sends these bytes. What was heard up to here is no answer to them.
    pub fn send(&mut self, bytes: &[u8]) {
        for heard in [&mut self.output, &mut self.errors] {
            heard.from = heard.bytes.lock().unwrap_or_else(PoisonError::into_inner).len();
        }
        self.send_more(bytes);
    }

    /// Sends these bytes behind those before.
    pub fn send_more(&mut self, bytes: &[u8]) {
        let input = self.input.as_mut().expect("it goes on");
        // Where the other side has ended, what it said tells why.
        drop(input.write_all(bytes).and_then(|()| input.flush()));
    }

    /// Waits until what was heard since the last [`send`](Self::send) is so, as (output, errors), and returns it.
    #[track_caller]
    pub fn wait(&self, what: &str, holds: impl Fn(&str, &str) -> bool) -> (String, String) {
        let begun = Instant::now();
        loop {
            let (output, errors) = (self.output.unread(), self.errors.unread());
            if holds(&output, &errors) {
                return (output, errors);
            }
            assert!(begun.elapsed() < SOON, "not within {SOON:?}: {what}; heard {output:?} and {errors:?}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Sends a command and asks for the heads: the answer to both, output and errors in one. `expected` stands in it.
    #[track_caller]
    pub fn ask(&mut self, what: &str, command: &[u8], expected: &str) -> String {
        self.send(command);
        self.send_more(b"heads\n");
        let (output, errors) = self.wait(&format!("{what}: {expected:?}"), |output, errors| {
            ends_in_heads(output) && (output.contains(expected) || errors.contains(expected))
        });
        assert!(!errors.contains("panicked") && !errors.contains("/repos/"), "{what}: {errors}");
        output + &errors
    }

    /// Pushes a whole bundle, as [`ask`](Self::ask) does.
    #[track_caller]
    pub fn push(&mut self, what: &str, bundle: &[u8], expected: &str) -> String {
        self.ask(what, &[&push_start(bundle), PUSH_END].concat(), expected)
    }

    /// Waits until this stands in the output or in the errors.
    #[track_caller]
    pub fn wait_for(&self, what: &str, expected: &str) -> String {
        let (output, errors) = self.wait(&format!("{what}: {expected:?}"), |output, errors| {
            output.contains(expected) || errors.contains(expected)
        });
        output + &errors
    }

    /// Sends no more, and returns what was said since the last [`send`](Self::send).
    #[track_caller]
    pub fn end(mut self) -> Said {
        drop(self.input.take());
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.ssh.try_wait().expect("ours") {
                break status;
            }
            assert!(begun.elapsed() < SOON, "the session does not end");
            std::thread::sleep(Duration::from_millis(5));
        };
        for heard in [&mut self.output, &mut self.errors] {
            heard.reader.take().expect("once").join().expect("reads");
        }
        Said { status: status.code().unwrap_or(-1), out: self.output.unread(), err: self.errors.unread() }
    }
}

impl Drop for WireClient {
    fn drop(&mut self) {
        drop(self.input.take());
        drop(self.ssh.kill());
        drop(self.ssh.wait());
    }
}

/// Whether the last thing in it is an answer to `heads`.
fn ends_in_heads(output: &str) -> bool {
    let Some(line) = output.strip_suffix('\n') else { return false };
    let heads = line.rsplit('\n').next().unwrap_or_default();
    let hashes = heads.split(' ').all(|head| head.len() == 40 && head.bytes().all(|digit| digit.is_ascii_hexdigit()));
    hashes && line.strip_suffix(heads).is_some_and(|before| before.ends_with(&format!("{}\n", heads.len() + 1)))
}
