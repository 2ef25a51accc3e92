//! Delta chains and heads, over histories made by hand.

mod support;

use std::collections::VecDeque;
use std::path::Path;

use hg_store::prepare::{ChangegroupOutcome, Incoming};
use hg_store::{Repository, Revlog, Snapshot};
use support::empty_repository;
use support::history::{History, Pieces, hunk};

fn snapshot(folder: &Path) -> Snapshot {
    let repository = Repository::open(folder).expect("opened");
    repository.snapshot(repository.current_state().expect("read")).expect("opened")
}

fn push(folder: &Path, pieces: VecDeque<Incoming>) -> ChangegroupOutcome {
    let snapshot = snapshot(folder);
    let mut preparation = support::preparation(&snapshot);
    let outcome = preparation.add_changegroup(&mut Pieces(pieces)).expect("taken");
    if let Some(prepared) = preparation.finish().expect("finished") {
        support::apply_prepared(folder, &prepared);
    }
    outcome
}

fn assert_chains_bounded(revlog: &Revlog) {
    for revision in revlog.revisions() {
        let chain = revlog.chain(revision);
        let bytes: u64 = chain.iter().map(|link| u64::from(revlog.chunk_bytes(*link))).sum();
        let text_bytes = u64::from(revlog.text_bytes(revision));
        assert!(chain.len() <= 1001, "revision {revision}: {} deltas", chain.len());
        assert!(chain.len() == 1 || bytes <= 2 * text_bytes, "revision {revision}: {bytes} bytes for {text_bytes}");
    }
}

/// Text number `number` of a file that changes in one line at a time.
fn text(number: usize) -> Vec<u8> {
    let line = |at: usize| format!("line {at} in its form {}\n", (number + 99 - at) / 100).into_bytes();
    (0..100).flat_map(line).collect()
}

#[test]
fn long_history_has_bounded_chains_however_it_is_sent() {
    let mut history = History::default();
    let texts: Vec<Vec<u8>> = (0..2500).map(text).collect();
    for content in &texts {
        history.commit(&[(b"file", content, "")]);
    }
    // As whole texts, each to the revision before, and each to the first.
    for sent in ["whole", "previous", "first"] {
        for revisions in [&mut history.files[0].1, &mut history.manifests] {
            let texts: Vec<Vec<u8>> = texts_of(revisions);
            for number in 1..revisions.len() {
                let base = match sent {
                    "whole" => continue,
                    "previous" => number - 1,
                    _ => 0,
                };
                revisions[number].base = revisions[base].node;
                revisions[number].delta = hg_store::delta::diff(&texts[base], &texts[number]);
            }
        }
        let folder = tempfile::tempdir().expect("a folder");
        empty_repository(folder.path());
        // In pieces, so that chains begin in the store and go on in the push.
        for piece in 0..5 {
            let range = piece * 500..(piece + 1) * 500;
            let part = History {
                changesets: history.changesets[range.clone()].to_vec(),
                manifests: history.manifests[range.clone()].to_vec(),
                files: vec![(b"file".to_vec(), history.files[0].1[range].to_vec())],
                ..History::default()
            };
            push(folder.path(), part.pieces());
        }
        let snapshot = snapshot(folder.path());
        let filelog = snapshot.filelog(b"file").expect("read").expect("there");
        assert_chains_bounded(&filelog);
        assert_chains_bounded(snapshot.manifest());
        let bytes: u64 = filelog.revisions().map(|revision| u64::from(filelog.chunk_bytes(revision))).sum();
        assert!(bytes < 2500 * 100, "{sent}: {bytes} bytes");
        let report = hg_store::verify(&snapshot).expect("read");
        assert!(report.is_clean(), "{report:?}");
    }
}

fn texts_of(revisions: &[hg_store::prepare::IncomingRevision]) -> Vec<Vec<u8>> {
    let mut texts: Vec<Vec<u8>> = Vec::new();
    for revision in revisions {
        let base = revisions.iter().position(|other| other.node == revision.base);
        let base = base.map_or(&[][..], |base| &texts[base]);
        texts.push(hg_store::delta::apply(base, &revision.delta, usize::MAX).expect("applies"));
    }
    texts
}

#[test]
fn heads_are_counted_as_stock_counts_them() {
    let folder = tempfile::tempdir().expect("a folder");
    empty_repository(folder.path());
    let mut history = History::default();
    history.commit(&[(b"a", b"1", "")]);
    // The null revision was the head.
    let outcome = push(folder.path(), history.pieces());
    assert_eq!((outcome.heads_change, outcome.return_code()), (0, 1));
    let only_last = |history: &History| {
        let mut piece = history.pieces();
        piece.retain(|piece| match piece {
            Incoming::Revision(revision) => {
                let last = [history.changesets.last(), history.manifests.last(), history.files[0].1.last()];
                last.into_iter().flatten().any(|last| last.node == revision.node)
            }
            _ => true,
        });
        piece
    };
    // On the head; beside the head; closing a head.
    history.commit(&[(b"a", b"2", "")]);
    assert_eq!(push(folder.path(), only_last(&history)).heads_change, 0);
    let mut other = History::default();
    other.commit(&[(b"a", b"1", "")]).commit(&[(b"a", b"3", "")]);
    let outcome = push(folder.path(), only_last(&other));
    assert_eq!((outcome.heads_change, outcome.return_code()), (1, 2));
    other.edit_changeset = Some(|text| {
        let text = String::from_utf8(text).expect("ASCII");
        text.replacen("1700000000 0", "1700000000 0 close:1", 1).into_bytes()
    });
    other.commit(&[(b"a", b"4", "")]);
    let outcome = push(folder.path(), only_last(&other));
    assert_eq!((outcome.heads_change, outcome.return_code()), (-1, -2));
}

#[test]
fn filelog_that_was_emptied_is_taken_up_again() {
    let folder = tempfile::tempdir().expect("a folder");
    empty_repository(folder.path());
    let data = folder.path().join(".hg/store/data");
    std::fs::create_dir_all(&data).expect("made");
    for name in ["a.i", "big.i", "big.d"] {
        std::fs::write(data.join(name), b"").expect("written");
    }
    std::fs::write(data.join("../fncache"), b"data/a.i\n").expect("written");
    let mut history = History::default();
    // Does not compress, so that the revlog is born split.
    let mut state = 1u32;
    let noise: Vec<u8> = (0..200_000)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect();
    history.commit(&[(b"a", b"1", ""), (b"big", &noise, "")]);
    push(folder.path(), history.pieces());
    assert_eq!(std::fs::read(data.join("../fncache")).expect("read"), b"data/a.i\ndata/big.i\ndata/big.d\n");
    assert!(hg_store::verify(&snapshot(folder.path())).expect("read").is_clean());
    if support::has_hg() {
        support::hg(folder.path(), &["verify", "-q"]);
    }
}

#[test]
fn delta_of_the_whole_text_stays_small() {
    // A hunk that replaces all is within the bounds, and yet no client needs to make a store that large.
    let folder = tempfile::tempdir().expect("a folder");
    empty_repository(folder.path());
    let mut history = History::default();
    for number in 0..50 {
        history.commit(&[(b"file", &text(number), "")]);
    }
    let texts = texts_of(&history.files[0].1);
    for (number, whole) in texts.iter().enumerate().skip(1) {
        let revisions = &mut history.files[0].1;
        revisions[number].base = revisions[number - 1].node;
        revisions[number].delta = hunk(0, texts[number - 1].len(), whole);
    }
    push(folder.path(), history.pieces());
    let snapshot = snapshot(folder.path());
    let filelog = snapshot.filelog(b"file").expect("read").expect("there");
    assert_chains_bounded(&filelog);
    let bytes: u64 = filelog.revisions().map(|revision| u64::from(filelog.chunk_bytes(revision))).sum();
    assert!(bytes < 50 * 100, "{bytes} bytes");
}
