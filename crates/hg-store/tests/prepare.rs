//! Pushes prepared and applied here, beside the same bundles taken by stock Mercurial.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use hg_store::{Node, Phase, Repository};
use support::{bundle_of, has_hg, hg, init, prepare, push, sorted_lines, store_bytes};
use tempfile::TempDir;

/// A repository with what is odd: copies, flags, empty files, NUL, a file that begins like copy metadata, names that Windows
/// reserves, long names, names that look like the store's, closed branches, merges, files that outgrow an inline revlog, the
/// null manifest.
fn odd_repository() -> &'static Path {
    static MADE: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = MADE.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let path = make_odd_repository(folder.path());
        (folder, path)
    });
    path
}

fn make_odd_repository(folder: &Path) -> PathBuf {
    let path = init(folder, "odd", &[]);
    let write = |name: &str, content: &[u8]| {
        let file = path.join(name);
        fs::create_dir_all(file.parent().expect("a parent")).expect("made");
        fs::write(file, content).expect("written");
    };
    let commit = |message: &str| {
        hg(&path, &["commit", "-qAm", message, "-d", "1700000000 3600"]);
    };
    // A changeset without files, on the null manifest.
    hg(&path, &["commit", "-qm", "nothing", "-d", "0 0", "--config", "ui.allowemptycommit=yes"]);
    write("a", b"1\n2\n3\n4\n5\n6\n7\n");
    write("empty", b"");
    write("nul", b"\0\x01\x02");
    write("meta", b"\x01\nnot metadata\n\x01\n");
    write("con.txt", b"x");
    write("Aux/NUL.h", b"y");
    write("UPPER/lower_case", b"z");
    write("dir.i/file.d", b"in a folder that looks like an index");
    write("dir.hg/x.i", b"and another");
    write(&format!("{}/{}", "long-folder-name-".repeat(6), "long-file-name-".repeat(12)), b"long");
    write(" .hidden /tr ailing ", b"blanks");
    write("nested/.hg/keep", b"found in the wild");
    commit("odd names");
    hg(&path, &["copy", "a", "b"]);
    hg(&path, &["rename", "meta", "moved"]);
    fs::write(path.join("b"), b"1\n2\n3\n4\n5\n6\n7\n8\n").expect("written");
    std::os::unix::fs::symlink("a", path.join("link")).expect("linked");
    write("run", b"#!/bin/sh\n");
    let mut permissions = fs::metadata(path.join("run")).expect("there").permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o755);
    fs::set_permissions(path.join("run"), permissions).expect("set");
    commit("copies and flags");
    hg(&path, &["branch", "-q", "side"]);
    write("a", b"one\n2\n3\n4\n5\n6\n7\n");
    write("side", b"s");
    commit("side");
    hg(&path, &["update", "-q", "default"]);
    write("a", b"1\n2\n3\n4\n5\n6\nseven\n");
    commit("default");
    hg(&path, &["merge", "-q", "side"]);
    commit("merge");
    hg(&path, &["update", "-q", "side"]);
    hg(&path, &["commit", "-qm", "close", "--close-branch", "-d", "1700000000 -7200"]);
    hg(&path, &["update", "-q", "default"]);
    for n in 0..12u32 {
        // Does not compress, so that the revlog is split on the way.
        let mut state = n.wrapping_mul(2_654_435_761).wrapping_add(1);
        let noise: Vec<u8> = (0..20_000)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            })
            .collect();
        write("grows", &noise);
        write("log", "a line\n".repeat(n as usize * 50).as_bytes());
        commit(&format!("grow {n}"));
    }
    hg(&path, &["update", "-q", "null"]);
    write("other root", b"unrelated");
    commit("second root");
    hg(&path, &["remove", "other root"]);
    commit("no file left");
    path
}

/// Two repositories hold the same history, and stock finds nothing wrong with the first.
fn assert_same(ours: &Path, stock: &Path) {
    hg(ours, &["verify", "-q"]);
    let template = "{rev} {node} {p1node} {p2node} {manifest} {branch} {extras} {phase} {date|hgdate} {files % '{file}\\0'} {desc}\\n";
    let log = |repository| String::from_utf8_lossy(&hg(repository, &["log", "-T", template])).into_owned();
    assert_eq!(log(ours), log(stock));
    let heads = String::from_utf8(hg(stock, &["log", "-r", "head()", "-T", "{node}\n"])).expect("ASCII");
    for head in heads.lines() {
        let manifest = |repository| hg(repository, &["manifest", "--debug", "-r", head]);
        assert_eq!(manifest(ours), manifest(stock));
    }
    let fncache = |repository: &Path| {
        let path = repository.join(".hg/store/fncache");
        path.exists().then(|| sorted_lines(&path))
    };
    assert_eq!(fncache(ours), fncache(stock));
    let files = |repository: &Path| hg_store::digest::state_files(&repository.join(".hg")).expect("listed");
    assert_eq!(names_of_logs(files(ours)), names_of_logs(files(stock)));
    let (ours, stock) = (store_bytes(&ours.join(".hg/store")), store_bytes(&stock.join(".hg/store")));
    assert!(ours * 100 <= stock * 102 + 100_000, "{ours} bytes, stock has {stock}");
}

/// The files of revlogs, whether split or not: ours may be split a push earlier.
fn names_of_logs(files: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    files.into_iter().filter(|name| name.ends_with(b".i") && name.starts_with(b"store/d")).collect()
}

/// Both take the same bundle.
fn both(ours: &Path, stock: &Path, bundle: &Path) -> hg_store::prepare::ChangegroupOutcome {
    hg(stock, &["unbundle", "-q", bundle.to_str().expect("UTF-8")]);
    push(ours, bundle)
}

/// Makes all changesets public, as a push to a publishing repository does.
fn publish(repository: &Path) {
    hg(repository, &["phase", "-q", "-p", "-r", "all()"]);
}

#[test]
fn odd_repository_comes_out_as_stock_has_it() {
    if !has_hg() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let source = odd_repository();
    let stores: [(&str, &[&str]); 9] = [
        ("none-v2", &[]),
        ("none-v2;cg.version=03", &["format.revlog-compression=zlib"]),
        ("none-v1", &[]),
        ("none-v2", &["format.sparse-revlog=no"]),
        ("none-v2", &["format.usegeneraldelta=no", "format.sparse-revlog=no"]),
        ("none-v2", &["format.revlog-compression=none"]),
        ("none-v2", &["format.dotencode=no"]),
        ("none-v2", &["format.use-share-safe=no", "format.bookmarks-in-store=yes"]),
        // As Mercurial 0.9.2 made them.
        (
            "none-v2",
            &[
                "format.usefncache=no",
                "format.usegeneraldelta=no",
                "format.revlog-compression=zlib",
                "format.use-share-safe=no",
            ],
        ),
    ];
    for (number, (kind, config)) in stores.into_iter().enumerate() {
        let whole = bundle_of(&folder, source, &format!("{number}.hg"), kind, &["--all"]);
        let ours = init(folder.path(), &format!("ours-{number}"), config);
        let stock = init(folder.path(), &format!("stock-{number}"), config);
        let outcome = both(&ours, &stock, &whole);
        publish(&stock);
        assert_same(&ours, &stock);
        assert_eq!((outcome.added.len(), outcome.known.len()), (21, 0));
        assert_eq!(outcome.heads_change, 1, "three heads, one closed, where the null revision was");
        // The same again brings nothing.
        let (again, prepared) = prepare(&ours, &whole).expect("taken");
        assert!(prepared.is_none());
        assert_eq!((again.known.len(), again.changes, again.heads_change), (21, 0, 0));
        assert_eq!(again.files, outcome.files);
    }
}

#[test]
fn pieces_grow_stores_that_stock_wrote_and_stock_goes_on_where_we_wrote() {
    if !has_hg() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let source = odd_repository();
    let pieces: Vec<PathBuf> = (0..21)
        .step_by(3)
        .map(|first| {
            let base = if first == 0 { "null".to_owned() } else { format!("0:{}", first - 1) };
            let revs = format!("{first}:{}", first + 2);
            bundle_of(&folder, source, &format!("{first}.hg"), "none-v2", &["-r", &revs, "--base", &base])
        })
        .collect();
    for (name, ours_takes) in [("all", [true, true]), ("alternating", [false, true])] {
        let ours = init(folder.path(), &format!("ours-{name}"), &[]);
        let stock = init(folder.path(), &format!("stock-{name}"), &[]);
        for (number, piece) in pieces.iter().enumerate() {
            if ours_takes[number % 2] {
                both(&ours, &stock, piece);
            } else {
                for repository in [&ours, &stock] {
                    hg(repository, &["unbundle", "-q", piece.to_str().expect("UTF-8")]);
                }
            }
        }
        publish(&ours);
        publish(&stock);
        assert_same(&ours, &stock);
    }
}

#[test]
fn client_that_sends_whole_texts_does_not_decide_the_size() {
    if !has_hg() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let source = odd_repository();
    let whole = bundle_of(&folder, source, "whole.hg", "none-v2", &["--all", "--config", "devel.bundle.delta=full"]);
    let ours = init(folder.path(), "ours", &[]);
    push(&ours, &whole);
    publish(source);
    assert_same(&ours, source);
}

#[test]
fn same_push_gives_the_same_bytes() {
    if !has_hg() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let source = odd_repository();
    let whole = bundle_of(&folder, source, "whole.hg", "none-v2", &["--all"]);
    let target = init(folder.path(), "target", &[]);
    let bytes = || {
        let (_, prepared) = prepare(&target, &whole).expect("taken");
        let prepared = prepared.expect("something new");
        let mut bytes = vec![0; prepared.bytes as usize];
        std::os::unix::fs::FileExt::read_exact_at(&prepared.file, &mut bytes, 0).expect("readable");
        bytes
    };
    assert!(bytes() == bytes());
}

#[test]
fn non_publishing_repository_keeps_drafts() {
    if !has_hg() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let source = odd_repository();
    let whole = bundle_of(&folder, source, "whole.hg", "none-v2", &["--all"]);
    let ours = init(folder.path(), "ours", &[]);
    fs::write(ours.join(".hg/hgrc"), "[phases]\npublish = no\n").expect("written");
    let stock = init(folder.path(), "stock", &[]);
    let (_, prepared) = prepare(&ours, &whole).expect("taken");
    let prepared = prepared.expect("something new");
    support::apply_prepared(&ours, &prepared);
    assert_eq!(prepared.summary.phases.len(), 21);
    assert!(prepared.summary.phases.iter().all(|(_, before, now)| before.is_none() && *now == Phase::Draft));
    hg(&stock, &["unbundle", "-q", whole.to_str().expect("UTF-8")]);
    assert_same(&ours, &stock);
    let roots = |repository: &Path| fs::read(repository.join(".hg/store/phaseroots")).expect("readable");
    assert_eq!(roots(&ours), roots(&stock));

    // Then one branch of it is published, by its head alone.
    hg(&stock, &["phase", "-q", "-p", "-r", "side"]);
    let opened = Repository::open(&ours).expect("opened");
    let snapshot = opened.snapshot(opened.current_state().expect("read")).expect("opened");
    let mut preparation = support::preparation(&snapshot);
    let side = String::from_utf8(hg(&stock, &["log", "-r", "side", "-T", "{node}"])).expect("ASCII");
    let side = preparation.changelog().revision_of(&Node::from_hex(side.as_bytes()).expect("hex")).expect("there");
    assert!(preparation.advance_phases(Phase::Public, &[side]).expect("moved"));
    assert!(!preparation.advance_phases(Phase::Draft, &[side]).expect("stays"));
    assert_eq!(preparation.phase(side).expect("known"), Phase::Public);
    let prepared = preparation.finish().expect("finished").expect("something new");
    assert_eq!(prepared.summary.phases.len(), 5);
    support::apply_prepared(&ours, &prepared);
    assert_same(&ours, &stock);
    assert_eq!(roots(&ours), roots(&stock));

    // A changeset that someone made secret on the server is pushed: it is no secret, then.
    hg(&ours, &["phase", "-q", "-s", "-f", "-r", "18"]);
    let (_, prepared) = prepare(&ours, &whole).expect("taken");
    let prepared = prepared.expect("a phase");
    let phases: Vec<_> = prepared.summary.phases.iter().map(|(_, before, now)| (*before, *now)).collect();
    assert_eq!(phases, [(Some(Phase::Secret), Phase::Draft)]);
    support::apply_prepared(&ours, &prepared);
    assert_eq!(roots(&ours), roots(&stock));
}

#[test]
fn bookmarks_markers_and_configuration_are_written_as_stock_reads_them() {
    if !has_hg() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let source = odd_repository();
    let whole = bundle_of(&folder, source, "whole.hg", "none-v2", &["--all"]);
    for config in [&[][..], &["format.bookmarks-in-store=yes"]] {
        let ours = init(folder.path(), &format!("ours-{}", config.len()), config);
        push(&ours, &whole);
        let opened = Repository::open(&ours).expect("opened");
        let snapshot = opened.snapshot(opened.current_state().expect("read")).expect("opened");
        let mut preparation = support::preparation(&snapshot);
        let node = |number| preparation.changelog().node(preparation.changelog().revision(number).expect("there"));
        let (one, two) = (node(1), node(2));
        for (name, node) in
            [("two", Some(two)), ("å", Some(one)), ("gone", Some(one)), ("gone", None), ("two", Some(one))]
        {
            preparation.set_bookmark(name.as_bytes(), node).expect("set");
        }
        assert_eq!(preparation.bookmark(b"two").expect("read"), Some(one));
        assert_eq!(preparation.bookmark(b"gone").expect("read"), None);
        for name in [&b""[..], b"a\nb", b"\0", b" a", b"\xff"] {
            assert!(preparation.set_bookmark(name, Some(one)).expect_err("refused").is_refusal());
        }
        assert!(preparation.set_bookmark(b"x", Some(Node::new([7; 20]))).expect_err("unknown").is_refusal());
        let marker = hg_store::Marker {
            predecessor: Node::new([7; 20]),
            successors: vec![one],
            flags: 0,
            metadata: vec![(b"user".to_vec(), b"someone".to_vec())],
            time: 1_700_000_000.5,
            offset: -3600,
            parents: None,
        };
        assert_eq!(preparation.add_markers(&[marker.clone(), marker.clone()]).expect("added"), 1);
        assert_eq!(preparation.add_markers(std::slice::from_ref(&marker)).expect("added"), 0);
        preparation.replace_hgrc(b"[web]\nname = x\n".to_vec());
        let prepared = preparation.finish().expect("finished").expect("something new");
        assert_eq!(prepared.summary.markers, 1);
        assert_eq!(
            prepared.summary.bookmarks,
            [(b"two".to_vec(), None, Some(one)), ("å".as_bytes().to_vec(), None, Some(one))]
        );
        support::apply_prepared(&ours, &prepared);
        let bookmarks = hg(&ours, &["--encoding", "utf-8", "bookmarks", "-T", "{bookmark} {rev}\n"]);
        assert_eq!(String::from_utf8_lossy(&bookmarks), "two 1\nå 1\n");
        assert_eq!(hg(&ours, &["config", "web.name"]), b"x\n");
        let markers = hg(&ours, &["debugobsolete"]);
        assert!(String::from_utf8_lossy(&markers).starts_with(&format!("{} {one} 0 ", "07".repeat(20))));
        hg(&ours, &["verify", "-q"]);

        // The same once more: all is known, one marker is new.
        let snapshot = opened.snapshot(opened.current_state().expect("read")).expect("opened");
        let mut preparation = support::preparation(&snapshot);
        preparation.set_bookmark(b"two", Some(one)).expect("set");
        preparation.replace_hgrc(b"[web]\nname = x\n".to_vec());
        assert_eq!(preparation.add_markers(std::slice::from_ref(&marker)).expect("added"), 0);
        assert!(preparation.finish().expect("finished").is_none());
        let mut preparation = support::preparation(&snapshot);
        let other = hg_store::Marker { successors: vec![], parents: Some(vec![two]), ..marker };
        assert_eq!(preparation.add_markers(&[other]).expect("added"), 1);
        support::apply_prepared(&ours, &preparation.finish().expect("finished").expect("something new"));
        assert_eq!(hg(&ours, &["debugobsolete"]).split(|&byte| byte == b'\n').count(), 3);
    }
}
