//! Which revisions of manifest and files go with the changesets that go out.
//!
//! A revision of a file links to the changeset that first had it. Where every changeset goes out or is the client's,
//! the revisions that go out are those whose link goes out. Else a revision may link to a changeset that is hidden,
//! secret or was not asked for, and yet be in the manifest of one that goes out, which made the same revision again:
//! such *shared* revisions are found by reading the outgoing manifests, and only when there are candidates.

use crate::CommandError;
use crate::error::shown;
use crate::outgoing::Outgoing;
use hg_store::{Node, Revision, Revlog, Snapshot, StoreError};
use rustc_hash::{FxHashMap, FxHashSet};

/// Shared revisions of one file: by node, its revision, and the lowest outgoing changeset that has it, once found.
pub(super) type Shared = FxHashMap<Node, (Revision, Option<u32>)>;

/// The same of all files, by path.
pub(super) type Candidates = FxHashMap<Vec<u8>, Shared>;

/// What the changesets that go out hold.
pub(super) struct Contents<'a> {
    snapshot: &'a Snapshot,
    outgoing: &'a Outgoing,
    manifests: Vec<(Revision, u32)>,
    paths: FxHashSet<Vec<u8>>,
    /// Where the next changeset's manifest most likely is.
    next_manifest: u32,
}

impl<'a> Contents<'a> {
    pub(super) fn new(snapshot: &'a Snapshot, outgoing: &'a Outgoing) -> Contents<'a> {
        Contents { snapshot, outgoing, manifests: Vec::new(), paths: FxHashSet::default(), next_manifest: 0 }
    }

    /// Notes manifest and files of a changeset; they come lowest first.
    pub(super) fn take_changeset(&mut self, revision: Revision, text: &[u8]) -> Result<(), CommandError> {
        let corrupt = || {
            CommandError::Store(StoreError::Corrupt {
                path: self.snapshot.repository().root().join(".hg/store/00changelog.i"),
                what: format!("changeset {revision} is none"),
            })
        };
        let mut lines = text.split(|byte| *byte == b'\n');
        let manifest = lines.next().and_then(Node::from_hex).ok_or_else(corrupt)?;
        // User, and date with extra.
        if lines.by_ref().take(2).count() != 2 {
            return Err(corrupt());
        }
        for path in lines.take_while(|line| !line.is_empty()) {
            if !self.paths.contains(path) {
                self.paths.insert(path.to_owned());
            }
        }
        if !manifest.is_null() {
            let revlog = self.snapshot.manifest();
            let found = revlog
                .revision(self.next_manifest)
                .filter(|guess| revlog.node(*guess) == manifest)
                .or_else(|| revlog.revision_of(&manifest))
                .ok_or_else(|| {
                    CommandError::Store(StoreError::Corrupt {
                        path: self.snapshot.repository().root().join(".hg/store/00manifest.i"),
                        what: format!("manifest {manifest} of changeset {revision} is missing"),
                    })
                })?;
            self.next_manifest = found.get() + 1;
            if !self.outgoing.is_common(revlog.link(found)) {
                self.manifests.push((found, revision.get()));
            }
        }
        Ok(())
    }

    /// Returns the manifests that go out, lowest first, with the first changeset that has each.
    pub(super) fn manifests(&mut self) -> Vec<(Revision, u32)> {
        let mut manifests = std::mem::take(&mut self.manifests);
        manifests.sort_unstable();
        manifests.dedup_by_key(|(revision, _)| *revision);
        manifests
    }

    /// Returns the paths of all files that the changesets touch, sorted.
    pub(super) fn paths(self) -> Vec<Vec<u8>> {
        let mut paths: Vec<_> = self.paths.into_iter().collect();
        paths.sort_unstable();
        paths
    }

    /// Returns the revisions that may be shared, by path. Which of them are is found in the manifests.
    pub(super) fn candidates(&self) -> Result<Candidates, CommandError> {
        let mut candidates = Candidates::default();
        if !self.outgoing.has_others() {
            return Ok(candidates);
        }
        for path in &self.paths {
            let Some(filelog) = self.snapshot.shared_filelog(path)? else { continue };
            let of_others: Shared = filelog
                .revisions()
                .filter(|revision| {
                    let link = filelog.link(*revision);
                    !self.outgoing.contains(link) && !self.outgoing.is_common(link)
                })
                .map(|revision| (filelog.node(revision), (revision, None)))
                .collect();
            if !of_others.is_empty() {
                candidates.insert(path.clone(), of_others);
            }
        }
        Ok(candidates)
    }
}

/// Hands on the lines that outgoing revisions of a manifest bring: path, node, flag, and the lowest changeset that the revision is sent
/// for. Lines that the client has with the base of a delta may be left out.
pub(super) fn new_lines(
    revlog: &Revlog,
    outgoing: &Outgoing,
    manifests: &[(Revision, u32)],
    mut line: impl FnMut(&[u8], Node, &[u8], u32),
) -> Result<(), CommandError> {
    let sent: FxHashSet<Revision> = manifests.iter().map(|(revision, _)| *revision).collect();
    for &(revision, changeset) in manifests {
        let has = |base: Revision| sent.contains(&base) || outgoing.is_common(revlog.link(base));
        if revlog.delta_base(revision).is_some_and(has) {
            let chunk = revlog.chunk(revision)?;
            let mut lines = Vec::new();
            if lines_of_delta(&chunk, &mut lines) {
                for (path, node, flag) in lines {
                    line(path, node, flag, changeset);
                }
                continue;
            }
        }
        for found in revlog.text_unchecked(revision)?.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let Some((path, node, flag)) = line_parts(found) else {
                return Err(CommandError::Store(StoreError::Corrupt {
                    path: revlog.path().to_owned(),
                    what: format!("manifest {revision} has the line '{}'", shown(found)),
                }));
            };
            line(path, node, flag, changeset);
        }
    }
    Ok(())
}

/// Notes that an outgoing changeset has a file's revision, if that is one of the candidates.
pub(super) fn note(candidates: &mut Candidates, path: &[u8], node: Node, changeset: u32) {
    if let Some((_, first)) = candidates.get_mut(path).and_then(|shared| shared.get_mut(&node)) {
        *first = Some(first.map_or(changeset, |first| first.min(changeset)));
    }
}

/// Splits a manifest's line into path, node and flag.
fn line_parts(line: &[u8]) -> Option<(&[u8], Node, &[u8])> {
    let end = memchr::memchr(0, line)?;
    let (hex, flag) = line[end + 1..].split_at_checked(40)?;
    Some((&line[..end], Node::from_hex(hex)?, flag))
}

/// Collects the lines that a manifest's delta brings. False: its hunks don't fall on whole lines.
fn lines_of_delta<'d>(mut delta: &'d [u8], lines: &mut Vec<(&'d [u8], Node, &'d [u8])>) -> bool {
    while let Some((head, rest)) = delta.split_at_checked(12) {
        let bytes = u32::from_be_bytes([head[8], head[9], head[10], head[11]]) as usize;
        let Some((data, rest)) = rest.split_at_checked(bytes) else { return false };
        delta = rest;
        if data.is_empty() {
            continue;
        }
        let Some(data) = data.strip_suffix(b"\n") else { return false };
        for line in data.split(|byte| *byte == b'\n') {
            let Some(parts) = line_parts(line) else { return false };
            lines.push(parts);
        }
    }
    delta.is_empty()
}

/// Collects the revisions of a file that go out, lowest first, with the changeset that each is sent for.
pub(super) fn file_revisions(
    filelog: &Revlog,
    outgoing: &Outgoing,
    shared: Option<&Shared>,
    revisions: &mut Vec<(Revision, u32)>,
) {
    revisions.clear();
    for revision in filelog.revisions() {
        let link = filelog.link(revision);
        if outgoing.contains(link) {
            revisions.push((revision, link));
        }
    }
    if let Some(shared) = shared {
        let found = shared.values().filter_map(|(revision, changeset)| Some((*revision, (*changeset)?)));
        revisions.extend(found);
        revisions.sort_unstable();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(path: &str, digit: char) -> String {
        format!("{path}\0{}\n", digit.to_string().repeat(40))
    }

    fn hunk(data: &str) -> Vec<u8> {
        let mut delta = vec![0; 8];
        delta.extend_from_slice(&(data.len() as u32).to_be_bytes());
        delta.extend_from_slice(data.as_bytes());
        delta
    }

    #[test]
    fn delta_of_whole_lines_gives_them() {
        let mut delta = hunk(&(line("a", '1') + &line("d/b", '2')));
        delta.extend(hunk(""));
        delta.extend(hunk(&line("z", '3')));
        let mut lines = Vec::new();
        assert!(lines_of_delta(&delta, &mut lines));
        assert_eq!(lines.iter().map(|(path, ..)| *path).collect::<Vec<_>>(), [b"a".as_slice(), b"d/b", b"z"]);
    }

    #[test]
    fn delta_within_lines_is_told_apart() {
        for data in ["1111111111111111111111111111111111111111\n", "a\0", "a\n"] {
            assert!(!lines_of_delta(&hunk(data), &mut Vec::new()), "{data:?}");
        }
        assert!(!lines_of_delta(&hunk("a")[..11], &mut Vec::new()));
    }
}
