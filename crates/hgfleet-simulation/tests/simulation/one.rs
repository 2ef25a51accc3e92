//! One run, in this process.

use std::path::Path;

use hgfleet_simulation::run;
use tracing_subscriber::EnvFilter;

/// The first argument of a process that makes one run.
pub const VERB: &str = "run-one-seed";
/// A run that takes longer hangs, seconds.
const SECONDS_MAX: u32 = 120;

/// Makes a run, prints what it came to, and ends the process.
pub fn run(seed: &str, folder: &Path, kit: &Path) -> ! {
    // SAFETY: no memory is involved.
    unsafe { libc::alarm(SECONDS_MAX) };
    if let Ok(filter) = EnvFilter::try_from_env("HGFLEET_SIMULATION_LOG") {
        tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).with_env_filter(filter).init();
    }
    let outcome = run::run(seed.parse().unwrap_or(0), folder, kit);
    println!("{}", serde_json::to_string(&outcome).unwrap_or_default());
    // SAFETY: ends the process as it is: dead servers' threads never do.
    unsafe { libc::_exit(0) }
}
