//! `hgfleet failover`: hand the lease over, in an orderly way.

use crate::cli;
use crate::config::Config;
use hgfleet_master::client;
use std::process::ExitCode;

/// Asks the master to hand over, and says who is master now.
///
/// # Errors
///
/// No master runs, no standby is ready, or a push does not end.
pub fn run(options: cli::Failover) -> anyhow::Result<ExitCode> {
    let config = Config::find(options.config.config.as_deref())?;
    let done = client::failover(&config.run_folder(), options.to.as_deref())?;
    println!("{} is master now, epoch {}, after {:.2} s", done.to, done.epoch, done.took.as_secs_f64());
    Ok(ExitCode::SUCCESS)
}
