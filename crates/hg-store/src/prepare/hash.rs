//! Checking that texts match their names, on a second thread once there is enough to do.
//!
//! A name is SHA-1 over both parents' names, the smaller first, and the text. Nearly all the time of a large push goes into it, and
//! nothing but the verdict comes back, so it runs beside the rest. Since nothing is written to the store before the push is whole,
//! a verdict may come late.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use crate::{Node, Unnamed};

use super::error::{Place, PrepareError, Refusal};
use super::text_cache::Text;

/// Bytes that are hashed at once before a thread is worth its start.
const INLINE_BYTES: usize = 4 << 20;
/// Bytes and texts that may wait; beyond that the caller's thread hashes too.
const QUEUE_BYTES: usize = 16 << 20;
const QUEUE_TEXTS: usize = 256;
/// Texts that are hashed together.
const TOGETHER_MAX: usize = 16;

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

    fn run(&self, jobs: &Receiver<Job>) {
        let mut together = Vec::with_capacity(TOGETHER_MAX);
        while let Ok(first) = jobs.recv() {
            together.push(first);
            together.extend(jobs.try_iter().take(TOGETHER_MAX - 1));
            self.check(&together);
            let bytes = together.drain(..).map(|job| job.text.len()).sum();
            self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}

struct Worker {
    jobs: SyncSender<Job>,
    thread: JoinHandle<()>,
}

/// Checks texts against their names.
pub(super) struct HashChecker {
    shared: Arc<Shared>,
    worker: Option<Worker>,
    may_spawn: bool,
    hashed_bytes: usize,
    number: u64,
}

impl HashChecker {
    pub(super) fn new() -> HashChecker {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        HashChecker { shared: Arc::default(), worker: None, may_spawn: cores > 1, hashed_bytes: 0, number: 0 }
    }

    /// Takes a text to check. An error is about this text or an earlier one.
    pub(super) fn add(&mut self, log: &Log, node: Node, parents: [Node; 2], text: &Text) -> Result<(), PrepareError> {
        self.number += 1;
        let job = Job { number: self.number, text: Arc::clone(text), parents, node, log: log.clone() };
        if self.worker.is_none() && self.may_spawn && self.hashed_bytes > INLINE_BYTES {
            self.spawn();
        }
        match &self.worker {
            Some(worker) => {
                let bytes = text.len();
                let queued = self.shared.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
                let left = if queued > QUEUE_BYTES {
                    Some(job)
                } else {
                    match worker.jobs.try_send(job) {
                        Ok(()) => None,
                        Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) => Some(job),
                    }
                };
                if let Some(job) = left {
                    self.shared.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
                    self.shared.check(&[job]);
                }
            }
            None => {
                self.hashed_bytes = self.hashed_bytes.saturating_add(text.len());
                self.shared.check(&[job]);
            }
        }
        if self.shared.failed.load(Ordering::Acquire) {
            return self.wait();
        }
        Ok(())
    }

    /// Waits for all verdicts; the error is about the text that came first.
    pub(super) fn wait(&mut self) -> Result<(), PrepareError> {
        self.stop();
        let mismatch = self.shared.mismatch.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        match mismatch.as_ref() {
            Some((_, place)) => Err(PrepareError::refused(Refusal::Hash, place.clone())),
            None => Ok(()),
        }
    }

    fn spawn(&mut self) {
        let (jobs, queue) = sync_channel(QUEUE_TEXTS);
        let shared = Arc::clone(&self.shared);
        let spawned = std::thread::Builder::new().name("hash".to_owned()).spawn(move || shared.run(&queue));
        match spawned {
            Ok(thread) => self.worker = Some(Worker { jobs, thread }),
            // No thread to be had: it goes on here, only slower.
            Err(_) => self.may_spawn = false,
        }
    }

    fn stop(&mut self) {
        if let Some(Worker { jobs, thread }) = self.worker.take() {
            drop(jobs);
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
    }
}

impl Drop for HashChecker {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.stop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_mismatch_is_told_whichever_thread_finds_it() {
        for threads in [false, true] {
            let mut checker = HashChecker::new();
            checker.may_spawn = threads;
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
