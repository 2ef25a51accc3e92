//! Filelogs: against the manifests that name their revisions, and the changesets that they link to.

use super::{Expected, TEXTS_KEPT_BYTES, VerifyReport, damage, in_parallel};
use crate::{Revlog, Snapshot, StoreError};

pub(super) fn verify(snapshot: &Snapshot, report: &mut VerifyReport, expected: &Expected) -> Result<(), StoreError> {
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
    let parts =
        in_parallel(&paths, |path, part: &mut VerifyReport| match verify_file(snapshot, path, expected, part) {
            Ok(()) => Ok(()),
            Err(error) => damage(error).map(|problem| part.add(problem)),
        })?;
    parts.into_iter().for_each(|part| report.merge(part));
    Ok(())
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
    texts.for_each(log.revisions(), |revision, text| {
        report.file_revisions += 1;
        match text {
            Ok(text) if log.is_external(revision) => {
                let (name, parents) = (log.node(revision), log.parents_names(revision));
                if let Some(wrong) = snapshot.repository().check_lfs(&text, &name, &parents)? {
                    report.add(format!("{shown}: revision {revision}: {wrong}"));
                }
            }
            Ok(_) => {}
            Err(error) => report.add(damage(error)?),
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
        Ok(())
    })?;
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
    let name = snapshot.repository().encode(&[b"data/", path, b".d"].concat());
    let bytes = store.file(&name)?.map_or(0, |(_, bytes)| bytes);
    let end = log.extent().data_bytes;
    // While a writer is at work there may be more than the snapshot has.
    if bytes != end && store.file(b"journal")?.is_none() {
        report.add(format!("{}: {bytes} bytes, chunks end at {end}", store.path_of(&name).display()));
    }
    Ok(())
}
