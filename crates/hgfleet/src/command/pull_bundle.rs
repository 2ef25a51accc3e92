//! `hgfleet repo pull-bundle`.

use crate::cli::{OfRepository, PullBundle};
use crate::config::Config;
use hgfleet_master::client::{self, NewPullBundle};
use std::io::Write;
use std::process::ExitCode;

/// Runs one of them.
///
/// # Errors
///
/// No master runs, or it refuses.
pub fn run(command: PullBundle) -> anyhow::Result<ExitCode> {
    let (verb, name, answer) = match command {
        PullBundle::List(OfRepository { name, config }) => {
            let run = Config::find(config.config.as_deref())?.run_folder();
            std::io::stdout().write_all(&client::pull_bundles(&run, &name)?.manifest)?;
            return Ok(ExitCode::SUCCESS);
        }
        PullBundle::Add { name, heads, bases, kind, config } => {
            let run = Config::find(config.config.as_deref())?.run_folder();
            let answer = client::add_pull_bundle(&run, &name, NewPullBundle { kind, heads, bases })?;
            ("added a pull bundle to", name, answer)
        }
        PullBundle::Remove { name, bundle, config } => {
            let run = Config::find(config.config.as_deref())?.run_folder();
            let answer = client::remove_pull_bundle(&run, &name, &bundle)?;
            ("removed a pull bundle of", name, answer)
        }
    };
    if let Some(sequence) = answer.stored {
        println!("{verb} {name}, stored as {sequence}");
    }
    if !answer.manifest.is_empty() && !answer.is_heeded {
        eprintln!("nobody gets pull bundles of {name} yet: hgfleet repo config {name} --set server.pullbundle=yes");
    }
    Ok(ExitCode::SUCCESS)
}
