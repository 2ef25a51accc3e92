//! `hgfleet session`: one SSH session's work, started by the door.

use crate::cli;
use hgfleet_master::session::{self, SessionOptions};
use std::process::ExitCode;

/// Serves the session on the standard streams. What went wrong is told there.
///
/// # Errors
///
/// None: a session's client reads what it prints, not what this program does.
pub fn run(options: cli::Session) -> anyhow::Result<ExitCode> {
    let status = session::run(SessionOptions { run: options.run });
    Ok(ExitCode::from(status))
}
