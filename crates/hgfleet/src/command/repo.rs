//! `hgfleet repo`: repositories, by way of the running master.

use super::{clone_bundle, exec, import, pull_bundle, read_only, resync};
use crate::cli::Repo;
use crate::config::Config;
use anyhow::bail;
use hgfleet_master::client;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

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
        Repo::Restore { name, new_name, config } => {
            let sequence = client::restore(&folder(config.config.as_deref())?, &name, new_name.as_deref())?;
            println!("restored {}, stored as {sequence}", new_name.unwrap_or(name));
        }
        Repo::Rename { name, new_name, config } => {
            let sequence = client::rename(&folder(config.config.as_deref())?, &name, &new_name)?;
            println!("renamed {name} to {new_name}, stored as {sequence}");
        }
        Repo::Config { name, set, unset, config } => {
            let set = set.iter().map(|setting| match setting.split_once('=') {
                Some((key, value)) => Ok((key.trim().to_owned(), value.to_owned())),
                None => bail!("{setting:?} sets nothing; write section.name=value"),
            });
            let set = set.collect::<anyhow::Result<Vec<_>>>()?;
            let answer = client::config(&folder(config.config.as_deref())?, &name, &set, &unset)?;
            match answer.stored {
                Some(sequence) => println!("changed {name}, stored as {sequence}"),
                None if !set.is_empty() || !unset.is_empty() => println!("{name} is so already"),
                None => std::io::stdout().write_all(&answer.hgrc)?,
            }
        }
        Repo::CloneBundle(command) => return clone_bundle::run(command),
        Repo::PullBundle(command) => return pull_bundle::run(command),
        Repo::Describe { name, text, config } => {
            let key = "web.description".to_owned();
            let (set, unset) = match text.trim().is_empty() {
                true => (vec![], vec![key]),
                false => (vec![(key, text)], vec![]),
            };
            match client::config(&folder(config.config.as_deref())?, &name, &set, &unset)?.stored {
                Some(sequence) => println!("described {name}, stored as {sequence}"),
                None => println!("{name} is described so already"),
            }
        }
        Repo::ReadOnly { name, options } => return read_only::run(Some(&name), &options),
        Repo::Exec { name, config, command } => {
            return exec::run(&folder(config.config.as_deref())?, &name, &command);
        }
        Repo::List { deleted: true, config } => {
            for line in client::list_deleted(&folder(config.config.as_deref())?)? {
                println!("{}\tdeleted {}\tkept until {}", line.name, time(line.at_ms), time(line.until_ms));
            }
        }
        Repo::List { deleted: false, config } => {
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

/// A moment, for people and for programs.
fn time(unix_ms: u64) -> String {
    let seconds = i64::try_from(unix_ms / 1000).ok();
    let moment = seconds.and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
    moment.and_then(|moment| moment.format(&Rfc3339).ok()).unwrap_or_else(|| "for ever".to_owned())
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
