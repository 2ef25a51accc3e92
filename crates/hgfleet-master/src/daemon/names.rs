//! Deleting, bringing back and renaming repositories, and giving up what was deleted long ago.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hgfleet_log::{RecordId, RepositoryName, Sequence, StoreKind};
use hgfleet_replica::DeletedRepository;

use super::change_file::ChangeFile;
use super::committer::{Change, Push};
use super::master::{Master, No};
use super::repositories::{Author, blocking, parse, text};
use crate::client::DeletedLine;
use crate::clock::unix_ms;
use crate::protocol::SessionTimes;

/// How often it is looked whether something was deleted long enough ago, at most and at least.
const LOOK_EVERY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(60));

impl Master {
    /// Deletes a repository. What it was is kept, and its name is free.
    pub(crate) async fn delete(&self, name: &str, author: Author) -> Result<u64, No> {
        let name = parse(name)?;
        let _naming = self.naming.lock().await;
        let (lock, _, digest) = self.lock(&name).await?;
        self.store(StoreKind::Delete, Some(digest), None, ChangeFile::Empty, lock, author).await
    }

    /// What was deleted and is kept.
    pub(crate) fn list_deleted(&self) -> Result<Vec<DeletedLine>, No> {
        let grace_ms = u64::try_from(self.deletion_grace.as_millis()).unwrap_or(u64::MAX);
        let all = self.kept()?.into_iter();
        let line = |DeletedRepository { sequence, name, at_ms }: DeletedRepository| DeletedLine {
            name: name.to_string(),
            sequence: sequence.get(),
            at_ms,
            until_ms: at_ms.saturating_add(grace_ms),
        };
        Ok(all.map(line).collect())
    }

    /// Brings back what had this name last, under `new_name` if that is given.
    pub(crate) async fn restore(&self, name: &str, new_name: Option<&str>, author: Author) -> Result<u64, No> {
        let name = parse(name)?;
        let new_name = new_name.map_or_else(|| Ok(name.clone()), parse)?;
        let _naming = self.naming.lock().await;
        let found = self.kept()?.into_iter().rfind(|deleted| deleted.name == name);
        let DeletedRepository { sequence: deleted, .. } = found.ok_or_else(|| {
            No::refused(format!("no deleted repository {name} is kept. Look with `hgfleet repo list --deleted`"))
        })?;
        self.replica
            .check_name(&new_name)
            .map_err(|error| No::refused(format!("{error}. `--as` gives it another name")))?;
        let lock = self.name_lock(&new_name).await?;
        let replica = self.replica.clone();
        let after = blocking(move || replica.digest_of_deleted(deleted).map_err(text)).await?;
        self.store(StoreKind::Restore { deleted }, None, Some(after), ChangeFile::Empty, lock, author).await
    }

    /// Gives a repository another name.
    pub(crate) async fn rename(&self, name: &str, new_name: &str, author: Author) -> Result<u64, No> {
        let (from, to) = (parse(name)?, parse(new_name)?);
        let _naming = self.naming.lock().await;
        self.replica.check_name(&to).map_err(|error| No::refused(error.to_string()))?;
        let (lock, _, digest) = self.lock(&from).await?;
        let lock = self.name_lock(&to).await?.and(lock);
        self.store(StoreKind::Rename { from }, Some(digest), Some(digest), ChangeFile::Empty, lock, author).await
    }

    fn kept(&self) -> Result<Vec<DeletedRepository>, No> {
        if !self.takes_pushes() {
            return Err(No::not_master());
        }
        self.replica.deleted().map_err(|error| No::failed(error.to_string()))
    }

    /// Gives up what is kept of a deleted repository, on every server.
    async fn purge(&self, name: RepositoryName, deleted: Sequence) -> Result<u64, No> {
        let _naming = self.naming.lock().await;
        // It may have been brought back just now.
        if !self.kept()?.iter().any(|kept| kept.sequence == deleted) {
            return Ok(0);
        }
        let push = Push {
            id: RecordId::random().map_err(|error| No::failed(error.to_string()))?,
            repository: name,
            what: Change::Purge { deleted },
            before: None,
            after: None,
            who: String::new(),
            source: String::new(),
            summary: Vec::new(),
            change: ChangeFile::Empty,
            lock: None,
            times: SessionTimes::default(),
            asked: Instant::now(),
        };
        self.committed(push).await
    }
}

/// Gives up what was deleted long enough ago, for as long as this server is master. The clock of whoever is master decides; the
/// others follow the record.
pub(crate) async fn purge_expired(master: Arc<Master>) {
    let (least, most) = LOOK_EVERY;
    let every = (master.deletion_grace / 4).clamp(least, most);
    loop {
        tokio::time::sleep(every).await;
        let Ok(kept) = master.list_deleted() else { continue };
        for line in kept.into_iter().filter(|line| line.until_ms <= unix_ms()) {
            let (Ok(name), Some(deleted)) = (parse(&line.name), Sequence::new(line.sequence)) else { continue };
            match master.purge(name, deleted).await {
                Ok(sequence) => {
                    tracing::info!(repository = line.name, %deleted, sequence, "a deleted repository is kept no longer");
                }
                Err(no) => {
                    tracing::warn!(repository = line.name, why = no.text, "a deleted repository could not be given up");
                }
            }
        }
    }
}
