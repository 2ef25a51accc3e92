//! `hgfleet account`: the embedded directory's accounts.

use crate::cli::Account;
use crate::config::Config;
use anyhow::{Context, bail};
use hgfleet_directory::{AccountState, LdifDirectory, Mail, PublicKey};
use std::process::ExitCode;

/// The largest public-key file that is read, in bytes.
const KEY_FILE_BYTES_MAX: u64 = 64 << 10;

/// Runs one of them.
///
/// # Errors
///
/// The directory can't be read or written; no such account; a key that is refused.
pub fn run(command: Account) -> anyhow::Result<ExitCode> {
    match command {
        Account::Add { mail, key, config } => {
            let directory = open(config.config.as_deref())?;
            let mail = Mail::parse(&mail)?;
            let bytes =
                std::fs::metadata(&key).with_context(|| format!("cannot read the key {}", key.display()))?.len();
            if bytes > KEY_FILE_BYTES_MAX {
                bail!("{} has {bytes} bytes, too many for a public key; name the .pub file", key.display());
            }
            let text = std::fs::read(&key).with_context(|| format!("cannot read the key {}", key.display()))?;
            let parsed = PublicKey::parse_line(&text).with_context(|| format!("{} is not taken", key.display()))?;
            match directory.add(&mail, &[parsed])? {
                true => println!("added the account {mail}"),
                false => println!("added a key to the account {mail}"),
            }
        }
        Account::List { config } => {
            for account in open(config.config.as_deref())?.list() {
                let state = match account.state {
                    AccountState::Enabled => "enabled",
                    AccountState::Disabled => "disabled",
                    AccountState::NotEnabled => "not enabled",
                };
                println!("{}\t{state}\t{} keys\t{}", account.mail, account.keys, account.groups.join(","));
            }
        }
        Account::Disable { mail, config } => set_enabled(&mail, false, config.config.as_deref())?,
        Account::Enable { mail, config } => set_enabled(&mail, true, config.config.as_deref())?,
    }
    Ok(ExitCode::SUCCESS)
}

fn open(config: Option<&std::path::Path>) -> anyhow::Result<LdifDirectory> {
    let config = Config::find(config)?;
    Ok(LdifDirectory::open(&config.path(&config.directory.ldif))?)
}

fn set_enabled(mail: &str, enabled: bool, config: Option<&std::path::Path>) -> anyhow::Result<()> {
    let mail = Mail::parse(mail)?;
    let changed = open(config)?.set_enabled(&mail, enabled)?;
    let state = if enabled { "enabled" } else { "disabled" };
    println!("{mail} {} {state}", if changed { "is now" } else { "was already" });
    Ok(())
}
