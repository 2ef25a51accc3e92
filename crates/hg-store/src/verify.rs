//! Rebuilds and hashes everything.

mod files;
mod manifests;
mod trees;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustc_hash::FxHashSet;

use crate::{Changeset, Node, Snapshot, StoreError};

/// Problems that are told; a ruined store has no end of them.
const PROBLEMS_MAX: usize = 1000;
/// Texts kept of one revlog while its revisions are rebuilt in order.
const TEXTS_KEPT_BYTES: usize = 16 << 20;
const THREADS_MAX: usize = 16;

/// What was looked at, and what was wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Changesets rebuilt.
    pub changesets: u64,
    /// Manifests rebuilt.
    pub manifests: u64,
    /// Tracked files.
    pub files: u64,
    /// File revisions rebuilt.
    pub file_revisions: u64,
    /// What was wrong, one line each; at most 1000.
    pub problems: Vec<String>,
}

impl VerifyReport {
    /// Whether nothing was wrong.
    pub fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }

    fn add(&mut self, problem: impl Into<String>) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(problem.into());
        }
    }

    fn merge(&mut self, other: VerifyReport) {
        let VerifyReport { changesets, manifests, files, file_revisions, problems } = other;
        self.changesets += changesets;
        self.manifests += manifests;
        self.files += files;
        self.file_revisions += file_revisions;
        problems.into_iter().for_each(|problem| self.add(problem));
    }
}

/// Rebuilds and hashes every revision of every revlog, checks links, and manifests against filelogs.
///
/// Damage is a line in the report; an error is what keeps it from being looked at (the operating system refused).
pub fn verify(snapshot: &Snapshot) -> Result<VerifyReport, StoreError> {
    let mut report = VerifyReport::default();
    let mut expected = Expected::default();
    verify_changelog(snapshot, &mut report, &mut expected)?;
    manifests::verify(snapshot, &mut report, &mut expected)?;
    trees::verify(snapshot, &mut report, &mut expected)?;
    files::verify(snapshot, &mut report, &expected)?;
    verify_small_files(snapshot, &mut report)?;
    report.problems.sort();
    Ok(report)
}

/// What one level says about the next.
#[derive(Default)]
struct Expected {
    /// Of each manifest the changesets that have it.
    manifests: HashMap<Node, Vec<u32>>,
    /// Numbers of tracked files.
    files: HashMap<Vec<u8>, u32>,
    /// Of each file, by its number, the changesets that touch it, rising.
    touched: Vec<Vec<u32>>,
    /// Of each file, by its number, the revisions that manifests name.
    named: Vec<FxHashSet<Node>>,
    /// Of each folder, with a slash at its end, the manifests that others name, until they are looked at.
    trees: HashMap<Vec<u8>, FxHashSet<Node>>,
}

impl Expected {
    fn file(&mut self, path: &[u8]) -> usize {
        if let Some(number) = self.files.get(path) {
            return *number as usize;
        }
        let number = self.touched.len();
        self.files.insert(path.to_vec(), number as u32);
        self.touched.push(Vec::new());
        self.named.push(FxHashSet::default());
        number
    }
}

/// Passes damage on as a problem, and everything else as an error.
fn damage(error: StoreError) -> Result<String, StoreError> {
    if error.is_corruption() || error.is_unsupported() { Ok(error.to_string()) } else { Err(error) }
}

fn verify_changelog(snapshot: &Snapshot, report: &mut VerifyReport, expected: &mut Expected) -> Result<(), StoreError> {
    let log = snapshot.changelog();
    let mut texts = log.texts(TEXTS_KEPT_BYTES);
    texts.for_each(log.revisions(), |revision, text| {
        report.changesets += 1;
        let text = match text {
            Ok(text) => text,
            Err(error) => {
                report.add(damage(error)?);
                return Ok(());
            }
        };
        match Changeset::parse(&text) {
            Ok(changeset) => {
                if !changeset.manifest.is_null() {
                    let links = expected.manifests.entry(changeset.manifest).or_default();
                    links.push(revision.get());
                }
                for path in &changeset.files {
                    let file = expected.file(path);
                    expected.touched[file].push(revision.get());
                }
            }
            Err(error) => report.add(format!("{}: revision {revision}: {error}", log.path().display())),
        }
        Ok(())
    })
}

fn verify_small_files(snapshot: &Snapshot, report: &mut VerifyReport) -> Result<(), StoreError> {
    let phases = snapshot.phases().map(|_| ());
    let markers = snapshot.obsstore().map(|_| ());
    for looked_at in [phases, markers] {
        if let Err(error) = looked_at {
            report.add(damage(error)?);
        }
    }
    Ok(())
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, |count| count.get().min(THREADS_MAX))
}

/// Does the work for each item, on all processors; each thread adds to a part of its own. The first error ends all.
fn in_parallel<T: Sync, P: Default + Send>(
    items: &[T],
    work: impl Fn(&T, &mut P) -> Result<(), StoreError> + Sync,
) -> Result<Vec<P>, StoreError> {
    let next = AtomicUsize::new(0);
    let run = || {
        let mut part = P::default();
        while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(error) = work(item, &mut part) {
                next.store(items.len(), Ordering::Relaxed);
                return Err(error);
            }
        }
        Ok(part)
    };
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads().min(items.len())).map(|_| scope.spawn(run)).collect();
        let own = run();
        let others = others.into_iter().map(|other| match other.join() {
            Ok(part) => part,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        std::iter::once(own).chain(others).collect()
    })
}
