//! A line to a server that goes bad while it is used: what comes back over it is held, exchanged, or cut.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// What becomes of the server's answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// They pass.
    Good,
    /// They never come.
    Hangs,
    /// Something else comes.
    Garbage,
    /// They end in the middle.
    Cut,
    /// Nobody is there: connections are closed as they come.
    Closed,
}

/// A port that leads to another one. It ends with the test's process.
pub struct TroubledLine {
    line: Arc<Mutex<Line>>,
    /// Where it listens, on loopback
    pub port: u16,
}

impl TroubledLine {
    /// A good one to this port of loopback.
    pub fn to(port: u16) -> TroubledLine {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let troubled =
            TroubledLine { line: Arc::new(Mutex::new(Line::Good)), port: listener.local_addr().expect("bound").port() };
        let line = troubled.line.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let line = line.clone();
                thread::spawn(move || pass_on(client, port, &line));
            }
        });
        troubled
    }

    /// From now on, for connections that are open too.
    pub fn becomes(&self, line: Line) {
        *self.line.lock().unwrap_or_else(PoisonError::into_inner) = line;
    }
}

fn pass_on(mut client: TcpStream, port: u16, line: &Arc<Mutex<Line>>) -> Option<()> {
    let now = |line: &Mutex<Line>| *line.lock().unwrap_or_else(PoisonError::into_inner);
    if now(line) == Line::Closed {
        return None;
    }
    let mut server = TcpStream::connect(("127.0.0.1", port)).ok()?;
    let (mut to_client, mut from_server) = (client.try_clone().ok()?, server.try_clone().ok()?);
    let back = line.clone();
    thread::spawn(move || {
        let mut buffer = [0; 1 << 14];
        while let Ok(count @ 1..) = from_server.read(&mut buffer) {
            let sent = match now(&back) {
                Line::Good => to_client.write_all(&buffer[..count]),
                Line::Hangs => Ok(()),
                Line::Garbage => to_client.write_all(b"220 mail.example.org ESMTP\r\n"),
                Line::Cut => {
                    to_client.write_all(&buffer[..count / 2]).and_then(|()| to_client.shutdown(Shutdown::Both))
                }
                Line::Closed => to_client.shutdown(Shutdown::Both),
            };
            if sent.is_err() {
                break;
            }
        }
        drop(to_client.shutdown(Shutdown::Both));
        drop(from_server.shutdown(Shutdown::Both));
    });
    let mut buffer = [0; 1 << 14];
    while let Ok(count @ 1..) = client.read(&mut buffer) {
        server.write_all(&buffer[..count]).ok()?;
    }
    server.shutdown(Shutdown::Both).ok()
}
