//! `hgfleet access`: who may do what with which repository.

use crate::cli::Access;
use crate::config::Config;
use anyhow::Context;
use hgfleet_access::{AccessControl, Action, Caller};
use hgfleet_directory::{AccountState, Mail};
use hgfleet_log::RepositoryName;
use std::process::ExitCode;

/// Stands for whoever has no account.
const NOBODY: &str = "-";

/// Prints a line for each thing that can be done, as the rules and the directory are now.
///
/// # Errors
///
/// The rules or the directory can't be read; no name of a repository, or no mail address.
pub fn run(command: Access) -> anyhow::Result<ExitCode> {
    let Access::Explain { mail, repository, config } = command;
    let config = Config::find(config.config.as_deref())?;
    let name = RepositoryName::parse(repository.as_bytes())
        .with_context(|| format!("{repository:?} is no name of a repository"))?;
    let rules =
        AccessControl::of(config.access_rules(), config.session.user_repositories).context("access rules")?.rules();
    let account = match mail.as_str() {
        NOBODY => None,
        mail => {
            let mail = Mail::parse(mail)?;
            let directory = config.directory_location().open()?;
            Some(directory.account(&mail)?.with_context(|| format!("there is no account {mail}"))?)
        }
    };
    let caller = match &account {
        Some(account) => {
            let groups = if account.groups.is_empty() { "no group".to_owned() } else { account.groups.join(", ") };
            println!("{} is in {groups}", account.mail);
            if account.state != AccountState::Enabled {
                println!("the account is not enabled, and may do nothing");
                return Ok(ExitCode::SUCCESS);
            }
            Caller::Account { mail: account.mail.as_str(), groups: &account.groups }
        }
        None => Caller::Anonymous,
    };
    for action in Action::ALL {
        println!("{}", rules.decide(caller, name.as_str(), action));
    }
    Ok(ExitCode::SUCCESS)
}
