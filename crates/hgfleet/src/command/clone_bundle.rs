//! `hgfleet repo clone-bundle`.

use crate::cli::{CloneBundle, OfRepository};
use crate::config::Config;
use hgfleet_master::client::{self, CloneBundleSource, NewCloneBundle};
use std::io::Write;
use std::process::ExitCode;

/// Runs one of them.
///
/// # Errors
///
/// No master runs, or it refuses.
pub fn run(command: CloneBundle) -> anyhow::Result<ExitCode> {
    let (verb, name, answer) = match command {
        CloneBundle::List(OfRepository { name, config }) => {
            let run = Config::find(config.config.as_deref())?.run_folder();
            std::io::stdout().write_all(&client::clone_bundles(&run, &name)?.manifest)?;
            return Ok(ExitCode::SUCCESS);
        }
        CloneBundle::Add { name, kind, url, attribute, replace, config } => {
            let run = Config::find(config.config.as_deref())?.run_folder();
            let source = url.map_or(CloneBundleSource::Inline, CloneBundleSource::Url);
            let new = NewCloneBundle { kind, source, attributes: attribute, replace };
            let answer = client::add_clone_bundle(&run, &name, new)?;
            ("added a clone bundle to", name, answer)
        }
        CloneBundle::Remove { name, bundle, config } => {
            let run = Config::find(config.config.as_deref())?.run_folder();
            let answer = client::remove_clone_bundle(&run, &name, &bundle)?;
            ("removed a clone bundle of", name, answer)
        }
    };
    if let Some(sequence) = answer.stored {
        println!("{verb} {name}, stored as {sequence}");
    }
    Ok(ExitCode::SUCCESS)
}
