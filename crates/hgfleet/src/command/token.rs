//! `hgfleet token`: what accounts show where they read over HTTPS.

use crate::cli::Token as Command;
use crate::config::Config;
use crate::fleet_state::open_log;
use anyhow::{Context, anyhow, bail};
use hgfleet_access::RepositoryPatterns;
use hgfleet_directory::{AccountState, Mail};
use hgfleet_log::{Log, ValueError};
use hgfleet_tokens::{LAST_USED_KEY, LastUsed, TOKENS_KEY, Token, TokenEntry, TokenId, Tokens, day_of};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};
use time::OffsetDateTime;

/// How often a change is tried that others come before.
const TRIES: usize = 20;
const DAY_SECONDS: u64 = 86_400;
/// The longest that a token may last, days: a hundred years.
const DAYS_MAX: u64 = 36_500;
/// A token that has ended stays in lists for so long.
const SHOWN_SECONDS: u64 = 30 * DAY_SECONDS;

/// Runs one of them.
///
/// # Errors
///
/// The log or the directory can't be asked; no such account or token; bounds.
pub fn run(command: Command) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    match command {
        Command::Create { mail, name, expires, repositories, uploads, config } => {
            let config = Config::find(config.config.as_deref())?;
            let mail = usable_account(&config, &mail)?;
            RepositoryPatterns::new(&repositories)?;
            let now = now();
            if expires.is_some_and(|days| days == 0 || days > DAYS_MAX) {
                bail!("a token lasts 1 to {DAYS_MAX} days; leave --expires out for one that ends when it is revoked");
            }
            let token = Token::generate().map_err(|error| anyhow!("the system gives no random bytes: {error}"))?;
            let entry = TokenEntry {
                digest: token.digest(),
                mail: mail.as_str().to_owned(),
                name: name.unwrap_or_default(),
                created: now,
                expires: expires.map(|days| now + days * DAY_SECONDS),
                repositories,
                uploads,
            };
            let id = entry.digest.id();
            runtime.block_on(async {
                let log = open_log(&config).await?;
                change(log.as_ref(), |tokens| Ok(tokens.add(entry.clone())?)).await
            })?;
            println!("{}", token.reveal());
            eprintln!("token {id} of {mail}, shown this once: the password where {mail} is the user name");
        }
        Command::List { mail, config } => {
            let config = Config::find(config.config.as_deref())?;
            let (tokens, used) = runtime.block_on(async {
                let log = open_log(&config).await?;
                anyhow::Ok((read(log.as_ref()).await?.0, last_used(log.as_ref()).await?))
            })?;
            for entry in tokens.iter().filter(|entry| mail.as_ref().is_none_or(|mail| *mail == entry.mail)) {
                println!("{}", line(entry, &used, now()));
            }
        }
        Command::Revoke { id, config } => {
            let config = Config::find(config.config.as_deref())?;
            let id: TokenId = id.parse().with_context(|| format!("{id:?} names no token"))?;
            let mail = runtime.block_on(async {
                let log = open_log(&config).await?;
                let gone = |tokens: &mut Tokens| {
                    let entry = tokens.revoke(id);
                    entry.map(|entry| entry.mail).with_context(|| format!("there is no token {id}"))
                };
                change(log.as_ref(), gone).await
            })?;
            println!("revoked the token {id} of {mail}; mirrors refuse it within 2 seconds");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn usable_account(config: &Config, mail: &str) -> anyhow::Result<Mail> {
    let mail = Mail::parse(mail)?;
    let account = config.directory_location().open_to_read()?.account(&mail)?;
    match account.with_context(|| format!("there is no account {mail}"))?.state {
        AccountState::Enabled => Ok(mail),
        _ => bail!("the account {mail} is not enabled; a token would be refused"),
    }
}

async fn read(log: &dyn Log) -> anyhow::Result<(Tokens, Option<u64>)> {
    Ok(match log.value(TOKENS_KEY).await? {
        Some(value) => (Tokens::parse(&value.bytes)?, Some(value.version)),
        None => (Tokens::default(), None),
    })
}

async fn last_used(log: &dyn Log) -> anyhow::Result<LastUsed> {
    Ok(match log.value(LAST_USED_KEY).await? {
        Some(value) => LastUsed::parse(&value.bytes).context("when tokens were last used can't be read")?,
        None => LastUsed::default(),
    })
}

/// Changes the tokens as they stand, whoever else does so meanwhile.
async fn change<T>(log: &dyn Log, how: impl Fn(&mut Tokens) -> anyhow::Result<T>) -> anyhow::Result<T> {
    for _ in 0..TRIES {
        let (mut tokens, version) = read(log).await?;
        tokens.forget_expired(now().saturating_sub(SHOWN_SECONDS));
        let answer = how(&mut tokens)?;
        match log.set_value(TOKENS_KEY, version, tokens.to_bytes()?).await {
            Ok(_) => return Ok(answer),
            Err(ValueError::Conflict) => {}
            Err(ValueError::TooLarge { .. }) => {
                bail!("the fleet has as many tokens as it can have, {}; revoke some", tokens.iter().count())
            }
            Err(ValueError::Log(error)) => {
                return Err(error).context("it is not known whether this was stored; look with `hgfleet token list`");
            }
        }
    }
    bail!("the tokens were changed by others {TRIES} times meanwhile; try again")
}

fn line(entry: &TokenEntry, used: &LastUsed, now: u64) -> String {
    let id = entry.digest.id();
    let ends = match entry.expires {
        None => "never ends".to_owned(),
        Some(at) if entry.has_expired(now) => format!("ended {}", day(at)),
        Some(at) => format!("ends {}", day(at)),
    };
    let used = match used.day(id) {
        Some(number) => format!("last used {}", day(u64::from(number) * DAY_SECONDS)),
        None => "never used".to_owned(),
    };
    let repositories = if entry.repositories.is_empty() { "**".to_owned() } else { entry.repositories.join(",") };
    let uploads = if entry.uploads { "\tuploads" } else { "" };
    let TokenEntry { mail, name, created, .. } = entry;
    format!("{id}\t{mail}\t{name}\tmade {}\t{ends}\t{used}\t{repositories}{uploads}", day(*created))
}

/// The day of a time, UTC.
fn day(at: u64) -> String {
    let whole = i64::try_from(u64::from(day_of(at)) * DAY_SECONDS).ok();
    let date = whole.and_then(|at| OffsetDateTime::from_unix_timestamp(at).ok()).map(|at| at.date());
    date.map_or_else(|| "unknown".to_owned(), |date| date.to_string())
}
