//! `hgfleet read-only`, `hgfleet repo read-only`: whether pushes are taken.

use crate::cli::ReadOnly;
use crate::config::Config;
use hgfleet_master::client;
use std::process::ExitCode;

/// Shows or changes it, for one repository or, without a name, for all.
///
/// # Errors
///
/// No master runs, or it refuses.
pub fn run(name: Option<&str>, options: &ReadOnly) -> anyhow::Result<ExitCode> {
    let run = Config::find(options.config.config.as_deref())?.run_folder();
    let change = match (&options.reason, options.off) {
        (Some(reason), _) => Some(Some(reason.clone())),
        (None, true) => Some(None),
        (None, false) => None,
    };
    let shown = name.unwrap_or("the fleet");
    match client::read_only(&run, name, change)? {
        Some(reason) => println!("{shown} is read only: {reason}"),
        None => println!("{shown} takes pushes"),
    }
    Ok(ExitCode::SUCCESS)
}
