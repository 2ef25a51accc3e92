//! `hgfleet repo`: repositories, by way of the running master.

use super::{import, resync};
use crate::cli::Repo;
use crate::config::Config;
use hgfleet_master::client;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Runs one of them.
///
/// # Errors
///
/// No master runs, or it refuses.
pub fn run(command: Repo) -> anyhow::Result<ExitCode> {
    match command {
        Repo::Create { name, non_publishing, config } => {
            let sequence = client::create(&folder(config.config.as_deref())?, &name, non_publishing)?;
            println!("created {name}, stored as {sequence}");
        }
        Repo::Delete { name, config } => {
            let sequence = client::delete(&folder(config.config.as_deref())?, &name)?;
            println!("deleted {name}, stored as {sequence}");
        }
        Repo::List { config } => {
            for repository in client::list(&folder(config.config.as_deref())?)? {
                match repository.quarantine {
                    None => println!("{}", repository.name),
                    Some(reason) => println!("{}\tout of service: {reason}", repository.name),
                }
            }
        }
        Repo::Import { path, name, config } => {
            return import::run(&folder(config.config.as_deref())?, &path, name.as_deref());
        }
        Repo::Verify { name, all: _, config } => {
            let run = folder(config.config.as_deref())?;
            let names = match name {
                Some(name) => vec![name],
                None => client::list(&run)?.into_iter().map(|repository| repository.name).collect(),
            };
            let mut code = ExitCode::SUCCESS;
            for name in names {
                // With several, one that can't be verified is no reason to leave the others out.
                if !verify(&run, &name).unwrap_or_else(|error| {
                    eprintln!("{name}: {error}");
                    false
                }) {
                    code = ExitCode::FAILURE;
                }
            }
            return Ok(code);
        }
        Repo::Resync { name, server, config } => {
            return resync::run(&folder(config.config.as_deref())?, &name, server.as_deref());
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn folder(config: Option<&Path>) -> anyhow::Result<PathBuf> {
    Ok(Config::find(config)?.run_folder())
}

/// Verifies one; answers whether all is well.
fn verify(run: &Path, name: &str) -> Result<bool, client::ClientError> {
    let answer = client::verify(run, name)?;
    println!("{}: {} changesets, {} revisions rebuilt", name, answer.changesets, answer.revisions);
    for server in &answer.servers {
        println!("{}\tat {}\t{}", server.server, server.sequence, server.digest);
    }
    for problem in &answer.problems {
        eprintln!("{name}: {problem}");
    }
    Ok(answer.problems.is_empty())
}
