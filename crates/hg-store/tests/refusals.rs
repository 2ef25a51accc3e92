//! What a push must not bring: each is refused by name, and nothing is left of it.

mod support;

use std::collections::VecDeque;
use std::path::Path;

use hg_store::prepare::{Incoming, IncomingRevision, Preparation, PrepareError, PrepareLimits};
use hg_store::{Node, Repository};
use support::empty_repository;
use support::history::{History, Pieces, hunk, revision};

/// Prepares and applies these pieces; what was refused, in words.
fn push_within(folder: &Path, pieces: VecDeque<Incoming>, limits: PrepareLimits) -> Result<(), String> {
    let repository = Repository::open(folder).expect("opened");
    let snapshot = repository.snapshot(repository.current_state().expect("read")).expect("opened");
    let mut preparation = Preparation::new(&snapshot, tempfile::tempfile().expect("a spool"), limits).expect("begun");
    let told = |error: PrepareError| {
        assert!(error.is_refusal(), "{error:?}");
        error.to_string()
    };
    preparation.add_changegroup(&mut Pieces(pieces)).map_err(told)?;
    if let Some(prepared) = preparation.finish().expect("finished") {
        support::apply_prepared(folder, &prepared);
    }
    Ok(())
}

fn push(folder: &Path, pieces: VecDeque<Incoming>) -> Result<(), String> {
    push_within(folder, pieces, PrepareLimits::default())
}

/// Two changesets, two files, both in the repository already.
fn old() -> History {
    let mut history = History::default();
    history.commit(&[(b"a", b"one\n", ""), (b"b/c", b"two\n", "x")]).commit(&[(b"a", b"1\n", "")]);
    history
}

/// The old history with a third changeset, which changes `a` and brings `new`; only it is sent.
fn new_with(edit: impl FnOnce(&mut History)) -> History {
    let mut history = old();
    edit(&mut history);
    history.commit(&[(b"a", b"eins\n", ""), (b"new", b"\x01\ncopy: a\n\x01\nnew\n", "")]);
    history.changesets.drain(..2);
    history.manifests.drain(..2);
    history.files[0].1.drain(..2);
    history.files.remove(1);
    history
}

fn new() -> History {
    new_with(|_| {})
}

#[test]
fn good_push_is_taken() {
    let folder = tempfile::tempdir().expect("a folder");
    empty_repository(folder.path());
    push(folder.path(), old().pieces()).expect("taken");
    push(folder.path(), new().pieces()).expect("taken");
    push(folder.path(), new().pieces()).expect("known");
    if support::has_hg() {
        support::hg(folder.path(), &["verify", "-q"]);
    }
}

#[test]
fn bad_pushes_are_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    empty_repository(folder.path());
    push(folder.path(), old().pieces()).expect("taken");
    let unknown = Node::new([9; 20]);
    let first = old().changesets[0].node;

    type Change = Box<dyn Fn(&mut History)>;
    fn any(change: impl Fn(&mut History) + 'static) -> Change {
        Box::new(change)
    }
    fn each(change: impl Fn(&mut IncomingRevision) + Copy + 'static) -> [Change; 3] {
        [
            any(move |push| change(&mut push.changesets[0])),
            any(move |push| change(&mut push.manifests[0])),
            any(move |push| change(&mut push.files[0].1[0])),
        ]
    }
    let mut cases: Vec<(&str, Change)> = Vec::new();
    let mut add_each = |words: &'static str, changes: [Change; 3]| cases.extend(changes.map(|change| (words, change)));
    add_each("revision flags 0x8000 are not supported", each(|revision| revision.flags = 0x8000));
    add_each("revision flags 0x0001 are not supported", each(|revision| revision.flags = 1));
    add_each("unknown parent 0909", each(move |revision| revision.p2 = unknown));
    add_each("unknown delta base 0909", each(move |revision| revision.base = unknown));
    add_each("hunk that ends past its base", each(|revision| revision.delta = hunk(0, 5, b"x")));
    add_each("hunks out of order", each(|revision| revision.delta = hunk(1, 0, b"x")));
    add_each(
        "hunks out of order",
        each(|revision| {
            revision.delta = [hunk(0, 0, b"x"), hunk(0, 0, b"x"), hunk(5, 4, b"")].concat();
        }),
    );
    add_each("ends within a hunk", each(|revision| revision.delta.truncate(11)));
    add_each(
        "ends within a hunk",
        each(|revision| {
            revision.delta.pop();
        }),
    );
    add_each(
        "ends within a hunk",
        each(|revision| {
            revision.delta[8..12].copy_from_slice(&u32::MAX.to_be_bytes());
        }),
    );
    add_each("text does not match its hash", each(|revision| revision.p2 = revision.p1));

    let mut add = |words: &'static str, change: Change| cases.push((words, change));
    // Of files alone it says that the text is a pointer.
    add("revision flags 0x2000 are not supported", any(|push| push.changesets[0].flags = 0x2000));
    add("revision flags 0x2000 are not supported", any(|push| push.manifests[0].flags = 0x2000));
    add(
        "points to an LFS object, and this repository takes none, file a",
        any(|push| push.files[0].1[0].flags = 0x2000),
    );
    add(
        "null revision, changeset 0000",
        any(|push| {
            push.changesets[0].node = Node::NULL;
            push.changesets[0].link = Node::NULL;
        }),
    );
    add("does not belong to changeset", any(move |push| push.changesets[0].link = first));
    add("unknown changeset 0909", any(move |push| push.manifests[0].link = unknown));
    add("unknown changeset 0909", any(move |push| push.files[0].1[0].link = unknown));
    add("does not belong to changeset", any(move |push| push.manifests[0].link = first));
    add("does not belong to changeset", any(move |push| push.files[0].1[0].link = first));
    add(
        "text does not match its hash, file a revision",
        any(|push| {
            let last = push.files[0].1[0].delta.len() - 1;
            push.files[0].1[0].delta[last] ^= 1;
        }),
    );
    add("unknown parent", any(|push| push.files[0].1[0].p1 = push.files[0].1[0].node));
    add(
        "malformed metadata: without an end, file new revision ",
        any(|push| {
            let mut history = old();
            history.commit(&[(b"new", b"\x01\ncopy: a\nnew\n", "")]);
            *push = History {
                changesets: history.changesets.split_off(2),
                manifests: history.manifests.split_off(2),
                files: history.files.split_off(2),
                ..History::default()
            };
        }),
    );
    add("is missing, changeset", any(|push| push.manifests.clear()));
    add("is missing, file new", any(|push| drop(push.files.remove(1))));
    add("is missing, file a", any(|push| drop(push.files.remove(0))));
    add(
        "is missing, file a",
        any(|push| {
            let known = old().files[0].1[1].clone();
            push.files[0].1 = vec![known];
        }),
    );
    add(
        "no manifest of the push names this revision, file a",
        any(|push| {
            let link = push.changesets[0].node;
            push.files[0].1.push(revision(b"more", Node::NULL, Node::NULL, Some(link)));
        }),
    );
    add(
        "no manifest of the push names this revision, file other",
        any(|push| {
            let link = push.changesets[0].node;
            push.files.push((b"other".to_vec(), vec![revision(b"more", Node::NULL, Node::NULL, Some(link))]));
        }),
    );
    add(
        "sent twice, file a",
        any(|push| {
            let group = push.files[0].clone();
            push.files.push(group);
        }),
    );
    add("group without revisions, file a", any(|push| push.files[0].1.clear()));
    for name in [&b""[..], b"/a", b"a/../b", b".hg/hgrc", b"a\nb", b".HG/x", b"a//b"] {
        add(
            "name ",
            any(move |push| {
                let group = push.files[0].1.clone();
                push.files.push((name.to_vec(), group));
            }),
        );
    }

    for (words, change) in &cases {
        let mut push_of = new();
        change(&mut push_of);
        let told = push(folder.path(), push_of.pieces()).expect_err(words);
        assert!(told.contains(words), "{told:?} does not say {words:?}");
    }
    // All of it was refused for its own fault.
    push(folder.path(), new().pieces()).expect("taken");
}

#[test]
fn malformed_manifests_and_changesets_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    empty_repository(folder.path());
    push(folder.path(), old().pieces()).expect("taken");
    type Edit = fn(Vec<u8>) -> Vec<u8>;
    fn replace(text: Vec<u8>, old: &str, new: &str) -> Vec<u8> {
        let text = String::from_utf8(text).expect("ASCII");
        assert!(text.contains(old));
        text.replacen(old, new, 1).into_bytes()
    }
    let manifests: [(&str, Edit); 9] = [
        ("out of order", |text| replace(text, "a\0", "z\0")),
        ("out of order", |text| [&text[..], &text].concat()),
        ("unknown flag", |text| replace(text, "x\n", "t\n")),
        ("no newline at the end", |text| text[..text.len() - 1].to_vec()),
        ("short hash", |text| [&text[..text.len() - 2], b"\n"].concat()),
        ("hash that is none", |text| [&text[..text.len() - 2], b"g\n"].concat()),
        ("null file revision", |text| [&text[..], &b"zz\0"[..], &[b'0'; 40], b"\n"].concat()),
        ("empty name", |text| [&b"\0"[..], &[b'1'; 40], b"\n", &text].concat()),
        ("line without NUL", |text| [&text[..], b"z\n"].concat()),
    ];
    for (words, edit) in manifests {
        let push_of = new_with(|history| history.edit_manifest = Some(edit));
        let told = push(folder.path(), push_of.pieces()).expect_err(words);
        assert!(told.starts_with("malformed manifest: ") && told.contains(words), "{told:?} does not say {words:?}");
    }
    // The same lines by a delta to a good manifest, which is not looked at as a whole.
    let base = old().manifests[1].node;
    for (words, start, bytes) in [("out of order", 0, "z"), ("unknown flag", 42, "t"), ("name ", 0, "../")] {
        let mut push_of = new();
        let text = old().manifests[1].delta[12..].to_vec();
        let text = [&text[..start], bytes.as_bytes(), &text[start..]].concat();
        let manifest = revision(&text, base, Node::NULL, None);
        let changeset = [&manifest.node.to_hex()[..], b"\nu\n0 0\na\n\nd"].concat();
        let parent = push_of.changesets[0].p1;
        push_of.changesets = vec![revision(&changeset, parent, Node::NULL, None)];
        let delta = hunk(start, start, bytes.as_bytes());
        push_of.manifests = vec![IncomingRevision { base, delta, link: push_of.changesets[0].node, ..manifest }];
        let told = push(folder.path(), push_of.pieces()).expect_err(words);
        assert!(told.contains(words), "{told:?} does not say {words:?}");
    }

    let changesets: [Edit; 9] = [
        |text| text[..30].to_vec(),
        |text| replace(text, "1700000000 0", "never 0"),
        |text| replace(text, "1700000000 0", "9223372036854775808 0"),
        |text| replace(text, "1700000000 0", "1700000000"),
        |text| replace(text, "1700000000 0", "1700000000 0 branch"),
        |text| replace(text, "1700000000 0", "1700000000 0 branch:"),
        |text| replace(text, "1700000000 0", "1700000000 0 branch:a\\nb"),
        |text| replace(text, "\n\nwhat was done", ""),
        |text| [&b"zz"[..], &text[2..]].concat(),
    ];
    for (number, edit) in changesets.into_iter().enumerate() {
        let push_of = new_with(|history| history.edit_changeset = Some(edit));
        let told = push(folder.path(), push_of.pieces()).expect_err(&format!("changeset {number}"));
        assert!(told.contains("changeset "), "{number}: {told:?}");
        assert!(!told.contains("is missing"), "{number}: {told:?}");
    }
    let unlisted = new_with(|history| history.edit_changeset = Some(|text| replace(text, "new\n\n", "never\nnew\n\n")));
    let told = push(folder.path(), unlisted.pieces()).expect_err("a file that is nowhere");
    assert!(told.contains("in no manifest, file never"), "{told:?}");
    let unlisted = new_with(|history| history.edit_changeset = Some(|text| replace(text, "new\n\n", "\n")));
    let told = push(folder.path(), unlisted.pieces()).expect_err("a file that is not listed");
    assert!(told.contains("does not belong to changeset") && told.contains("file new"), "{told:?}");
}

#[test]
fn pieces_out_of_order_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    empty_repository(folder.path());
    let good = old().pieces();
    for left_out in 0..good.len() {
        let mut pieces = good.clone();
        pieces.remove(left_out);
        push(folder.path(), pieces).expect_err("refused");
        let mut pieces = good.clone();
        pieces.truncate(left_out);
        push(folder.path(), pieces).expect_err("cut");
        for piece in [Incoming::Changelog, Incoming::Manifest, Incoming::End, Incoming::File(b"a".to_vec())] {
            let mut pieces = good.clone();
            pieces[left_out] = piece.clone();
            if pieces != good {
                push(folder.path(), pieces).expect_err("refused");
            }
        }
    }
    push(folder.path(), good).expect("taken");
}

#[test]
fn limits_are_kept_and_named() {
    let folder = tempfile::tempdir().expect("a folder");
    empty_repository(folder.path());
    let usual = PrepareLimits::default;
    for (limits, words) in [
        (PrepareLimits { changesets: 1, ..usual() }, "more than 1 changesets"),
        (PrepareLimits { revisions: 6, ..usual() }, "more than 6 revisions"),
        (PrepareLimits { files: 1, ..usual() }, "more than 1 files"),
        (PrepareLimits { text_bytes: 40, ..usual() }, "a text of more than 40 bytes"),
        (PrepareLimits { changeset_bytes: 60, ..usual() }, "a text of more than 60 bytes"),
        (PrepareLimits { path_bytes: 2, ..usual() }, "more than 2 bytes in a path"),
        (PrepareLimits { path_parts: 1, ..usual() }, "more than 1 parts in a path"),
        (PrepareLimits { change_bytes: 30, ..usual() }, "more than 30 bytes in the store"),
    ] {
        let told = push_within(folder.path(), old().pieces(), limits).expect_err(words);
        assert!(told.contains(words), "{told:?} does not say {words:?}");
    }
    push(folder.path(), old().pieces()).expect("taken");
}
