//! `hgfleet account`: the directory's accounts. In LDAP they are only shown.

use crate::cli::{Account, AccountGroup, AccountKey};
use crate::config::Config;
use anyhow::{Context, bail};
use hgfleet_directory::{AccountState, AuthorizedKey, DirectoryLocation, KeyOptions, LdifDirectory, Mail, PublicKey};
use std::path::Path;
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
            match directory.add(&mail, &[read_key(&key)?])? {
                true => println!("added the account {mail}"),
                false => println!("added a key to the account {mail}"),
            }
        }
        Account::List { config } => {
            for account in open(config.config.as_deref())?.list() {
                let state = state(account.state);
                println!("{}\t{state}\t{} keys\t{}", account.mail, account.keys, account.groups.join(","));
            }
        }
        Account::Show { mail, config } => show(&mail, config.config.as_deref())?,
        Account::Key(AccountKey::Add { mail, file, config }) => {
            let mail = Mail::parse(&mail)?;
            let key = read_key(&file)?;
            open(config.config.as_deref())?.add_key(&mail, &key)?;
            println!("added the key {} to the account {mail}", key.fingerprint());
        }
        Account::Key(AccountKey::Remove { mail, fingerprint, config }) => {
            let mail = Mail::parse(&mail)?;
            open(config.config.as_deref())?.remove_key(&mail, &fingerprint)?;
            println!("removed the key {fingerprint} from the account {mail}");
        }
        Account::Group(AccountGroup::Add { mail, group, config }) => {
            let mail = Mail::parse(&mail)?;
            let changed = open(config.config.as_deref())?.add_to_group(&mail, &group)?;
            println!("{mail} {} in {group}", if changed { "is now" } else { "was already" });
        }
        Account::Group(AccountGroup::Remove { mail, group, config }) => {
            let mail = Mail::parse(&mail)?;
            let changed = open(config.config.as_deref())?.remove_from_group(&mail, &group)?;
            println!("{mail} {} in {group}", if changed { "is no longer" } else { "was not" });
        }
        Account::Disable { mail, config } => set_enabled(&mail, false, config.config.as_deref())?,
        Account::Enable { mail, config } => set_enabled(&mail, true, config.config.as_deref())?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The file of accounts, to list or change it.
fn open(config: Option<&Path>) -> anyhow::Result<LdifDirectory> {
    match Config::find(config)?.directory_location() {
        DirectoryLocation::Ldif(path) => Ok(LdifDirectory::open(&path)?),
        DirectoryLocation::Ldap(options) => bail!(
            "the accounts are kept by {}; list and change them there ([directory] backend = \"ldap\")",
            options.servers.join(", ")
        ),
    }
}

fn read_key(path: &Path) -> anyhow::Result<PublicKey> {
    let shown = path.display();
    let bytes = std::fs::metadata(path).with_context(|| format!("cannot read the key {shown}"))?.len();
    if bytes > KEY_FILE_BYTES_MAX {
        bail!("{shown} has {bytes} bytes, too many for a public key; name the .pub file");
    }
    let text = std::fs::read(path).with_context(|| format!("cannot read the key {shown}"))?;
    PublicKey::parse_line(&text).with_context(|| format!("{shown} is not taken"))
}

fn show(mail: &str, config: Option<&Path>) -> anyhow::Result<()> {
    let mail = Mail::parse(mail)?;
    let directory = Config::find(config)?.directory_location().open()?;
    let account = directory.account(&mail)?.with_context(|| format!("there is no account {mail}"))?;
    println!("account\t{}", account.mail);
    println!("state\t{}", state(account.state));
    println!("groups\t{}", account.groups.join(", "));
    for AuthorizedKey { key, options } in &account.keys {
        println!("key\t{} {}{}", key.fingerprint(), key.algorithm().name(), conditions(options));
    }
    Ok(())
}

/// What is said behind a key that does not always open the door.
fn conditions(options: &KeyOptions) -> String {
    let from = options.from.as_ref().map(|list| format!(" from {list}"));
    let until = options.expires.map(|time| format!(" until {}", time::UtcDateTime::from(time)));
    let verified = options.verify_required.then(|| " verified".to_owned());
    [from, until, verified].into_iter().flatten().collect()
}

fn state(state: AccountState) -> &'static str {
    match state {
        AccountState::Enabled => "enabled",
        AccountState::Disabled => "disabled",
        AccountState::NotEnabled => "not enabled",
    }
}

fn set_enabled(mail: &str, enabled: bool, config: Option<&Path>) -> anyhow::Result<()> {
    let mail = Mail::parse(mail)?;
    let changed = open(config)?.set_enabled(&mail, enabled)?;
    let state = if enabled { "enabled" } else { "disabled" };
    println!("{mail} {} {state}", if changed { "is now" } else { "was already" });
    Ok(())
}
