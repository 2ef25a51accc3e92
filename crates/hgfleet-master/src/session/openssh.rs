//! A session that OpenSSH's `sshd` has started (`ForceCommand`, `ExposeAuthInfo`).
//!
//! `sshd` has proven that the client holds a key, and says which in the file that `SSH_USER_AUTH` names, from where in `SSH_CONNECTION`, and
//! what it asks for in `SSH_ORIGINAL_COMMAND`; it sets all three itself. Whose key that is the daemon says, which has the directory.
//! Of what the client sends (`AcceptEnv`) one variable is passed on, by which a landing account names who asked. Nothing else of the
//! environment is believed.

use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::ffi::OsStringExt;
use std::thread;
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::SessionOptions;
use super::daemon::{Address, Daemon};
use super::host::{MASTER_PAUSE, MASTER_WAIT};
use super::identity::{COMMAND_BYTES_MAX, Identity};
use super::texts;
use crate::options::REQUESTER_CHARS_MAX;
use crate::protocol::{LoginRequest, SessionReply, SessionRequest};

/// Longest file of `ExposeAuthInfo`, bytes: one key or certificate in base64.
const AUTH_INFO_BYTES_MAX: u64 = 64 << 10;

/// Asks the daemon whom this session serves. The conversation is to last as long as the session: by it the daemon knows the process.
pub(super) fn identify(options: &SessionOptions) -> Result<(Identity, Daemon), String> {
    let (proof, client) = told_by_sshd().ok_or_else(|| texts::STARTED_BY_HAND.to_owned())?;
    let command = std::env::var_os("SSH_ORIGINAL_COMMAND").map(|command| {
        let mut command = command.into_vec();
        command.truncate(COMMAND_BYTES_MAX + 1);
        command
    });
    let request =
        SessionRequest::Login(LoginRequest { proof, command, requester: requester(&options.landing_variable) });
    let address =
        Address { run: options.run.clone(), account: String::new(), client: client.to_string(), requester: None };
    let started = Instant::now();
    loop {
        match log_in(&address, &request) {
            Ok((SessionReply::LoggedIn(identity), daemon)) => return Ok((identity, daemon)),
            Ok((SessionReply::Refused(text) | SessionReply::Failed(text), _)) => return Err(text),
            _ if started.elapsed() > MASTER_WAIT => return Err(texts::NO_MASTER.to_owned()),
            _ => thread::sleep(MASTER_PAUSE),
        }
    }
}

/// Who asked, as the client says it; whether that counts is for the daemon to say. What is no UTF-8 is no mail address either.
fn requester(variable: &str) -> Option<String> {
    let value = std::env::var_os(variable)?.into_string();
    let value = value.unwrap_or_else(|value| value.to_string_lossy().into_owned());
    Some(value.chars().take(REQUESTER_CHARS_MAX).collect())
}

fn log_in(address: &Address, request: &SessionRequest) -> io::Result<(SessionReply, Daemon)> {
    let mut daemon = address.connect_master()?;
    let reply = daemon.ask(request)?;
    Ok((reply, daemon))
}

/// The key or certificate, as it goes over the wire, and where the client is. `None`: no `sshd` has said so.
fn told_by_sshd() -> Option<(Vec<u8>, SocketAddr)> {
    let file = File::open(std::env::var_os("SSH_USER_AUTH")?).ok()?;
    let mut text = String::new();
    file.take(AUTH_INFO_BYTES_MAX + 1).read_to_string(&mut text).ok()?;
    let proof = proof(&text)?;
    let connection = std::env::var("SSH_CONNECTION").ok()?;
    let mut words = connection.split(' ');
    let ip: IpAddr = words.next()?.split('%').next()?.parse().ok()?;
    let port: u16 = words.next()?.parse().ok()?;
    Some((proof, SocketAddr::new(ip.to_canonical(), port)))
}

/// One line, `publickey ALGORITHM BASE64`: other methods prove nothing that the directory knows, and of several it is not clear which counts.
fn proof(text: &str) -> Option<Vec<u8>> {
    let key = text.strip_suffix('\n')?.strip_prefix("publickey ")?;
    let (_, encoded) = key.split_once(' ')?;
    let encoded = encoded.split_once(' ').map_or(encoded, |(encoded, _comment)| encoded);
    if key.contains('\n') || text.len() as u64 > AUTH_INFO_BYTES_MAX {
        return None;
    }
    STANDARD.decode(encoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_key_proves_who_comes_and_nothing_else_does() {
        assert_eq!(proof("publickey ssh-ed25519 AAEC\n").as_deref(), Some(&[0, 1, 2][..]));
        assert_eq!(proof("publickey ssh-ed25519 AAEC a comment\n").as_deref(), Some(&[0, 1, 2][..]));
        for odd in [
            "",
            "publickey ssh-ed25519 AAEC",
            "publickey ssh-ed25519\n",
            "publickey ssh-ed25519 A*\n",
            "password\n",
            "password\npublickey ssh-ed25519 AAEC\n",
            "publickey ssh-ed25519 AAEC\npublickey ssh-ed25519 AAED\n",
            "publickey ssh-ed25519 AAEC\n\n",
        ] {
            assert_eq!(proof(odd), None, "{odd:?}");
        }
    }
}
