//! Manifests of folders, where the repository has them: their texts, and what they name, down to the files.

use crate::folder::DEPTH_MAX;
use crate::manifest::{self, Flag};
use crate::{Revision, Snapshot, StoreError};

use super::{Expected, TEXTS_KEPT_BYTES, VerifyReport, damage};

/// Goes through the folders that manifests named, and through those that these name.
pub(super) fn verify(
    snapshot: &Snapshot,
    report: &mut VerifyReport,
    expected: &mut Expected,
) -> Result<(), StoreError> {
    if !snapshot.repository().requirements().tree_manifests() {
        for folder in expected.trees.keys() {
            report.add(format!("{}: a folder in a manifest, without treemanifest", folder.escape_ascii()));
        }
        return Ok(());
    }
    for depth in 0.. {
        let folders = std::mem::take(&mut expected.trees);
        if folders.is_empty() {
            break;
        }
        if depth == DEPTH_MAX {
            report.add("manifests of folders in folders, without an end");
            break;
        }
        for (folder, named) in folders {
            let shown = folder.escape_ascii().to_string();
            let Some(log) = snapshot.tree_manifest(&folder)? else {
                report.add(format!("{shown}: no manifests of the folder"));
                continue;
            };
            for node in named.iter().filter(|node| log.revision_of(node).is_none()) {
                report.add(format!("{shown}: lacks manifest {node}"));
            }
            let mut texts = log.texts(TEXTS_KEPT_BYTES);
            texts.for_each(log.revisions(), |revision, text| {
                report.manifests += 1;
                if !named.contains(&log.node(revision)) {
                    report.add(format!("{shown}: manifest {revision} is in no other"));
                }
                match text {
                    Ok(text) => take_lines(&folder, &text, revision, report, expected),
                    Err(error) => report.add(damage(error)?),
                }
                Ok(())
            })?;
        }
    }
    Ok(())
}

fn take_lines(folder: &[u8], text: &[u8], revision: Revision, report: &mut VerifyReport, expected: &mut Expected) {
    for line in manifest::lines(text) {
        match line {
            Ok(line) if line.flag == Flag::Tree => {
                expected.trees.entry([folder, line.path, b"/"].concat()).or_default().insert(line.node);
            }
            Ok(line) => {
                let file = expected.file(&[folder, line.path].concat());
                expected.named[file].insert(line.node);
            }
            Err(error) => report.add(format!("{}: manifest {revision}: {error}", folder.escape_ascii())),
        }
    }
}
