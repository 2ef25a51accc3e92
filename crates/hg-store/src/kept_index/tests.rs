use std::sync::Arc;

use proptest::prelude::*;

use super::{Checked, KeptNodes, Table};
use crate::damage_tests::{Entries, Sample};
use crate::repository::StoreFormat;
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
    for revision in without.manifest().revisions() {
        let node = without.manifest().node(revision);
        assert_eq!(with.manifest().revision_of(&node), Some(revision));
    }
    assert_eq!(with.changelog().revision_of(&Node::new([9; 20])), None);
    check_prefixes(with.changelog(), without.changelog());
    check_heads(&with, &without);
}

fn check_heads(with: &Snapshot, without: &Snapshot) {
    let heads = |snapshot: &Snapshot| snapshot.served().expect("read").heads().to_vec();
    assert_eq!(heads(with), heads(without));
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
            KeptNodes::open(&folder, Table::Changesets, opened(&sample, &folder).changelog())
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
    for name in ["nodes", "manifest-nodes", "branches", "branch-names", "heads"] {
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
        if name == "heads" {
            for at in 64..whole.len() {
                let mut flipped = whole.clone();
                flipped[at] ^= 4;
                std::fs::write(folder.join(name), &flipped).expect("written");
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

/// A repository whose changesets have these parents, counted back from each (0: none), and branches; the number of a branch is followed by
/// whether it is closed. Secret ones by number.
fn write_repository(root: &std::path::Path, changesets: &[(u32, u32, u8, bool)], secret: &[u32]) {
    let mut changelog = Entries::new();
    let mut nodes = Vec::new();
    for (own, (first, second, branch, closes)) in (0_u32..).zip(changesets) {
        let parent = |back: &u32| own.checked_sub(*back).filter(|at| *at < own);
        let branch = if *branch == 0 { "default".to_owned() } else { format!("b{branch}") };
        let close = if *closes { "\0close:1" } else { "" };
        let text = format!("{}\nuser\n{own} 0 branch:{branch}{close}\n\nchange {own}", Node::NULL);
        nodes.push(changelog.add_merge([parent(first), parent(second)], own, text.as_bytes()));
    }
    let (index, data) = changelog.split();
    let roots: Vec<String> = secret.iter().map(|at| format!("2 {}\n", nodes[*at as usize])).collect();
    let mut files = Repository::create_files(StoreFormat::Current, None);
    files.push((b"store/00changelog.i".to_vec(), index));
    files.push((b"store/00changelog.d".to_vec(), data));
    files.push((b"store/phaseroots".to_vec(), roots.concat().into_bytes()));
    for (path, content) in files {
        let path = root.join(".hg").join(std::str::from_utf8(&path).expect("a plain name"));
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, content).expect("written");
    }
}

fn opened_at(root: &std::path::Path, folder: Option<&std::path::Path>) -> Snapshot {
    let repository = match folder {
        Some(folder) => Repository::open_indexed(root, folder),
        None => Repository::open(root),
    };
    let repository = repository.expect("opened");
    repository.snapshot(repository.current_state().expect("read")).expect("opened")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn heads_that_are_kept_and_moved_forward_are_those_of_all_changesets(
        changesets in proptest::collection::vec((0_u32..6, prop_oneof![3 => Just(0), 1 => 0_u32..20], 0_u8..4, prop::bool::weighted(0.2)), 2..60),
        kept in any::<prop::sample::Index>(),
        secret in proptest::collection::vec(any::<prop::sample::Index>(), 0..3),
    ) {
        let scratch = tempfile::tempdir().expect("a folder");
        let (root, folder) = (scratch.path().join("repository"), scratch.path().join("index"));
        let kept = kept.index(changesets.len() - 1) + 1;
        let secret = |below: usize| secret.iter().map(|index| index.index(below) as u32).collect::<Vec<_>>();
        write_repository(&root, &changesets[..kept], &secret(kept));
        let before = opened_at(&root, Some(&folder));
        check_heads(&before, &opened_at(&root, None));
        before.keep_index().expect("written");
        check_heads(&opened_at(&root, Some(&folder)), &opened_at(&root, None));
        write_repository(&root, &changesets, &secret(changesets.len()));
        let after = opened_at(&root, Some(&folder));
        prop_assert!(after.kept_heads().expect("read").is_some());
        check_heads(&after, &opened_at(&root, None));
        let all = Branchmap::all_heads(after.changelog(), &scratch.path().join("none")).expect("read");
        prop_assert_eq!(after.kept_heads().expect("read"), Some(&all));
    }
}

#[test]
fn entries_that_were_checked_are_not_checked_again_and_those_of_another_store_are() {
    let scratch = tempfile::tempdir().expect("a folder");
    let mut sample = Sample::of(40);
    opened(&sample, scratch.path()).keep_index().expect("written");
    sample.grow_to(50);
    let checked = Checked { changesets: 40, manifests: 40 };
    let said = Checked::said(scratch.path()).expect("there");
    assert_eq!(said.checked(), checked);
    let now = opened(&sample, scratch.path());
    assert!(said.is_of(now.changelog(), now.manifest()));
    assert_eq!(now.repository().checked(), Checked { changesets: 50, manifests: 50 });
    // What came later is looked at, whatever is known of what was before.
    let changelog = sample.root().join(".hg/store/00changelog.i");
    let whole = std::fs::read(&changelog).expect("read");
    let mut damaged = whole.clone();
    damaged[45 * 64 + 20] ^= 0x40;
    std::fs::write(&changelog, &damaged).expect("written");
    let again = || {
        let repository = Repository::open_indexed(sample.root(), scratch.path())?;
        repository.snapshot(SnapshotState { changelog: now.changelog().extent(), ..now.state().clone() })
    };
    assert!(again().is_err_and(|error| error.is_corruption()));
    std::fs::write(&changelog, &whole).expect("written");
    assert!(again().is_ok());
    let other = Sample::seeded(60, "other");
    let other = opened(&other, scratch.path());
    assert!(!said.is_of(other.changelog(), other.manifest()));
}
