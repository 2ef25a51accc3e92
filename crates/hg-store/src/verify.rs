//! Rebuilds and hashes everything.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustc_hash::FxHashSet;

use crate::{Changeset, Node, Revlog, Snapshot, StoreError, delta, manifest};

/// Problems that are told; a ruined store has no end of them.
const PROBLEMS_MAX: usize = 1000;
/// Texts kept of one revlog while its revisions are rebuilt in order.
const TEXTS_KEPT_BYTES: usize = 64 << 20;
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
}

/// Rebuilds and hashes every revision of every revlog, checks links, and manifests against filelogs.
///
/// Damage is a line in the report; an error is what keeps it from being looked at (the operating system refused).
pub fn verify(snapshot: &Snapshot) -> Result<VerifyReport, StoreError> {
    let mut report = VerifyReport::default();
    let mut expected = Expected::default();
    verify_changelog(snapshot, &mut report, &mut expected)?;
    verify_manifests(snapshot, &mut report, &mut expected)?;
    verify_files(snapshot, &mut report, &expected)?;
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
    for revision in log.revisions() {
        report.changesets += 1;
        let text = match texts.text(revision) {
            Ok(text) => text,
            Err(error) => {
                report.add(damage(error)?);
                continue;
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
    }
    Ok(())
}

fn verify_manifests(snapshot: &Snapshot, report: &mut VerifyReport, expected: &mut Expected) -> Result<(), StoreError> {
    let log = snapshot.manifest();
    let mut texts = log.texts(TEXTS_KEPT_BYTES);
    for revision in log.revisions() {
        report.manifests += 1;
        let at = format!("{}: revision {revision}", log.path().display());
        match expected.manifests.remove(&log.node(revision)) {
            None => report.add(format!("{at}: no changeset has it")),
            Some(links) if !links.contains(&log.link(revision)) => {
                report.add(format!("{at}: links to changeset {}, which has another", log.link(revision)));
            }
            Some(_) => {}
        }
        let text = match texts.text(revision) {
            Ok(text) => text,
            Err(error) => {
                report.add(damage(error)?);
                continue;
            }
        };
        let mut add_line = |line: Result<manifest::ManifestLine<'_>, manifest::ManifestError>| match line {
            Ok(line) => {
                let file = expected.file(line.path);
                expected.named[file].insert(line.node);
            }
            Err(error) => report.add(format!("{at}: {error}")),
        };
        match log.delta_base(revision) {
            None => manifest::lines(&text).for_each(&mut add_line),
            // The other lines are the base's, looked at there.
            Some(_) => {
                let chunk = log.chunk(revision)?;
                for stretch in changed_lines(&text, &chunk) {
                    manifest::lines(stretch).for_each(&mut add_line);
                }
            }
        }
    }
    for (node, links) in expected.manifests.drain() {
        report.add(format!("{}: lacks revision {node} of changeset {}", log.path().display(), links[0]));
    }
    Ok(())
}

/// The lines of a text that a delta has written, each stretch with the line before and the line after, so that their
/// order is looked at too. The delta has been applied already: it is in order.
fn changed_lines<'a>(text: &'a [u8], delta: &[u8]) -> Vec<&'a [u8]> {
    let mut stretches: Vec<(usize, usize)> = Vec::new();
    // How far the text is ahead of the base.
    let mut shift = 0_isize;
    for hunk in delta::hunks(delta).flatten() {
        let start = (hunk.start as isize + shift) as usize;
        let end = start + hunk.bytes.len();
        shift += hunk.bytes.len() as isize - (hunk.end - hunk.start) as isize;
        let before = line_start(text, line_start(text, start).saturating_sub(1));
        let after = line_end(text, line_end(text, end));
        match stretches.last_mut() {
            Some((_, last)) if *last >= before => *last = after.max(*last),
            _ => stretches.push((before, after)),
        }
    }
    stretches.into_iter().map(|(start, end)| &text[start..end]).collect()
}

/// Where the line that holds this place starts.
fn line_start(text: &[u8], at: usize) -> usize {
    memchr::memrchr(b'\n', &text[..at]).map_or(0, |newline| newline + 1)
}

/// Behind the line that holds this place.
fn line_end(text: &[u8], at: usize) -> usize {
    memchr::memchr(b'\n', &text[at..]).map_or(text.len(), |newline| at + newline + 1)
}

fn verify_files(snapshot: &Snapshot, report: &mut VerifyReport, expected: &Expected) -> Result<(), StoreError> {
    let mut paths: Vec<Vec<u8>> = expected.files.keys().cloned().collect();
    match snapshot.fncache() {
        Ok(fncache) => {
            for file in fncache.files().filter(|file| !expected.files.contains_key(*file)) {
                paths.push(file.to_vec());
            }
            for (path, file) in &expected.files {
                let store_path = [b"data/", path.as_slice(), b".i"].concat();
                if !expected.named[*file as usize].is_empty() && !fncache.contains(&store_path) {
                    report.add(format!("fncache lacks {}", store_path.escape_ascii()));
                }
            }
        }
        Err(error) => report.add(damage(error)?),
    }
    paths.sort_unstable();
    let next = AtomicUsize::new(0);
    let total = Mutex::new((report, None));
    let work = || {
        let mut own = VerifyReport::default();
        let mut failed = None;
        while let Some(path) = paths.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(error) = verify_file(snapshot, path, expected, &mut own) {
                match damage(error) {
                    Ok(problem) => own.add(problem),
                    Err(error) => failed = Some(error),
                }
            }
        }
        // A thread that panicked has stopped the whole already.
        let mut total = total.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let (report, error) = &mut *total;
        report.files += own.files;
        report.file_revisions += own.file_revisions;
        own.problems.into_iter().for_each(|problem| report.add(problem));
        *error = error.take().or(failed);
    };
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get().min(THREADS_MAX));
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
    let (_, failed) = total.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    failed.map_or(Ok(()), Err)
}

fn verify_file(
    snapshot: &Snapshot,
    path: &[u8],
    expected: &Expected,
    report: &mut VerifyReport,
) -> Result<(), StoreError> {
    let number = expected.files.get(path).map(|number| *number as usize);
    let named = number.map(|number| &expected.named[number]);
    let touched = number.map_or([].as_slice(), |number| &expected.touched[number]);
    let shown = path.escape_ascii();
    let Some(log) = snapshot.filelog(path)? else {
        if named.is_some_and(|named| !named.is_empty()) {
            report.add(format!("{shown}: no revlog"));
        }
        return Ok(());
    };
    report.files += 1;
    let mut seen = 0;
    let mut texts = log.texts(TEXTS_KEPT_BYTES);
    for revision in log.revisions() {
        report.file_revisions += 1;
        if let Err(error) = texts.text(revision) {
            report.add(damage(error)?);
        }
        if touched.binary_search(&log.link(revision)).is_err() {
            report.add(format!(
                "{shown}: revision {revision} links to changeset {}, which doesn't touch the file",
                log.link(revision)
            ));
        }
        if named.is_some_and(|named| named.contains(&log.node(revision))) {
            seen += 1;
        } else {
            report.add(format!("{shown}: revision {revision} is in no manifest"));
        }
    }
    if named.is_some_and(|named| named.len() > seen) {
        for node in named.into_iter().flatten().filter(|node| log.revision_of(node).is_none()) {
            report.add(format!("{shown}: lacks revision {node}"));
        }
    }
    check_split(snapshot, path, &log, report)
}

/// A split revlog's `.d` has no bytes behind the last chunk.
fn check_split(snapshot: &Snapshot, path: &[u8], log: &Revlog, report: &mut VerifyReport) -> Result<(), StoreError> {
    if log.is_inline() {
        return Ok(());
    }
    let store = snapshot.repository().store();
    let name = crate::path_encoding::encode(&[b"data/", path, b".d"].concat());
    let bytes = store.file(&name)?.map_or(0, |(_, bytes)| bytes);
    let end = log.extent().data_bytes;
    // While a writer is at work there may be more than the snapshot has.
    if bytes != end && store.file(b"journal")?.is_none() {
        report.add(format!("{}: {bytes} bytes, chunks end at {end}", store.path_of(&name).display()));
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_have_their_neighbours() {
        let text = b"a\nb\nc\nd\ne\nf\n";
        let mut delta = Vec::new();
        for field in [4_u32, 4, 2] {
            delta.extend(field.to_be_bytes());
        }
        delta.extend(b"c\n");
        assert_eq!(changed_lines(text, &delta), [b"b\nc\nd\ne\n".as_slice()]);
        assert_eq!(changed_lines(b"", &[0; 12]), [b"".as_slice()]);
    }
}
