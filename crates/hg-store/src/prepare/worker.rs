//! A thread that helps with a push.

use std::thread::JoinHandle;

/// A thread, and the channels to it. Dropping it closes them, which is to end the thread, and waits for that; a panic of the thread goes
/// on in whoever drops it.
pub(super) struct Worker<Channels> {
    /// There until the drop.
    channels: Option<Channels>,
    thread: Option<JoinHandle<()>>,
}

impl<Channels> Worker<Channels> {
    /// `None`: there is no thread to be had.
    pub(super) fn spawn(
        name: &str,
        channels: Channels,
        run: impl FnOnce() + Send + 'static,
    ) -> Option<Worker<Channels>> {
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(run).ok()?;
        Some(Worker { channels: Some(channels), thread: Some(thread) })
    }

    pub(super) fn channels(&self) -> &Channels {
        match &self.channels {
            Some(channels) => channels,
            None => unreachable!("taken before the drop"),
        }
    }
}

impl<Channels> Drop for Worker<Channels> {
    fn drop(&mut self) {
        drop(self.channels.take());
        let ended = self.thread.take().map_or(Ok(()), JoinHandle::join);
        if let Err(panic) = ended
            && !std::thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}
