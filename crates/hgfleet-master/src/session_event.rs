//! The one line of the log that each session leaves at its end, whichever door has started it.

use std::io;
use std::time::{Duration, SystemTime};

use hgfleet_access::user_folder;
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;
use rustix::process::{WaitId, WaitIdOptions, waitid};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::signal::unix::{SignalKind, signal};

use crate::daemon::Client;
use crate::protocol::Usage;
use crate::session::{Door, repository_asked_for};

/// A session, as the log has it. What is `None` is not known.
pub(crate) struct SessionEvent<'a> {
    pub door: Door,
    pub client: &'a Client,
    /// The command line, as the client sent it.
    pub command: Option<&'a [u8]>,
    pub process: Option<u32>,
    pub begun: SystemTime,
    pub elapsed: Duration,
    pub end: SessionEnd,
    /// Exit status.
    pub status: Option<u32>,
    /// A client that was not there any more at the end.
    pub client_gone: Option<bool>,
}

/// What a session has used.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SessionEnd {
    /// CPU time of its process, in user space and in the kernel.
    pub cpu: Option<Duration>,
    /// Bytes from the client.
    pub bytes_in: Option<u64>,
    /// Bytes to the client, on both streams.
    pub bytes_out: Option<u64>,
}

impl From<Usage> for SessionEnd {
    fn from(used: Usage) -> SessionEnd {
        SessionEnd {
            cpu: Some(Duration::from_micros(used.cpu_microseconds)),
            bytes_in: Some(used.bytes_in),
            bytes_out: Some(used.bytes_out),
        }
    }
}

impl SessionEvent<'_> {
    /// Writes the line.
    pub(crate) fn log(&self) {
        let Client { account, address, requester } = self.client;
        tracing::info!(
            door = self.door.name(),
            account,
            requester = requester.as_deref().map(|requester| requester.escape_debug().to_string()),
            address,
            process = self.process,
            command = self.command.map(|command| command.escape_ascii().to_string()),
            repository = repository(self.command, account),
            outcome = outcome(self.status),
            status = self.status,
            start = rfc3339(self.begun),
            milliseconds = milliseconds(self.elapsed),
            cpu_milliseconds = self.end.cpu.map(milliseconds),
            bytes_in = self.end.bytes_in,
            bytes_out = self.end.bytes_out,
            client_gone = self.client_gone,
            "session ended"
        );
    }
}

/// Milliseconds, to the microsecond: most sessions use a few of them.
pub(crate) fn milliseconds(time: Duration) -> f64 {
    time.as_micros() as f64 / 1000.0
}

/// A moment, in UTC.
pub(crate) fn rfc3339(moment: SystemTime) -> Option<String> {
    OffsetDateTime::from(moment).format(&Rfc3339).ok()
}

/// The repository that a command line names: one of the account's own by its whole name. `None` where it names none.
fn repository(command: Option<&[u8]>, account: &str) -> Option<String> {
    let (name, is_own) = repository_asked_for(command)?;
    if is_own { Some(format!("{}/{name}", user_folder(account).ok()?)) } else { Some(name.to_string()) }
}

fn outcome(status: Option<u32>) -> &'static str {
    match status {
        Some(0) => "done",
        Some(_) => "refused",
        None => "broken-off",
    }
}

/// Waits until a child has ended, and returns its CPU time. Only then may it be waited for: until it is, its number is its own.
pub(crate) async fn cpu_time_at_end(process: u32) -> io::Result<Duration> {
    let process = i32::try_from(process).map_err(io::Error::other)?;
    let number = rustix::process::Pid::from_raw(process).ok_or(io::ErrorKind::InvalidInput)?;
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
    // Listened for before the first look, so that none is missed.
    let mut ended = signal(SignalKind::child())?;
    while waitid(WaitId::Pid(number), look)?.is_none() {
        ended.recv().await;
    }
    let clock = clock_getcpuclockid(Pid::from_raw(process))?;
    Ok(clock_gettime(clock)?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_child_that_has_ended_still_tells_its_time() {
        let script = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done";
        let mut child = tokio::process::Command::new("sh").args(["-c", script]).spawn().unwrap();
        let used = cpu_time_at_end(child.id().unwrap()).await.unwrap();
        assert!(used > Duration::from_millis(1) && used < Duration::from_secs(30), "{used:?}");
        assert!(child.wait().await.unwrap().success(), "it is there to be waited for");
    }

    #[test]
    fn a_command_line_names_the_repository_that_it_is_about() {
        for (line, expected) in [
            ("hg -R 'team/first/' serve --stdio", Some("team/first")),
            ("status team/first", Some("team/first")),
            ("clone fork team/first", Some("users/jane_example.com/fork")),
            ("edit fork delete YES", Some("users/jane_example.com/fork")),
            ("keys list", None),
            ("hg -R ../etc serve --stdio", None),
            ("status a; rm b", None),
        ] {
            assert_eq!(repository(Some(line.as_bytes()), "jane@example.com").as_deref(), expected, "{line}");
        }
        assert_eq!(repository(None, "jane@example.com"), None);
        assert_eq!(repository(Some(b"clone fork"), "jane"), None, "who has no folder has no repositories");
    }
}
