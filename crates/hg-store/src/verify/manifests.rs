//! Manifests: their links, their texts, and the files that they name.

use std::collections::HashMap;

use rustc_hash::FxHashSet;

use super::{Expected, TEXTS_KEPT_BYTES, VerifyReport, damage, in_parallel, threads};
use crate::manifest::{self, Flag};
use crate::{Node, Revision, Revlog, Snapshot, StoreError, delta};

/// Stretches of the manifest for each thread: few, for the first text of each is rebuilt from its whole chain, and
/// enough that all threads end at about the same time.
const STRETCHES_PER_THREAD: usize = 8;

pub(super) fn verify(
    snapshot: &Snapshot,
    report: &mut VerifyReport,
    expected: &mut Expected,
) -> Result<(), StoreError> {
    let log = snapshot.manifest();
    for revision in log.revisions() {
        let at = || format!("{}: revision {revision}", log.path().display());
        match expected.manifests.remove(&log.node(revision)) {
            None => report.add(format!("{}: no changeset has it", at())),
            Some(links) if !links.contains(&log.link(revision)) => {
                report.add(format!("{}: links to changeset {}, which has another", at(), log.link(revision)));
            }
            Some(_) => {}
        }
    }
    for (node, links) in expected.manifests.drain() {
        report.add(format!("{}: lacks revision {node} of changeset {}", log.path().display(), links[0]));
    }
    let revisions: Vec<Revision> = log.revisions().collect();
    let stretch = revisions.len().div_ceil(threads() * STRETCHES_PER_THREAD).max(1);
    let stretches: Vec<&[Revision]> = revisions.chunks(stretch).collect();
    let parts = in_parallel(&stretches, |stretch, part: &mut Part| verify_stretch(log, stretch, expected, part))?;
    for part in parts {
        report.merge(part.report);
        for (file, node) in part.named {
            expected.named[file as usize].insert(node);
        }
        for (path, nodes) in part.unheard_of {
            let file = expected.file(&path);
            expected.named[file].extend(nodes);
        }
        for (folder, nodes) in part.trees {
            expected.trees.entry(folder).or_default().extend(nodes);
        }
    }
    Ok(())
}

/// What one thread found in manifests.
#[derive(Default)]
struct Part {
    report: VerifyReport,
    /// Numbers of files, and the revisions that manifests name.
    named: FxHashSet<(u32, Node)>,
    /// The same of files that no changeset says it touches.
    unheard_of: HashMap<Vec<u8>, FxHashSet<Node>>,
    /// Of each folder, with a slash at its end, the manifests that are named.
    trees: HashMap<Vec<u8>, FxHashSet<Node>>,
}

fn verify_stretch(log: &Revlog, stretch: &[Revision], expected: &Expected, part: &mut Part) -> Result<(), StoreError> {
    let Part { report, named, unheard_of, trees } = part;
    let mut texts = log.texts(TEXTS_KEPT_BYTES);
    texts.for_each(stretch.iter().copied(), |revision, text| {
        report.manifests += 1;
        let text = match text {
            Ok(text) => text,
            Err(error) => {
                report.add(damage(error)?);
                return Ok(());
            }
        };
        let mut add_line = |line: Result<manifest::ManifestLine<'_>, manifest::ManifestError>| match line {
            Ok(line) if line.flag == Flag::Tree => {
                trees.entry([line.path, b"/"].concat()).or_default().insert(line.node);
            }
            Ok(line) => match expected.files.get(line.path) {
                Some(file) => {
                    named.insert((*file, line.node));
                }
                None => {
                    unheard_of.entry(line.path.to_vec()).or_default().insert(line.node);
                }
            },
            Err(error) => report.add(format!("{}: revision {revision}: {error}", log.path().display())),
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
        Ok(())
    })
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
