//! `hgfleet policy`: what checks would say of pushes that the log has.

use crate::cli;
use crate::config::Config;
use crate::fleet_state::open_log;
use anyhow::{Context, bail};
use hg_policy::{Checks, PolicyControl, PolicyRules, Pusher, Rule};
use hg_store::observe::{Judgement, observe_stored};
use hg_store::{Repository, Snapshot};
use hgfleet_directory::{Directory, Mail};
use hgfleet_log::{Log, Record, RepositoryName, Sequence, StoreKind};
use hgfleet_master::PushSummary;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Records that are read at once.
const READ_MAX: u64 = 256;

/// Says of each push what would have been refused. The status is 1 where anything would.
///
/// # Errors
///
/// No configuration, no log, no such repository on this machine, or rules that are not sound.
pub fn run(command: cli::Policy) -> anyhow::Result<ExitCode> {
    let cli::Policy::Test { last, repository, rules, config } = command;
    let config = Config::find(config.config.as_deref())?;
    let name = RepositoryName::parse(repository.as_bytes())
        .with_context(|| format!("{repository:?} is no name of a repository"))?;
    let rules = PolicyControl::of(rules.or_else(|| config.policy_rules())).context("policy")?.rules();
    let store = store_of(&config, &name)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    let pushes = runtime.block_on(async { last_pushes(&*open_log(&config).await?, &name, last.get()).await })?;
    // Opened behind the log, so that the store has what the log has.
    let repository = Repository::open(&store).with_context(|| format!("cannot open {}", store.display()))?;
    let snapshot = repository.current_state().and_then(|state| repository.snapshot(state));
    let snapshot = snapshot.with_context(|| format!("cannot read {}", store.display()))?;
    let test =
        Test { rule: judged_alone(&rules, &name), name, snapshot, directory: config.directory_location().open()? };
    let mut refused = 0;
    for push in &pushes {
        refused += usize::from(test.print(push)?);
    }
    println!("{refused} of {} pushes would be refused", pushes.len());
    Ok(if refused == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A push as the log has it.
struct LoggedPush {
    sequence: Sequence,
    time_ms: u64,
    who: String,
    summary: PushSummary,
}

/// A rule, and what it is tested on.
struct Test {
    rule: Rule,
    name: RepositoryName,
    snapshot: Snapshot,
    directory: Arc<dyn Directory>,
}

impl Test {
    /// Prints what becomes of a push; whether it would be refused.
    fn print(&self, push: &LoggedPush) -> anyhow::Result<bool> {
        let changelog = self.snapshot.changelog();
        let made = OffsetDateTime::from_unix_timestamp_nanos(i128::from(push.time_ms) * 1_000_000).ok();
        let made = made.and_then(|made| made.format(&Rfc3339).ok()).unwrap_or_else(|| push.time_ms.to_string());
        let changesets = &push.summary.changesets;
        let head = format!("{}  {made}  {}  {} changesets", push.sequence, push.who, changesets.len());
        let Some(revisions) = changesets.iter().map(|node| changelog.revision_of(node)).collect::<Option<Vec<_>>>()
        else {
            println!("{head}  not tested: some of them are not here any more");
            return Ok(false);
        };
        let pusher =
            Pusher { repository: self.name.to_string(), account: push.who.clone(), groups: self.groups(&push.who)? };
        let mut checks = Checks::new(&self.rule, pusher).map_err(anyhow::Error::msg)?;
        let Judgement { remarks, refusal } =
            observe_stored(&self.snapshot, &revisions, &push.summary.bookmarks, &mut checks)
                .with_context(|| format!("cannot read what record {} brought", push.sequence))?;
        println!("{head}  {}", if refusal.is_some() { "refused" } else { "taken" });
        for line in remarks.iter().chain(&refusal).flat_map(|text| text.lines()) {
            println!("  {line}");
        }
        Ok(refusal.is_some())
    }

    /// An account's groups as they are now; none where there is no such account any more.
    fn groups(&self, who: &str) -> anyhow::Result<Vec<String>> {
        let Ok(mail) = Mail::parse(who) else { return Ok(Vec::new()) };
        Ok(self.directory.account(&mail)?.map(|account| account.groups).unwrap_or_default())
    }
}

/// The rule that counts, without what can't be asked afterwards.
fn judged_alone(rules: &PolicyRules, name: &RepositoryName) -> Rule {
    let (line, rule) = rules.rule_for(name.as_str());
    match line {
        Some(line) => println!("the rule of line {line} counts for {name}"),
        None => println!("no rule matches {name}; what is on without configuration counts"),
    }
    let mut rule = Rule::clone(rule);
    if rule.tree.take().is_some() {
        println!("not tested: tree, since what it was then is not known");
    }
    if !std::mem::take(&mut rule.external).is_empty() {
        println!("not tested: external, which is asked about what comes in");
    }
    rule
}

/// The last pushes to a repository, the oldest first.
async fn last_pushes(log: &dyn Log, name: &RepositoryName, count: u64) -> anyhow::Result<Vec<LoggedPush>> {
    let Some(end) = log.end().await? else { return Ok(Vec::new()) };
    let first = log.first().await?.get();
    let mut found = Vec::new();
    // One past the records that were looked at.
    let mut below = end.sequence.get() + 1;
    while below > first && (found.len() as u64) < count {
        let begin = below.saturating_sub(READ_MAX).max(first);
        let from = Sequence::new(begin).context("the log's sequences begin with 1")?;
        let records = log.read(from, (below - begin) as usize).await?;
        let before = records.iter().rev().filter(|record| record.sequence.get() < below);
        found.extend(before.filter_map(|record| pushed(record, name)));
        below = begin;
    }
    found.truncate(usize::try_from(count).unwrap_or(usize::MAX));
    found.reverse();
    Ok(found)
}

fn pushed(record: &Record, name: &RepositoryName) -> Option<LoggedPush> {
    let store = record.store().filter(|store| store.repository == *name && store.kind == StoreKind::Alter)?;
    let summary = hgfleet_master::decode_summary(&store.summary)?;
    let brings = !summary.changesets.is_empty() || !summary.bookmarks.is_empty();
    let (sequence, time_ms, who) = (record.sequence, record.time_ms, store.who.clone());
    brings.then_some(LoggedPush { sequence, time_ms, who, summary })
}

/// Where a server of this machine has the repository.
fn store_of(config: &Config, name: &RepositoryName) -> anyhow::Result<PathBuf> {
    let volume = config.volume().map(|volume| trees(&volume.path)).unwrap_or_default();
    let own = [config.master.data.clone()].into_iter();
    let own = own.chain(config.standby.iter().map(|standby| standby.data_folder()));
    let own = own.chain(config.mirror.iter().map(|mirror| mirror.data_folder()));
    let folders = volume.into_iter().chain(own.map(|folder| config.path(&folder)));
    let mut stores = folders.map(|folder| folder.join("repos").join(name));
    match stores.find(|store| store.join(".hg").is_dir()) {
        Some(store) => Ok(store),
        None => bail!("no server of this machine has a repository {name}; look at `hgfleet repo list`"),
    }
}

/// The trees of a shared volume, the newest first.
fn trees(volume: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(volume).into_iter().flatten().flatten();
    let epoch = |name: &std::ffi::OsStr| name.to_str()?.strip_prefix('e')?.parse::<u64>().ok();
    let mut trees: Vec<(u64, PathBuf)> =
        entries.filter_map(|entry| Some((epoch(&entry.file_name())?, entry.path()))).collect();
    trees.sort_by(|one, other| other.cmp(one));
    trees.into_iter().map(|(_, path)| path).collect()
}
