//! `hgfleet log`: what the log holds, record by record.

use crate::cli;
use crate::config::Config;
use crate::fleet_state::open_log;
use anyhow::{Context, bail};
use hgfleet_log::{Body, Log, Record, Sequence, StoreKind};
use hgfleet_master::PushSummary;
use serde::Serialize;
use std::io::Write;
use std::num::NonZeroU64;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Records that are read at once.
const READ_MAX: usize = 256;
/// How long one look for a new record may take.
const LOOK: Duration = Duration::from_secs(10);
/// Records that `tail` begins with.
const TAIL_RECORDS: u64 = 10;

/// Runs one of its commands.
///
/// # Errors
///
/// No configuration, no log where it says, or no such record.
pub fn run(command: cli::Log) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    runtime.block_on(async {
        match command {
            cli::Log::List { from, limit, form } => list(&*form.open().await?, from, limit, form.one_line()).await,
            cli::Log::Show { sequence, form } => show(&*form.open().await?, sequence, form.whole()).await,
            cli::Log::Tail { form } => tail(&*form.open().await?, form.one_line()).await,
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

impl cli::LogForm {
    async fn open(&self) -> anyhow::Result<Arc<dyn Log>> {
        open_log(&Config::find(self.config.config.as_deref())?).await
    }

    fn one_line(&self) -> Form {
        if self.json { Form::Json } else { Form::Line }
    }

    fn whole(&self) -> Form {
        if self.json { Form::Json } else { Form::Whole }
    }
}

/// How one record is printed.
#[derive(Clone, Copy)]
enum Form {
    /// A line for people
    Line,
    /// A JSON object on a line of its own
    Json,
    /// All of it, for people
    Whole,
}

/// One record as it is shown.
#[derive(Debug, Serialize)]
struct Shown {
    sequence: u64,
    epoch: u64,
    /// By its maker's clock, RFC 3339
    time: String,
    /// `epoch`, `empty`, `create`, `alter`, `delete`, `rename`, `restore`, `rewrite` or `purge`
    kind: String,
    repository: Option<String>,
    /// The name that a renamed repository had
    from: Option<String>,
    /// The deletion that is taken back, or that is for good now
    deleted: Option<u64>,
    who: Option<String>,
    source: Option<String>,
    /// Who holds the epoch that begins
    holder: Option<String>,
    /// New changesets
    changesets: Vec<String>,
    bookmarks: Vec<MovedBookmark>,
    /// Changesets whose phase moved
    phases: usize,
    /// New obsolescence markers
    markers: u32,
    /// Length of the change
    bytes: u64,
    id: String,
    /// Digest over the record, which the next one holds
    hash: String,
    previous: String,
}

/// A bookmark that moved.
#[derive(Debug, Serialize)]
struct MovedBookmark {
    name: String,
    before: Option<String>,
    after: Option<String>,
}

impl Shown {
    fn of(record: &Record) -> Shown {
        let summary = match record.store() {
            Some(store) => hgfleet_master::decode_summary(&store.summary).unwrap_or_default(),
            None => PushSummary::default(),
        };
        let store = record.store();
        let (kind, holder) = match &record.body {
            Body::Epoch { holder } => ("epoch".to_owned(), Some(holder.clone())),
            Body::Empty => ("empty".to_owned(), None),
            Body::Store(store) => (store.kind.to_string(), None),
            Body::Purge { .. } => ("purge".to_owned(), None),
        };
        let (from, deleted) = match (&record.body, store.map(|store| &store.kind)) {
            (Body::Purge { deleted }, _) | (_, Some(StoreKind::Restore { deleted })) => (None, Some(deleted.get())),
            (_, Some(StoreKind::Rename { from })) => (Some(from.to_string()), None),
            _ => (None, None),
        };
        let made = OffsetDateTime::from_unix_timestamp_nanos(i128::from(record.time_ms) * 1_000_000).ok();
        let bookmarks = summary.bookmarks.into_iter().map(|(name, before, after)| MovedBookmark {
            name: String::from_utf8_lossy(&name).into_owned(),
            before: before.map(|node| node.to_string()),
            after: after.map(|node| node.to_string()),
        });
        Shown {
            sequence: record.sequence.get(),
            epoch: record.epoch.get(),
            time: made.and_then(|made| made.format(&Rfc3339).ok()).unwrap_or_else(|| record.time_ms.to_string()),
            kind,
            repository: store.map(|store| store.repository.to_string()),
            from,
            deleted,
            who: store.map(|store| store.who.clone()),
            source: store.map(|store| store.source.clone()),
            holder,
            bookmarks: bookmarks.collect(),
            changesets: summary.changesets.iter().map(ToString::to_string).collect(),
            phases: summary.phases.len(),
            markers: summary.markers,
            bytes: record.change_bytes(),
            id: record.id.to_string(),
            hash: record.chain_hash().to_string(),
            previous: record.previous.to_string(),
        }
    }

    fn line(&self) -> String {
        let Shown { sequence, epoch, time, kind, .. } = self;
        let begin = format!("{sequence}  epoch {epoch}  {time}  {kind}");
        let more = match (&self.repository, &self.holder) {
            (Some(repository), _) => format!(
                "  {repository}  {}  {} changesets  {} bytes",
                self.who.as_deref().filter(|who| !who.is_empty()).unwrap_or("-"),
                self.changesets.len(),
                self.bytes
            ),
            (None, Some(holder)) => format!("  held by {holder}"),
            (None, None) => {
                self.deleted.map(|sequence| format!("  of what record {sequence} deleted")).unwrap_or_default()
            }
        };
        // What comes from a client's bookmark or a name is not to move a terminal's cursor.
        plain(&format!("{begin}{more}\n"))
    }

    fn whole(&self) -> String {
        let mut text = String::new();
        let mut row = |name: &str, value: &str| {
            if !value.is_empty() {
                text.push_str(&plain(&format!("{name:<11} {value}\n")));
            }
        };
        row("sequence", &self.sequence.to_string());
        row("epoch", &self.epoch.to_string());
        row("time", &self.time);
        row("kind", &self.kind);
        row("repository", self.repository.as_deref().unwrap_or_default());
        row("from", self.from.as_deref().unwrap_or_default());
        row("deleted", &self.deleted.map(|sequence| format!("by record {sequence}")).unwrap_or_default());
        row("who", self.who.as_deref().unwrap_or_default());
        row("source", self.source.as_deref().unwrap_or_default());
        row("holder", self.holder.as_deref().unwrap_or_default());
        row("bytes", &self.bytes.to_string());
        row("id", &self.id);
        row("hash", &self.hash);
        row("previous", &self.previous);
        for changeset in &self.changesets {
            row("changeset", changeset);
        }
        let node = |node: &Option<String>| node.clone().unwrap_or_else(|| "nothing".to_owned());
        for MovedBookmark { name, before, after } in &self.bookmarks {
            row("bookmark", &format!("{name}: {} to {}", node(before), node(after)));
        }
        if self.phases > 0 {
            row("phases", &format!("of {} changesets", self.phases));
        }
        if self.markers > 0 {
            row("markers", &self.markers.to_string());
        }
        text
    }
}

fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}

/// Prints records; `false` where whoever reads our output has read enough.
fn print(records: &[Record], form: Form) -> anyhow::Result<bool> {
    let mut output = std::io::stdout().lock();
    for record in records {
        let shown = Shown::of(record);
        let text = match form {
            Form::Line => shown.line(),
            Form::Whole => shown.whole(),
            Form::Json => serde_json::to_string(&shown)? + "\n",
        };
        if output.write_all(text.as_bytes()).is_err() {
            return Ok(false);
        }
    }
    Ok(output.flush().is_ok())
}

async fn list(log: &dyn Log, from: Option<NonZeroU64>, limit: u64, form: Form) -> anyhow::Result<()> {
    let Some(end) = log.end().await?.map(|tail| tail.sequence) else { return Ok(()) };
    let mut next = match from {
        Some(from) => self::sequence(from)?,
        None => begin_of_last(log, end, limit).await?,
    };
    let mut left = limit;
    while left > 0 && next <= end {
        let records = log.read(next, READ_MAX.min(usize::try_from(left).unwrap_or(READ_MAX))).await?;
        let Some(last) = records.last() else { return Ok(()) };
        left -= records.len() as u64;
        next = last.sequence.next().context("the log's sequences are used up")?;
        if !print(&records, form)? {
            return Ok(());
        }
    }
    Ok(())
}

/// Returns where the last `count` records begin, of those that were not trimmed.
async fn begin_of_last(log: &dyn Log, end: Sequence, count: u64) -> anyhow::Result<Sequence> {
    let first = log.first().await?;
    let begin = Sequence::new((end.get() + 1).saturating_sub(count));
    Ok(begin.map_or(first, |begin| begin.max(first)))
}

fn sequence(number: NonZeroU64) -> anyhow::Result<Sequence> {
    Sequence::new(number.get()).with_context(|| format!("{number} is no record: sequences end at 2^63 - 1"))
}

async fn show(log: &dyn Log, sequence: NonZeroU64, form: Form) -> anyhow::Result<()> {
    let records = log.read(self::sequence(sequence)?, 1).await?;
    if records.is_empty() {
        let end = log.end().await?.map_or(0, |tail| tail.sequence.get());
        bail!("there is no record {sequence}: the log ends at {end}");
    }
    print(&records, form)?;
    Ok(())
}

async fn tail(log: &dyn Log, form: Form) -> anyhow::Result<()> {
    let mut last = None;
    loop {
        let next = match last {
            Some(last) => Sequence::after(Some(last)).context("the log's sequences are used up")?,
            None => match log.end().await? {
                Some(end) => begin_of_last(log, end.sequence, TAIL_RECORDS).await?,
                None => Sequence::FIRST,
            },
        };
        let records = log.read(next, READ_MAX).await?;
        if !print(&records, form)? {
            return Ok(());
        }
        match records.last() {
            Some(record) => last = Some(record.sequence),
            None => log.changed(next.previous(), LOOK).await,
        }
    }
}
