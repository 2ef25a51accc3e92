//! Who is master, for those that look for it.

use std::path::{Path, PathBuf};

use tokio::sync::watch;

use crate::ids::Epoch;
use crate::log::{Log, LogError};

/// Name of the socket on which a master takes streams of mirrors and balancers.
pub const MIRRORS_SOCKET: &str = "mirrors.sock";
/// Name of the socket on which a master takes SSH connections from a balancer.
pub const SSH_SOCKET: &str = "ssh.sock";

/// Who holds the newest epoch and has given a sign of life in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its name in the configuration.
    pub name: String,
    /// Its epoch.
    pub epoch: Epoch,
}

/// Returns the master that the lease names; none where the newest epoch has not been announced there yet.
///
/// It may have died since: whoever can't reach it asks again.
///
/// # Errors
/// Where the log can't be read.
pub async fn holder(log: &dyn Log) -> Result<Option<Holder>, LogError> {
    let Some(lease) = log.lease().await? else { return Ok(None) };
    // Read after the lease: an epoch that began meanwhile makes the lease an old one's.
    let newest = log.end().await?.map(|tail| tail.epoch);
    Ok(lease.epoch.filter(|epoch| newest == Some(*epoch)).map(|epoch| Holder { name: lease.holder, epoch }))
}

impl Holder {
    /// Returns the path of one of its sockets, on its own machine; none where its name can't be that of a folder.
    pub fn socket(&self, run: &Path, socket: &str) -> Option<PathBuf> {
        socket_of(run, &self.name, socket)
    }
}

/// The newest epoch that a server has heard of. It never goes back.
#[derive(Debug, Default)]
pub struct NewestEpoch(watch::Sender<Option<Epoch>>);

impl NewestEpoch {
    /// Takes note of an epoch that has begun.
    pub fn saw(&self, epoch: Epoch) {
        self.0.send_if_modified(|newest| {
            let is_newer = *newest < Some(epoch);
            if is_newer {
                *newest = Some(epoch);
            }
            is_newer
        });
    }

    /// Waits until an epoch newer than this one has begun: whoever was master is none any more.
    pub async fn newer_than(&self, epoch: Epoch) {
        let mut newest = self.0.subscribe();
        if newest.wait_for(|newest| *newest > Some(epoch)).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Returns the path of a socket of the master or standby with this name, in the fleet's folder of sockets.
pub fn socket_of(run: &Path, name: &str, socket: &str) -> Option<PathBuf> {
    let is_a_folder = !name.is_empty() && ![".", ".."].contains(&name) && !name.contains(['/', '\0']);
    is_a_folder.then(|| run.join(name).join(socket))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::EmbeddedLog;
    use crate::ids::RecordId;
    use crate::log::{Draft, Payload};
    use crate::record::Body;

    #[tokio::test]
    async fn the_lease_names_the_master_only_while_its_epoch_is_the_newest() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = EmbeddedLog::open_master(folder.path()).expect("a log");
        assert_eq!(holder(&log).await.expect("read"), None);
        for (number, name) in [(1, "one"), (2, "two")] {
            let epoch = Epoch::new(number).expect("an epoch");
            let tail = log.end().await.expect("read");
            let id = RecordId::from_bytes([number as u8; 16]);
            let draft = Draft::following(tail.as_ref(), epoch, id, 0, Body::Epoch { holder: name.to_owned() });
            log.append(draft, Payload::Empty).await.expect("appended");
            assert_eq!(holder(&log).await.expect("read"), None, "not announced yet");
            let counter = log.lease().await.expect("read").map(|lease| lease.counter);
            log.renew_lease(name, Some(epoch), counter).await.expect("renewed");
            assert_eq!(holder(&log).await.expect("read"), Some(Holder { name: name.to_owned(), epoch }));
        }
    }

    #[tokio::test]
    async fn a_newer_epoch_is_waited_for_and_an_older_one_is_none() {
        let epoch = |number| Epoch::new(number).expect("an epoch");
        let newest = NewestEpoch::default();
        newest.saw(epoch(3));
        newest.saw(epoch(2));
        newest.newer_than(epoch(2)).await;
        let ((), ()) = tokio::join!(newest.newer_than(epoch(3)), async { newest.saw(epoch(4)) });
    }

    #[test]
    fn a_name_is_one_folder_or_none() {
        let run = Path::new("/run");
        assert_eq!(socket_of(run, "standby", SSH_SOCKET), Some("/run/standby/ssh.sock".into()));
        for name in ["", ".", "..", "a/b", "a\0"] {
            assert_eq!(socket_of(run, name, SSH_SOCKET), None);
        }
    }
}
