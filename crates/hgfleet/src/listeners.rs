//! Listening sockets that come bound: from `hgfleet up`, or from systemd.
//!
//! The convention is systemd's (`sd_listen_fds(3)`): descriptors from 3 on, `LISTEN_FDS` of them, named in
//! `LISTEN_FDNAMES`.

use anyhow::Context;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// The first descriptor that is passed on.
const FIRST: RawFd = 3;

/// The most descriptors that are looked at.
const PASSED_MAX: RawFd = 64;

/// The sockets that this process was started with.
#[derive(Debug, Default)]
pub struct Passed {
    sockets: Vec<(String, TcpListener)>,
}

impl Passed {
    /// Takes them over. Call once, at the start, before anything else opens a file.
    pub fn take() -> Passed {
        let read = |name: &str| std::env::var(name).ok();
        let for_us = read("LISTEN_PID").is_none_or(|pid| pid == std::process::id().to_string());
        let count = read("LISTEN_FDS").and_then(|count| count.parse::<RawFd>().ok()).unwrap_or(0);
        if !for_us || count <= 0 || count > PASSED_MAX {
            return Passed::default();
        }
        let names = read("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let sockets = (FIRST..FIRST + count)
            .map(|descriptor| {
                // SAFETY: whoever set LISTEN_FDS gave us these descriptors to own, and nothing of ours opened a file yet.
                let socket = unsafe { OwnedFd::from_raw_fd(descriptor) };
                (names.next().unwrap_or_default().to_owned(), TcpListener::from(socket))
            })
            .collect();
        Passed { sockets }
    }

    /// The socket called `name`, or else a fresh one bound to `address`.
    ///
    /// # Errors
    ///
    /// As [`bind`].
    pub fn take_or_bind(&mut self, name: &str, key: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
        match self.sockets.iter().position(|(passed, _)| passed == name) {
            Some(at) => Ok(self.sockets.swap_remove(at).1),
            None => bind(key, address),
        }
    }
}

/// Binds a listening socket.
///
/// # Errors
///
/// The address is in use or not ours; the message names it and the key and option that set it.
pub fn bind(key: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::AddrInUse => {
                anyhow::anyhow!(
                    "the address {address} is in use by another program; stop it, or choose another with {key}"
                )
            }
            _ => anyhow::anyhow!("cannot listen on {address} ({error}); choose another address with {key}"),
        })
        .and_then(|listener| {
            listener.set_nonblocking(true).with_context(|| format!("cannot use the socket on {address}"))?;
            Ok(listener)
        })
}
