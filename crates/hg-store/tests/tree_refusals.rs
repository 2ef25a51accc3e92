//! What a push to a repository with tree manifests must not bring: each is refused by name, and nothing is left of it.

mod support;

use std::collections::VecDeque;
use std::path::Path;

use hg_store::prepare::{Incoming, PrepareError, PrepareLimits};
use hg_store::{Node, Repository};
use proptest::prelude::*;
use support::history::{Pieces, revision};
use support::tree_history::TreeHistory;
use support::{empty_repository, preparation};

fn empty_trees(folder: &Path) {
    empty_repository(folder);
    let path = folder.join(".hg/store/requires");
    let requires = std::fs::read_to_string(&path).expect("there") + "treemanifest\n";
    std::fs::write(path, requires).expect("written");
}

fn push(folder: &Path, pieces: VecDeque<Incoming>) -> Result<bool, PrepareError> {
    let repository = Repository::open(folder).expect("opened");
    let snapshot = repository.snapshot(repository.current_state().expect("read")).expect("opened");
    let mut preparation = preparation(&snapshot);
    preparation.add_changegroup(&mut Pieces(pieces))?;
    let prepared = preparation.finish().expect("finished");
    if let Some(prepared) = &prepared {
        support::apply_prepared(folder, prepared);
    }
    Ok(prepared.is_some())
}

fn old() -> TreeHistory {
    let mut history = TreeHistory::default();
    history.commit(&[(b"a", b"1\n"), (b"d/b", b"1\n"), (b"d/e/c", b"1\n")]).commit(&[(b"d/e/c", b"2\n")]);
    history
}

/// A third changeset, which changes a file in a folder of a folder and brings a folder.
fn third(edit: impl FnOnce(&mut TreeHistory)) -> TreeHistory {
    let mut history = old();
    edit(&mut history);
    history.commit(&[(b"d/e/c", b"3\n"), (b"new/folder/f", b"new\n")]);
    history.beyond(&old())
}

fn repository() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    empty_trees(folder.path());
    assert!(push(folder.path(), old().pieces()).expect("taken"));
    folder
}

#[test]
fn good_push_is_taken() {
    let folder = repository();
    assert!(push(folder.path(), third(|_| {}).pieces()).expect("taken"));
    assert!(!push(folder.path(), third(|_| {}).pieces()).expect("known"));
    if support::has_hg() {
        support::hg(folder.path(), &["verify", "-q"]);
    }
}

/// A manifest's text with one more line.
fn with_line(text: Vec<u8>, line: &[u8]) -> Vec<u8> {
    [&text, line].concat()
}

#[test]
fn bad_pushes_are_refused_by_name() {
    type Change = fn(&mut TreeHistory);
    // Before the third changeset's manifests are hashed.
    let written: &[(&str, Change)] = &[
        ("malformed manifest: lines out of order, manifest ", |push| {
            push.edit = Some((b"d/", |text| with_line(text, b"a\x002222222222222222222222222222222222222222\n")));
        }),
        // Neither flat nor a tree.
        ("malformed manifest: unknown flag, manifest ", |push| {
            push.edit = Some((b"", |text| with_line(text, b"x/y\x002222222222222222222222222222222222222222\n")));
        }),
        ("malformed manifest: path in a folder's manifest, manifest ", |push| {
            push.edit = Some((b"d/", |text| with_line(text, b"x/y\x002222222222222222222222222222222222222222\n")));
        }),
        ("malformed manifest: unknown flag, manifest ", |push| {
            push.edit = Some((b"d/e/", |text| with_line(text, b"z\x002222222222222222222222222222222222222222tx\n")));
        }),
        ("malformed manifest: null manifest of a folder, manifest ", |push| {
            push.edit = Some((b"d/", |text| with_line(text, b"z\x000000000000000000000000000000000000000000t\n")));
        }),
        ("malformed manifest: empty name, manifest ", |push| {
            push.edit =
                Some((b"new/", |text| [b"\x002222222222222222222222222222222222222222t\n", &text[..]].concat()));
        }),
        ("malformed manifest: folder without files, manifest ", |push| {
            push.edit = Some((b"new/folder/", |_| Vec::new()));
        }),
        ("manifest 2222222222222222222222222222222222222222 is missing, manifests of folder d/z/. ", |push| {
            push.edit = Some((b"d/", |text| with_line(text, b"z\x002222222222222222222222222222222222222222t\n")));
        }),
        ("file revision 2222222222222222222222222222222222222222 is missing, file d/z. ", |push| {
            push.edit = Some((b"d/", |text| with_line(text, b"z\x002222222222222222222222222222222222222222\n")));
        }),
        ("name has a part that is `.` or `..`, manifests of folder d/../. ", |push| {
            push.edit =
                Some((b"d/", |text| [b"..\x002222222222222222222222222222222222222222t\n", &text[..]].concat()));
        }),
        ("name begins with what stands for `.hg`, manifests of folder .HG/. ", |push| {
            push.edit = Some((b"", |text| [b".HG\x002222222222222222222222222222222222222222t\n", &text[..]].concat()));
        }),
        ("name has a control character, file d/e/\\x01. ", |push| {
            push.edit =
                Some((b"d/e/", |text| [b"\x01\x002222222222222222222222222222222222222222\n", &text[..]].concat()));
        }),
        // A folder's line with the name of a file revision that is there, and the other way round.
        (" is missing, manifests of folder d/b/. ", |push| {
            push.edit = Some((b"d/", |text| {
                let end = text.iter().position(|byte| *byte == b'\n').expect("a line");
                [&text[..end], b"t", &text[end..]].concat()
            }));
        }),
        ("no manifest of the push names this revision, manifest ", |push| {
            push.edit = Some((b"new/", |text| [&text[..text.len() - 2], b"\n"].concat()));
        }),
    ];
    // After it.
    let forged: &[(&str, Change)] = &[
        ("text does not match its hash, manifest ", |push| {
            let delta = &mut push.trees.get_mut(&b"d/e/"[..]).expect("there")[0].delta;
            let digit = delta.len() - 2;
            delta[digit] = if delta[digit] == b'0' { b'1' } else { b'0' };
        }),
        (" is missing, manifests of folder d/e/. ", |push| drop(push.trees.remove(&b"d/e/"[..]))),
        (" is missing, manifests of folder new/folder/. ", |push| drop(push.trees.remove(&b"new/folder/"[..]))),
        ("no manifest of the push names this revision, manifest ", |push| {
            let mut stray = revision(b"x\x002222222222222222222222222222222222222222\n", Node::NULL, Node::NULL, None);
            stray.link = push.changesets[0].node;
            push.trees.insert(b"stray/".to_vec(), vec![stray]);
        }),
        ("no manifest of the push names this revision, manifest ", |push| {
            let mut stray = revision(b"x\x002222222222222222222222222222222222222222\n", Node::NULL, Node::NULL, None);
            stray.link = push.changesets[0].node;
            push.trees.get_mut(&b"d/"[..]).expect("there").push(stray);
        }),
        ("group without revisions, manifests of folder d/. ", |push| {
            push.trees.insert(b"d/".to_vec(), Vec::new());
        }),
        ("name of a folder ends without a slash, manifests of folder d. ", |push| {
            let group = push.trees[&b"d/"[..]].clone();
            push.trees.insert(b"d".to_vec(), group);
        }),
        ("name is empty, manifests of folder /. ", |push| {
            let group = push.trees[&b"d/"[..]].clone();
            push.trees.insert(b"/".to_vec(), group);
        }),
        ("name has a part that is `.` or `..`, manifests of folder ../d/. ", |push| {
            let group = push.trees[&b"d/"[..]].clone();
            push.trees.insert(b"../d/".to_vec(), group);
        }),
        ("does not belong to changeset ", |push| {
            push.trees.get_mut(&b"d/"[..]).expect("there")[0].link = old().changesets[0].node;
        }),
        ("unknown changeset 0909", |push| {
            push.trees.get_mut(&b"d/"[..]).expect("there")[0].link = Node::new([9; 20]);
        }),
        ("unknown parent 0909", |push| push.trees.get_mut(&b"d/"[..]).expect("there")[0].p1 = Node::new([9; 20])),
        ("unknown delta base 0909", |push| push.trees.get_mut(&b"d/"[..]).expect("there")[0].base = Node::new([9; 20])),
        ("revision flags 0x2000 are not supported, manifest ", |push| {
            push.trees.get_mut(&b"d/"[..]).expect("there")[0].flags = 0x2000;
        }),
        ("no manifest of the push names this revision, file a revision ", |push| {
            let mut stray = revision(b"x", Node::NULL, Node::NULL, None);
            stray.link = push.changesets[0].node;
            push.files.insert(b"a".to_vec(), vec![stray]);
        }),
    ];
    let folder = repository();
    let before = hg_store::digest::state_files(&folder.path().join(".hg")).expect("listed");
    let pushes = written.iter().map(|(words, edit)| (*words, third(edit).pieces()));
    let forged = forged.iter().map(|(words, change)| {
        let mut push = third(|_| {});
        change(&mut push);
        (*words, push.pieces())
    });
    let mut twice = third(|_| {}).pieces();
    let at = twice.iter().position(|piece| matches!(piece, Incoming::Tree(_))).expect("one");
    for offset in 0..3 {
        twice.insert(at + 3 + offset, twice[at + offset].clone());
    }
    let mut after_files = third(|_| {}).pieces();
    let end = after_files.len() - 1;
    after_files.insert(end, Incoming::Tree(b"d/".to_vec()));
    let others = [
        ("sent twice, manifests of folder d/. ", twice),
        ("unexpected piece among the files, in the changegroup. ", after_files),
    ];
    for (words, pieces) in pushes.chain(forged).chain(others) {
        let error = push(folder.path(), pieces).expect_err(words);
        assert!(error.is_refusal(), "{error:?}");
        assert!(error.to_string().contains(words), "{words:?} is expected, told is {error}");
    }
    assert_eq!(hg_store::digest::state_files(&folder.path().join(".hg")).expect("listed"), before);
    assert!(push(folder.path(), third(|_| {}).pieces()).expect("taken"));
}

/// The manifest of [`third`], without folders of their own.
fn flat(_: Vec<u8>) -> Vec<u8> {
    let first = |content: &[u8]| revision(content, Node::NULL, Node::NULL, None).node;
    let mut c = Node::NULL;
    for content in [b"1\n", b"2\n", b"3\n"] {
        c = revision(content, c, Node::NULL, None).node;
    }
    let lines = [("a", first(b"1\n")), ("d/b", first(b"1\n")), ("d/e/c", c), ("new/folder/f", first(b"new\n"))];
    lines.iter().flat_map(|(path, node)| [path.as_bytes(), b"\0", &node.to_hex(), b"\n"].concat()).collect()
}

/// What no Mercurial commits, and stock's server takes.
#[test]
fn flat_manifest_after_trees_is_taken_if_all_is_there_that_it_names() {
    let folder = repository();
    let flat_third = |edit: fn(Vec<u8>) -> Vec<u8>| {
        let mut push = third(|push| push.edit = Some((b"", edit)));
        push.trees.clear();
        push.pieces()
    };
    let other_revision = |text| {
        let mut text = flat(text);
        // The first digit of `a`'s.
        text[2] = if text[2] == b'0' { b'1' } else { b'0' };
        text
    };
    let error = push(folder.path(), flat_third(other_revision)).expect_err("one that is not there").to_string();
    assert!(error.contains(" is missing, file a. "), "{error}");
    assert!(push(folder.path(), flat_third(flat)).expect("taken"));
    let repository = Repository::open(folder.path()).expect("opened");
    let snapshot = repository.snapshot(repository.current_state().expect("read")).expect("opened");
    let report = hg_store::verify(&snapshot).expect("verified");
    assert!(report.is_clean(), "{report:?}");
    if support::has_hg() {
        support::hg(folder.path(), &["verify", "-q"]);
        let files = support::hg(folder.path(), &["manifest", "-r", "tip"]);
        assert_eq!(String::from_utf8_lossy(&files), "a\nd/b\nd/e/c\nnew/folder/f\n");
    }
}

#[test]
fn folders_are_counted_and_deep_ones_refused() {
    let folder = repository();
    let deep = [&b"d/".repeat(300)[..], b"f"].concat();
    let mut history = old();
    history.commit(&[(&deep, b"x")]);
    let error = push(folder.path(), history.beyond(&old()).pieces()).expect_err("too deep");
    assert!(error.to_string().contains("more than 256 parts in a path"), "{error}");

    let repository = Repository::open(folder.path()).expect("opened");
    let snapshot = repository.snapshot(repository.current_state().expect("read")).expect("opened");
    let mut history = old();
    history.commit(&[(b"x/1", b"x"), (b"y/1", b"x"), (b"z/1", b"x")]);
    let pieces = history.beyond(&old()).pieces();
    let limits = PrepareLimits { files: 2, ..PrepareLimits::default() };
    let spool = tempfile::tempfile().expect("a spool");
    let mut preparation = hg_store::prepare::Preparation::new(&snapshot, spool, limits).expect("begun");
    let error = preparation.add_changegroup(&mut Pieces(pieces)).expect_err("too many");
    assert!(error.to_string().contains("more than 2 "), "{error}");
}

#[test]
fn trees_are_refused_where_the_repository_has_none() {
    let folder = tempfile::tempdir().expect("a folder");
    empty_repository(folder.path());
    let error = push(folder.path(), old().pieces()).expect_err("refused").to_string();
    assert!(error.contains("malformed manifest: unknown flag") || error.contains("bundle contains tree"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Whatever is exchanged, left out or altered, what is taken is what nobody altered.
    #[test]
    fn pieces_that_were_tampered_with_are_refused_or_change_nothing(
        at in any::<prop::sample::Index>(),
        other in any::<prop::sample::Index>(),
        how in 0..5u8,
        byte in any::<prop::sample::Index>(),
        with in 1..=255u8,
    ) {
        let folder = tempfile::tempdir().expect("a folder");
        empty_trees(folder.path());
        let mut history = old();
        history.commit(&[(b"d/e/c", b"3\n"), (b"new/folder/f", b"new\n")]);
        let good = history.pieces();
        let mut pieces = good.clone();
        let (at, other) = (at.index(pieces.len()), other.index(pieces.len()));
        match how {
            0 => drop(pieces.remove(at)),
            1 => pieces.swap(at, other),
            2 => pieces.insert(at, good[other].clone()),
            _ => match &mut pieces[at] {
                Incoming::Revision(revision) if how == 3 => {
                    let byte = byte.index(revision.delta.len());
                    revision.delta[byte] ^= with;
                }
                Incoming::Revision(revision) => {
                    let nodes = [&mut revision.node, &mut revision.p1, &mut revision.p2, &mut revision.link, &mut revision.base];
                    *nodes.into_iter().nth(byte.index(5)).expect("one of five") = Node::new([with; 20]);
                }
                Incoming::Tree(path) | Incoming::File(path) => {
                    let byte = byte.index(path.len());
                    path[byte] ^= with;
                }
                _ => {}
            },
        }
        if push(folder.path(), pieces).is_ok() {
            let repository = Repository::open(folder.path()).expect("opened");
            let snapshot = repository.snapshot(repository.current_state().expect("read")).expect("opened");
            let report = hg_store::verify(&snapshot).expect("verified");
            prop_assert!(report.is_clean(), "{:?}", report);
        }
    }
}
