use std::sync::Arc;

use crate::damage_tests::Sample;
use crate::*;

fn opened(sample: &Sample, folder: &std::path::Path) -> Arc<Snapshot> {
    let repository = Repository::open_indexed(sample.root(), folder).expect("opened");
    Arc::new(repository.snapshot(repository.current_state().expect("read")).expect("opened"))
}

/// Everything that the index answers is as without one.
fn check(sample: &Sample, folder: &std::path::Path) {
    let (with, without) = (opened(sample, folder), sample.snapshot().expect("opened"));
    for revision in without.changelog().revisions() {
        let node = without.changelog().node(revision);
        assert_eq!(with.changelog().revision_of(&node), Some(revision));
    }
    assert_eq!(with.changelog().revision_of(&Node::new([9; 20])), None);
    assert_eq!(with.branchmap().expect("read"), without.branchmap().expect("read"));
}

#[test]
fn moved_forward_and_made_anew() {
    let scratch = tempfile::tempdir().expect("a folder");
    let folder = scratch.path().join("index");
    let mut sample = Sample::of(20);
    check(&sample, &folder);
    opened(&sample, &folder).keep_index().expect("written");
    check(&sample, &folder);
    // Not moved yet, then moved a few, then far more than the table has room for.
    for changesets in [23, 150, 900] {
        sample.grow_to(changesets);
        check(&sample, &folder);
        opened(&sample, &folder).keep_index().expect("written");
        assert!(
            KeptNodes::open(&folder, opened(&sample, &folder).changelog())
                .is_some_and(|kept| kept.covered() == changesets)
        );
        check(&sample, &folder);
    }
    // A snapshot that is older than the index.
    let older = Sample::of(500);
    check(&older, &folder);
}

#[test]
fn torn_and_foreign_files_are_left_out() {
    let scratch = tempfile::tempdir().expect("a folder");
    let folder = scratch.path();
    let sample = Sample::of(40);
    opened(&sample, folder).keep_index().expect("written");
    for name in ["nodes", "branches", "branch-names"] {
        let whole = std::fs::read(folder.join(name)).expect("read");
        for length in [0, 10, 63, 64, whole.len() - 1] {
            std::fs::write(folder.join(name), &whole[..length.min(whole.len())]).expect("written");
            check(&sample, folder);
        }
        if name != "branch-names" {
            for at in 0..64 {
                let mut torn = whole.clone();
                torn[at] ^= 4;
                std::fs::write(folder.join(name), &torn).expect("written");
                check(&sample, folder);
            }
        }
        opened(&sample, folder).keep_index().expect("made anew");
        check(&sample, folder);
    }
    let other = Sample::seeded(30, "other");
    check(&other, folder);
    opened(&other, folder).keep_index().expect("made anew");
    check(&other, folder);
    check(&sample, folder);
}

use super::KeptNodes;
