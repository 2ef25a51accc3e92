//! One line of the log for each command of the wire protocol.

use std::time::{Duration, SystemTime};

use hg_wire::command::CommandName;
use hgfleet_log::RepositoryName;

use super::peers::Client;
use crate::protocol::{WireCommand, WireOutcome};
use crate::session_event::{SessionEnd, milliseconds, rfc3339};

/// Commands of one conversation that are logged. Clients send ten or so; whoever sends for ever must not fill the disk.
const COMMANDS_MAX: u32 = 1000;

/// The commands of one conversation.
#[derive(Debug)]
pub(super) struct CommandLog {
    left: u32,
}

impl Default for CommandLog {
    fn default() -> Self {
        CommandLog { left: COMMANDS_MAX }
    }
}

impl CommandLog {
    /// Writes the line. What no session of ours says is left out.
    pub(super) fn add(&mut self, client: &Client, process: Option<u32>, ran: &WireCommand) {
        let command = CommandName::parse(ran.command.as_bytes());
        let (Some(command), Ok(repository)) = (command, RepositoryName::parse(&ran.repository)) else {
            tracing::error!(account = client.account, process, "a session names a command that there is not");
            return;
        };
        let Some(left) = self.left.checked_sub(1) else { return };
        self.left = left;
        let elapsed = Duration::from_micros(ran.microseconds);
        let outcome = match ran.outcome {
            WireOutcome::Done => "done",
            WireOutcome::Refused => "refused",
            WireOutcome::BrokenOff => "broken-off",
        };
        let SessionEnd { cpu, bytes_in, bytes_out } = ran.used.into();
        tracing::info!(
            account = client.account,
            address = client.address,
            process,
            command = command.as_str(),
            %repository,
            outcome,
            start = SystemTime::now().checked_sub(elapsed).and_then(rfc3339),
            milliseconds = milliseconds(elapsed),
            cpu_milliseconds = cpu.map(milliseconds),
            bytes_in,
            bytes_out,
            "command ended"
        );
        if left == 0 {
            tracing::warn!(account = client.account, process, "no more commands of this session are logged");
        }
    }
}
