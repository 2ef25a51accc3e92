//! `hgfleet drain` and `undrain`: a mirror out of service, and back.

use crate::cli;
use crate::config::Config;
use hgfleet_master::client;
use std::process::ExitCode;

/// Asks the master to take the mirror out, or in again.
///
/// # Errors
///
/// No master runs, the mirror is not connected to it, or it is the last one in service.
pub fn run(options: cli::Drain, drain: bool) -> anyhow::Result<ExitCode> {
    let config = Config::find(options.config.config.as_deref())?;
    client::drain(&config.run_folder(), &options.name, drain)?;
    let state = if drain { "draining: nothing new is sent to it" } else { "back in service once it has caught up" };
    println!("{} is {state}", options.name);
    Ok(ExitCode::SUCCESS)
}
