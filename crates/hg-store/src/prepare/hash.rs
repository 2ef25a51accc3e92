//! Checking that texts match their names, several at a time, on a second thread once there is enough to do.
//!
//! A name is SHA-1 over both parents' names, the smaller first, and the text. Nearly all the time of a large push goes into it, and
//! nothing but the verdict comes back, so it runs beside the rest. Since nothing is written to the store before the push is whole,
//! a verdict may come late.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};

use crate::{Node, Unnamed};

use super::error::{Place, PrepareError, Refusal};
use super::text_cache::Text;
use super::worker::Worker;

/// Bytes that are hashed at once before a thread is worth its start.
const INLINE_BYTES: usize = 4 << 20;
/// Bytes and batches that may wait; beyond that the caller's thread hashes too.
const QUEUE_BYTES: usize = 16 << 20;
const QUEUE_BATCHES: usize = 64;
/// A batch has at least so many bytes or texts, and a number of texts that can be hashed well together, but where it has
/// [`BATCH_BYTES_MAX`].
const BATCH_BYTES: usize = 512 << 10;
const BATCH_TEXTS: usize = 64;
/// No text waits beside so many bytes.
const BATCH_BYTES_MAX: usize = 8 << 20;

/// Whose revision a text is.
#[derive(Clone)]
pub(super) enum Log {
    Changelog,
    Manifest,
    /// A folder's manifests; its path ends with a slash.
    Tree(Arc<[u8]>),
    File(Arc<[u8]>),
}

impl Log {
    pub(super) fn place(&self, node: Node) -> Place {
        match self {
            Log::Changelog => Place::Changeset(node),
            Log::Manifest => Place::Manifest(node),
            Log::Tree(folder) => Place::TreeManifest(folder.to_vec(), node),
            Log::File(path) => Place::FileRevision(path.to_vec(), node),
        }
    }
}

struct Job {
    number: u64,
    text: Text,
    parents: [Node; 2],
    node: Node,
    log: Log,
}

#[derive(Default)]
struct Shared {
    queued_bytes: AtomicUsize,
    failed: AtomicBool,
    /// The mismatch that came first in the stream.
    mismatch: Mutex<Option<(u64, Place)>>,
}

impl Shared {
    fn check(&self, jobs: &[Job]) {
        let unnamed = jobs.iter().map(|job| Unnamed { parents: job.parents, text: &job.text });
        let names = Node::of_several(&unnamed.collect::<Vec<_>>());
        jobs.iter().zip(names).filter(|(job, name)| job.node != *name).for_each(|(job, _)| self.refuse(job));
    }

    fn refuse(&self, job: &Job) {
        // A thread that panicked with the lock held has left a whole value.
        let mut mismatch = self.mismatch.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if mismatch.as_ref().is_none_or(|(number, _)| *number > job.number) {
            *mismatch = Some((job.number, job.log.place(job.node)));
        }
        self.failed.store(true, Ordering::Release);
    }

    fn run(&self, batches: &Receiver<Batch>) {
        while let Ok(batch) = batches.recv() {
            self.check(&batch.jobs);
            self.queued_bytes.fetch_sub(batch.bytes, Ordering::Relaxed);
        }
    }
}

/// Texts that are checked together.
#[derive(Default)]
struct Batch {
    jobs: Vec<Job>,
    bytes: usize,
}

impl Batch {
    fn push(&mut self, job: Job) {
        self.bytes = self.bytes.saturating_add(job.text.len());
        self.jobs.push(job);
    }

    fn is_full(&self) -> bool {
        let enough = self.jobs.len() >= BATCH_TEXTS || self.bytes >= BATCH_BYTES;
        enough && self.jobs.len().is_multiple_of(Node::SEVERAL) || self.bytes >= BATCH_BYTES_MAX
    }
}

/// Checks texts against their names.
pub(super) struct HashChecker {
    shared: Arc<Shared>,
    worker: Option<Worker<SyncSender<Batch>>>,
    may_spawn: bool,
    hashed_bytes: usize,
    number: u64,
    /// What isn't checked yet, nor given to the worker.
    batch: Batch,
}

impl HashChecker {
    /// `may_spawn`: whether a second thread may help.
    pub(super) fn new(may_spawn: bool) -> HashChecker {
        HashChecker {
            shared: Arc::default(),
            worker: None,
            may_spawn,
            hashed_bytes: 0,
            number: 0,
            batch: Batch::default(),
        }
    }

    /// Takes a text to check. An error is about this text or an earlier one.
    pub(super) fn add(&mut self, log: &Log, node: Node, parents: [Node; 2], text: &Text) -> Result<(), PrepareError> {
        self.number += 1;
        self.batch.push(Job { number: self.number, text: Arc::clone(text), parents, node, log: log.clone() });
        if self.batch.is_full() {
            self.check_batch();
        }
        if self.shared.failed.load(Ordering::Acquire) {
            return self.wait();
        }
        Ok(())
    }

    /// Gives the batch to the worker, or checks it here where there is none or enough waits for it.
    fn check_batch(&mut self) {
        let batch = std::mem::take(&mut self.batch);
        if self.worker.is_none() && self.may_spawn && self.hashed_bytes > INLINE_BYTES {
            self.spawn();
        }
        let Some(worker) = &self.worker else {
            self.hashed_bytes = self.hashed_bytes.saturating_add(batch.bytes);
            return self.shared.check(&batch.jobs);
        };
        let bytes = batch.bytes;
        let left = if self.shared.queued_bytes.fetch_add(bytes, Ordering::Relaxed) > QUEUE_BYTES {
            batch
        } else {
            match worker.channels().try_send(batch) {
                Ok(()) => return,
                Err(TrySendError::Full(batch) | TrySendError::Disconnected(batch)) => batch,
            }
        };
        self.shared.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.shared.check(&left.jobs);
    }

    /// Waits for all verdicts; the error is about the text that came first.
    pub(super) fn wait(&mut self) -> Result<(), PrepareError> {
        self.check_batch();
        self.worker = None;
        let mismatch = self.shared.mismatch.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        match mismatch.as_ref() {
            Some((_, place)) => Err(PrepareError::refused(Refusal::Hash, place.clone())),
            None => Ok(()),
        }
    }

    fn spawn(&mut self) {
        let (batches, queue) = sync_channel(QUEUE_BATCHES);
        let shared = Arc::clone(&self.shared);
        self.worker = Worker::spawn("hash", batches, move || shared.run(&queue));
        // Where there is no thread to be had it goes on here, only slower.
        self.may_spawn = self.worker.is_some();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_mismatch_is_told_whichever_thread_finds_it() {
        for threads in [false, true] {
            let mut checker = HashChecker::new(threads);
            let mut told = None;
            for number in 0..200u8 {
                let text: Text = Arc::new(vec![number; 100_000]);
                let mut node = Node::of(&Node::NULL, &Node::NULL, &text);
                if matches!(number, 150 | 151 | 190) {
                    node = Node::new([number; 20]);
                }
                told = checker.add(&Log::Manifest, node, [Node::NULL; 2], &text).err();
                if told.is_some() {
                    break;
                }
            }
            let told = told.or_else(|| checker.wait().err()).expect("a mismatch");
            let expected = format!("text does not match its hash, manifest {}. ", Node::new([150; 20]));
            assert!(told.to_string().starts_with(&expected), "{told}");
        }
    }
}
