//! `hgfleet repo`: repositories, by way of the running master.

use crate::cli::Repo;
use crate::config::Config;
use anyhow::Context;
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
            let name = match name {
                Some(name) => name,
                None => name_of(&path)?,
            };
            let sequence = client::import(&folder(config.config.as_deref())?, &path, &name)?;
            println!("imported {name}, stored as {sequence}");
        }
        Repo::Verify { name, config } => {
            let answer = client::verify(&folder(config.config.as_deref())?, &name)?;
            println!("{}: {} changesets, {} revisions rebuilt", name, answer.changesets, answer.revisions);
            for server in &answer.servers {
                println!("{}\tat {}\t{}", server.server, server.sequence, server.digest);
            }
            for problem in &answer.problems {
                eprintln!("{name}: {problem}");
            }
            if !answer.problems.is_empty() {
                return Ok(ExitCode::FAILURE);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn folder(config: Option<&Path>) -> anyhow::Result<PathBuf> {
    Ok(Config::find(config)?.run_folder())
}

/// The folder's own name.
fn name_of(path: &Path) -> anyhow::Result<String> {
    let path = path.canonicalize().with_context(|| format!("cannot find {}", path.display()))?;
    let name = path.file_name().and_then(|name| name.to_str());
    name.map(str::to_owned).with_context(|| format!("give {} a name", path.display()))
}
