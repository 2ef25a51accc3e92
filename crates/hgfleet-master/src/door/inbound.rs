//! What a client sends on one channel, on its way to the session's standard input.
//!
//! The SSH library gives back window as bytes arrive, not as they are taken, and its own channel queue stops the whole connection
//! when it is full: a session that waits to write its answer and a client that waits for it then wait for ever. Here the
//! queue never blocks. Above a mark the window that is given back shrinks to almost nothing and each packet waits a moment,
//! while what goes to the client flows on; above a bound, which only a client that ignores its window can reach, the connection ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};

/// Above this many bytes that wait, the client is slowed.
const MARK_BYTES: usize = 4 << 20;
/// Above this many, the client does not keep to its window.
const BOUND_BYTES: usize = 32 << 20;
/// How long one packet waits for room.
const PAUSE: Duration = Duration::from_millis(20);
/// Window to give back normally, and above the mark. Two bytes keep the client's asking alive.
const WINDOW_BYTES: u32 = 2 << 20;
const WINDOW_BYTES_SLOW: u32 = 2;

/// The client ignores its window.
#[derive(Debug)]
pub(super) struct Overrun;

/// The end into which the connection puts what arrives.
#[derive(Debug)]
pub(super) struct Inbound {
    sender: Option<mpsc::UnboundedSender<Vec<u8>>>,
    shared: Arc<Shared>,
}

/// The end from which the session's input is fed.
#[derive(Debug)]
pub(super) struct InboundReader {
    receiver: mpsc::UnboundedReceiver<Vec<u8>>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    waiting: AtomicUsize,
    taken: Notify,
}

pub(super) fn channel() -> (Inbound, InboundReader) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let shared = Arc::<Shared>::default();
    (Inbound { sender: Some(sender), shared: shared.clone() }, InboundReader { receiver, shared })
}

impl Inbound {
    /// Takes what arrived. Waits a moment where much is waiting, but never for the session.
    pub(super) async fn push(&self, data: &[u8]) -> Result<(), Overrun> {
        // After the end of input, or where the session has closed its input, bytes are dropped, as a pipe's writer's would be.
        let Some(sender) = &self.sender else { return Ok(()) };
        let waiting = self.shared.waiting.fetch_add(data.len(), Ordering::AcqRel) + data.len();
        if sender.send(data.to_vec()).is_err() {
            self.shared.waiting.store(0, Ordering::Release);
            return Ok(());
        }
        if waiting > BOUND_BYTES {
            return Err(Overrun);
        }
        if waiting > MARK_BYTES {
            let _ = tokio::time::timeout(PAUSE, self.shared.taken.notified()).await;
        }
        Ok(())
    }

    /// The window that the client shall have.
    pub(super) fn window(&self) -> u32 {
        if self.shared.waiting.load(Ordering::Acquire) > MARK_BYTES { WINDOW_BYTES_SLOW } else { WINDOW_BYTES }
    }

    /// The client has said that nothing more comes.
    pub(super) fn end(&mut self) {
        self.sender = None;
    }
}

impl InboundReader {
    /// The next bytes; `None` at the end.
    pub(super) async fn next(&mut self) -> Option<Vec<u8>> {
        let data = self.receiver.recv().await?;
        self.shared.waiting.fetch_sub(data.len(), Ordering::AcqRel);
        self.shared.taken.notify_one();
        Some(data)
    }
}

impl Drop for InboundReader {
    fn drop(&mut self) {
        self.receiver.close();
        self.shared.waiting.store(0, Ordering::Release);
        self.shared.taken.notify_one();
    }
}
