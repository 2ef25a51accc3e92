//! Repositories, or all of them, that take no pushes for a while.
//!
//! One repository's reason is a key of its `hgrc`, which is a record like any other setting; the whole fleet's lies beside the log's
//! view. Sessions ask here before they get a lock and again before a push is stored; the operator's own commands do not.

use std::sync::{PoisonError, RwLock};

use hg_store::config::Config;
use hgfleet_log::{Log, LogError, RepositoryName, ViewError};

use super::again::again;
use super::master::{Master, No};
use super::repositories::Author;
use crate::protocol::Grant;

/// The reason's key in a repository's `hgrc`.
pub(super) const KEY: &str = "hgfleet.read-only";

/// Why the whole fleet takes no pushes, as this master has read and written it: nobody else writes it in its epoch.
#[derive(Debug)]
pub(crate) struct FleetReadOnly(RwLock<Option<String>>);

impl FleetReadOnly {
    /// Reads it, once the epoch is this server's.
    pub(crate) async fn read(log: &dyn Log) -> Result<FleetReadOnly, LogError> {
        Ok(FleetReadOnly(RwLock::new(again(|| log.read_only()).await?)))
    }

    fn get(&self) -> Option<String> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, reason: Option<String>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = reason;
    }
}

impl Master {
    /// Why a repository takes no pushes, or the whole fleet; none where it takes them.
    pub(crate) fn read_only(&self, grant: &Grant) -> Option<String> {
        reason(grant.state.hgrc.as_deref()).or_else(|| self.fleet_read_only.get())
    }

    /// Makes sure that a repository takes pushes, or that it may be made where there is none.
    pub(crate) fn check_takes(&self, name: &RepositoryName) -> Result<(), No> {
        let own = self.grant(name).ok().and_then(|(grant, _)| reason(grant.state.hgrc.as_deref()));
        if let Some(reason) = own {
            return Err(refusal("the repository is read only", &reason, name));
        }
        match self.fleet_read_only.get() {
            None => Ok(()),
            Some(reason) => Err(refusal("all repositories are read only", &reason, name)),
        }
    }

    /// Sets or removes (`change`) the reason of a repository, or without a name of the whole fleet; returns it as it is then.
    pub(crate) async fn set_read_only(
        &self,
        name: Option<&str>,
        change: Option<Option<String>>,
        author: Author,
    ) -> Result<Option<String>, No> {
        let change = change.map(|reason| reason.as_deref().map(|reason| self.checked_reason(reason)).transpose());
        let change = change.transpose()?;
        let Some(name) = name else { return self.set_fleet_read_only(change).await };
        let (set, unset) = match change {
            None => (Vec::new(), Vec::new()),
            Some(Some(reason)) => (vec![(KEY.to_owned(), reason)], Vec::new()),
            Some(None) => (Vec::new(), vec![KEY.to_owned()]),
        };
        Ok(reason(Some(&self.config(name, set, unset, author).await?.hgrc)))
    }

    fn checked_reason(&self, reason: &str) -> Result<String, No> {
        match super::hgrc::checked(KEY, reason)? {
            "" => Err(No::refused("a reason is missing. Say in a few words why, for those who push")),
            reason => Ok(reason.to_owned()),
        }
    }

    async fn set_fleet_read_only(&self, change: Option<Option<String>>) -> Result<Option<String>, No> {
        if !self.takes_pushes() {
            return Err(No::not_master());
        }
        if let Some(reason) = change {
            let written = self.log.set_read_only(self.epoch, reason.clone()).await;
            written.map_err(|error| match error {
                ViewError::Fenced { .. } => No::not_master(),
                error => No::failed(format!("the log does not take it: {error}. Look how it is, and try again")),
            })?;
            self.fleet_read_only.set(reason);
        }
        Ok(self.fleet_read_only.get())
    }
}

/// The reason in a repository's `hgrc`.
fn reason(hgrc: Option<&[u8]>) -> Option<String> {
    let (section, key) = KEY.split_once('.')?;
    let hgrc = Config::parse(hgrc?).ok()?;
    hgrc.get(section.as_bytes(), key.as_bytes()).map(|reason| String::from_utf8_lossy(reason).into_owned())
}

fn refusal(what: &str, reason: &str, name: &RepositoryName) -> No {
    // Somebody may have written an hgrc with an empty one, into what was imported or in another way.
    let reason = match reason.trim().trim_end_matches('.') {
        "" => "no reason was given",
        reason => reason,
    };
    No::refused(format!("refused: {what}: {reason}, on {name}. Nothing was stored; push again when that is over"))
}
