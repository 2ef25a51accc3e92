//! One file per subcommand.

use crate::cli::{Cli, Command};
use std::process::ExitCode;

/// Runs the subcommand.
///
/// # Errors
///
/// What failed, on what, and what to do; printed as one line, exit status 1.
pub fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Web(_)
        | Command::Serve(_)
        | Command::Session(_)
        | Command::Up(_)
        | Command::Master(_)
        | Command::Mirror(_)
        | Command::Balancer(_)
        | Command::Repo(_)
        | Command::Account(_)
        | Command::Status(_) => anyhow::bail!("not built yet"),
    }
}
