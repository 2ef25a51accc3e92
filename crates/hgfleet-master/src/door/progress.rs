//! How far a connection has come: what the door has to know of what happens within the SSH library.

use tokio::sync::watch;

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Progress {
    /// Its account is known.
    pub logged_in: bool,
    /// A key was tried.
    pub tried: bool,
    /// The directory could not say whether a key is anybody's: that is not the client's fault.
    pub unanswered: bool,
    /// Sessions that run.
    pub sessions: usize,
}

/// A session that runs, until this is dropped.
#[derive(Debug)]
pub(super) struct Running(watch::Sender<Progress>);

impl Running {
    pub(super) fn begin(progress: &watch::Sender<Progress>) -> Running {
        progress.send_modify(|progress| progress.sessions += 1);
        Running(progress.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.send_modify(|progress| progress.sessions -= 1);
    }
}
