//! `hgfleet session`: one SSH session's work, started by a door; `hgfleet authorized-keys`: what OpenSSH's door asks first.

use crate::cli;
use crate::config::Config;
use hgfleet_master::login::{AuthorizedKeysOptions, OfferedKey, authorized_keys};
use hgfleet_master::session::{self, Door, SessionOptions};
use std::process::ExitCode;

/// Serves the session on the standard streams. What went wrong is told there.
///
/// # Errors
///
/// The configuration can't be read, where `sshd` has started it. What else a session's client reads, the session says.
pub fn run(options: cli::Session) -> anyhow::Result<ExitCode> {
    let options = match options.run {
        // Its door says who asked.
        Some(run) => SessionOptions { run, door: Door::BuiltIn, landing_variable: String::new() },
        None => {
            let config = Config::find(options.config.config.as_deref())?;
            let landing_variable = config.session.landing_variable.clone();
            SessionOptions { run: config.master_run_folder(), door: Door::OpenSsh, landing_variable }
        }
    };
    Ok(ExitCode::from(session::run(options)))
}

/// Prints the lines.
///
/// # Errors
///
/// There are none; nobody can be asked.
pub fn print_keys(options: cli::AuthorizedKeys) -> anyhow::Result<ExitCode> {
    let config = Config::find(options.config.config.as_deref())?;
    let offered = options.algorithm.zip(options.key).map(|(algorithm, base64)| OfferedKey { algorithm, base64 });
    let from = AuthorizedKeysOptions {
        run: config.master_run_folder(),
        directory: config.directory_location(),
        login: config.login(),
    };
    for line in authorized_keys(from, options.user, offered)? {
        println!("{line}");
    }
    Ok(ExitCode::SUCCESS)
}
