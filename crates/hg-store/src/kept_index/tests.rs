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
    check_prefixes(with.changelog(), without.changelog());
    assert_eq!(with.branchmap().expect("read"), without.branchmap().expect("read"));
}

/// With a file and with a table in memory, a prefix names what it names when all names are looked through.
fn check_prefixes(with: &Revlog, without: &Revlog) {
    let names: Vec<String> = without.revisions().map(|revision| without.node(revision).to_string()).collect();
    let looked_through = |prefix: &str| {
        let mut found = (0..).zip(&names).filter(|(_, name)| name.starts_with(prefix)).map(|(number, _)| number);
        match (found.next().and_then(|number| without.revision(number)), found.next()) {
            (None, _) => PrefixMatch::None,
            (Some(revision), None) => PrefixMatch::One(revision),
            (Some(_), Some(_)) => PrefixMatch::Ambiguous,
        }
    };
    let taken = names
        .iter()
        .step_by(names.len() / 20 + 1)
        .flat_map(|name| [0, 1, 2, 3, 4, 7, 16, 17, 40].map(|length| &name[..length]));
    for prefix in taken.chain(["000", "fff", "ffffffffffffffffffff"]) {
        for log in [with, without] {
            assert_eq!(log.lookup_prefix(prefix), looked_through(prefix), "{prefix} of {}", names.len());
        }
    }
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
