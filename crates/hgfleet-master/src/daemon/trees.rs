//! Old trees of a shared volume, and what of them nobody needs any more.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hgfleet_log::membership::SILENT_MS;
use hgfleet_log::{Member, Role};
use hgfleet_replica::{Replica, ReplicaError, TreeNote, Volume};

use super::server::Server;
use crate::clock::unix_ms;
use crate::options::VolumeOptions;

/// The longest and shortest pause between looks.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(600));

/// What may go, as far as this term knows.
#[derive(Debug, Default)]
struct Unused {
    /// Since when a repository of a tree was seen to be of no use; the whole tree, where there is no repository.
    since: BTreeMap<(u64, PathBuf), Instant>,
}

/// Removes what is of no use, as long as this server is master.
pub(crate) async fn keep(server: Arc<Server>, options: VolumeOptions) {
    let pause = (options.keep / 10).clamp(PAUSES.0, PAUSES.1);
    let mut unused = Unused::default();
    loop {
        tokio::time::sleep(pause).await;
        let Some(stores) = server.stores.get() else { return };
        let members = match server.log.members().await {
            Ok(members) => members,
            Err(error) => {
                tracing::warn!(%error, "old trees are left alone");
                continue;
            }
        };
        let (server, options) = (server.clone(), options.clone());
        let done = tokio::task::spawn_blocking(move || {
            let removed = unused.remove(&server, &stores.replica, &options, &members);
            (unused, removed)
        });
        let Ok((back, removed)) = done.await else { return };
        unused = back;
        if let Err(error) = removed {
            tracing::warn!(%error, "an old tree could not be removed; it is tried again");
        }
    }
}

impl Unused {
    /// Removes what this term has known for long enough to be of no use, from trees that nobody can write to or read from.
    fn remove(
        &mut self,
        server: &Server,
        replica: &Replica,
        options: &VolumeOptions,
        members: &[Member],
    ) -> Result<(), ReplicaError> {
        let volume = Volume::new(options.path.clone());
        let used = replica.in_older_trees();
        let ours = replica.tree_name();
        let trees = volume.trees()?;
        if trees.last().is_none_or(|newest| format!("e{newest}") != ours) {
            // This server's epoch has ended, whether or not it knows that yet: its view of what is used is of no use.
            return Ok(());
        }
        let (now, mut seen) = (Instant::now(), BTreeSet::new());
        let mut gone = Vec::new();
        // The newest first: whoever wrote to a newer one may still read from all before it.
        for tree in trees.into_iter().rev() {
            if format!("e{tree}") == ours {
                continue;
            }
            let Some(note) = volume.note(tree)? else { break };
            if !has_ended(server, &note, members) {
                break;
            }
            let found = match used.get(&tree) {
                None => vec![PathBuf::new()],
                Some(names) => {
                    let is_used = |below: &PathBuf| names.iter().any(|name| Volume::is_at(name, below));
                    volume.repositories(tree)?.into_iter().filter(|below| !is_used(below)).collect()
                }
            };
            for below in found {
                let key = (tree, below);
                if now.duration_since(*self.since.entry(key.clone()).or_insert(now)) >= options.keep {
                    gone.push(key.clone());
                }
                seen.insert(key);
            }
        }
        self.since.retain(|key, _| seen.contains(key));
        volume.tidy(&ours)?;
        for (tree, below) in gone {
            if below.as_os_str().is_empty() {
                match volume.remove_tree(tree)? {
                    true => tracing::info!(tree, "an old tree was removed"),
                    false => tracing::warn!(
                        tree,
                        "an old tree stays: something in its altered/ is for an operator to look at"
                    ),
                }
            } else {
                volume.remove_repository(tree, &below)?;
                tracing::info!(tree, repository = %below.display(), "what was copied was removed from an old tree");
            }
        }
        Ok(())
    }
}

/// Whether the server that wrote to a tree knows that its epoch has ended: it says that it is standby, now. One that is silent
/// may be stopped, and wake up. This server's own processes before this one have ended, if they held the folder that it holds.
fn has_ended(server: &Server, note: &TreeNote, members: &[Member]) -> bool {
    if note.holder == server.name() {
        return note.incarnation == server.own.incarnation();
    }
    let now = unix_ms();
    let is_standby = |member: &&Member| member.role == Role::Standby && member.silent_ms(now) <= SILENT_MS;
    members.iter().filter(|member| member.name == note.holder).any(|member| is_standby(&member))
}
