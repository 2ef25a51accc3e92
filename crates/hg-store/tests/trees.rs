//! Pushes to repositories with tree manifests, beside the same bundles taken by stock Mercurial.

mod support;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use support::{bundle_of, has_hg, hg, init, push, sorted_lines, store_bytes};

const TREES: &[&str] = &["experimental.treemanifest=1"];

fn write(repository: &Path, name: &[u8], content: &[u8]) {
    let file = repository.join(OsStr::from_bytes(name));
    fs::create_dir_all(file.parent().expect("a parent")).expect("made");
    fs::write(file, content).expect("written");
}

fn commit(repository: &Path, message: &str) {
    hg(repository, &["commit", "-qAm", message, "-d", "1700000000 3600"]);
}

/// A history with what is odd in trees: folders with names that the store encodes, cuts or could take for its own, deep ones, a file
/// that becomes a folder and the other way round, a folder that goes, moves and comes back, merges, revlogs of folders that are split,
/// the null manifest.
fn odd_repository(folder: &Path) -> PathBuf {
    let path = init(folder, "odd", TREES);
    hg(&path, &["commit", "-qm", "nothing", "-d", "0 0", "--config", "ui.allowemptycommit=yes"]);
    let long = format!("{}/{}/file", "long-folder-name-".repeat(6), "Long-Folder-Name-".repeat(8));
    for name in [
        &b"top"[..],
        b"UPPER/lower_case/File",
        b"dir.i/dir.d/x.hg/y",
        b"aux/con.txt/nul",
        b"odd \xff\xfe/by~te\\s:*?/a|b",
        b".hidden/ blank / trailing. /x",
        b"data/meta/00manifest.i/00changelog.i",
        b"nested/.hg/keep",
        b"a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p",
        b"a-b/c",
        b"a.b",
        long.as_bytes(),
    ] {
        write(&path, name, name);
    }
    commit(&path, "odd names");
    hg(&path, &["move", "-q", "a", "moved"]);
    hg(&path, &["copy", "-q", "UPPER", "copied"]);
    commit(&path, "a folder moves, and one is copied");
    hg(&path, &["remove", "-q", "top", "data"]);
    write(&path, b"top/is/now/a/folder", b"1\n");
    write(&path, b"data", b"now a file\n");
    write(&path, b"moved/b/both", b"1\n2\n3\n4\n5\n");
    commit(&path, "a file becomes a folder, and a folder a file");
    hg(&path, &["branch", "-q", "side"]);
    write(&path, b"aux/side", b"s");
    commit(&path, "side");
    write(&path, b"moved/b/both", b"one\n2\n3\n4\n5\n");
    commit(&path, "side again");
    hg(&path, &["update", "-q", "-r", "3"]);
    write(&path, b"a/b/c/back", b"again\n");
    commit(&path, "default, the folder is back");
    write(&path, b"moved/b/both", b"1\n2\n3\n4\nfive\n");
    commit(&path, "default again");
    hg(&path, &["merge", "-q", "side", "--tool", ":merge"]);
    commit(&path, "merge");
    for n in 0..10u32 {
        for file in 0..40 {
            if n == 0 || (file * 7 + n) % 11 == 0 {
                write(&path, format!("large/{}/{n}-{file}", file % 3).as_bytes(), &n.to_be_bytes());
            }
        }
        for file in 0..140u16 {
            // Long names that do not compress, so that the manifest's revlog is split on the way.
            let name = |salt: u8| blake3::hash(&[&[salt, n as u8], &file.to_be_bytes()[..]].concat()).to_hex();
            write(&path, format!("large/{}{}{}", name(0), name(1), name(2)).as_bytes(), b"");
        }
        commit(&path, &format!("grow {n}"));
    }
    hg(&path, &["remove", "-q", "large"]);
    commit(&path, "a folder goes");
    hg(&path, &["revert", "-q", "-r", ".^", "--all"]);
    commit(&path, "and is back as it was");
    hg(&path, &["update", "-q", "null"]);
    write(&path, b"other/root", b"unrelated");
    commit(&path, "second root");
    hg(&path, &["remove", "other"]);
    commit(&path, "no file left");
    path
}

/// A history of flat manifests to which trees were committed, on one branch while another stayed flat, and one that merged both.
fn mixed_repository(folder: &Path) -> PathBuf {
    let flat = init(folder, "flat", &[]);
    let grow = |repository: &Path, from: u32, to: u32| {
        for n in from..to {
            for file in 0..10 {
                write(repository, format!("d{}/e/{}-{file}", file % 3, n % 2).as_bytes(), &n.to_be_bytes());
            }
            write(repository, b"top", &n.to_be_bytes());
            commit(repository, &format!("grow {n}"));
        }
    };
    grow(&flat, 0, 6);
    hg(&flat, &["remove", "-q", "d0", "d1", "d2"]);
    commit(&flat, "no folder left");
    hg(&flat, &["revert", "-q", "-r", ".^", "--all"]);
    commit(&flat, "folders are back");
    let path = init(folder, "mixed", TREES);
    hg(&path, &["pull", "-qu", "../flat"]);
    grow(&path, 10, 14);
    grow(&flat, 20, 22);
    hg(&path, &["pull", "-q", "../flat"]);
    hg(&path, &["merge", "-q", "-r", "tip", "--tool", ":local"]);
    commit(&path, "a tree of a tree and a flat one");
    hg(&path, &["update", "-q", "-r", "desc('grow 21')"]);
    write(&path, b"d0/e/new", b"1");
    commit(&path, "a tree on the flat branch");
    hg(&path, &["merge", "-q", "-r", "desc('a tree of')", "--tool", ":other"]);
    commit(&path, "merged again");
    hg(&path, &["update", "-q", "null"]);
    write(&path, b"second/root", b"1");
    commit(&path, "second root");
    path
}

/// Two repositories hold the same history, neither stock nor we find anything wrong with the first, and it is no larger.
fn assert_same(ours: &Path, stock: &Path) {
    hg(ours, &["verify", "-q"]);
    let opened = hg_store::Repository::open(ours).expect("opened");
    let snapshot = opened.snapshot(opened.current_state().expect("read")).expect("read");
    let report = hg_store::verify(&snapshot).expect("verified");
    assert!(report.is_clean(), "{report:?}");
    let template = "{rev} {node} {p1node} {p2node} {manifest} {branch} {files % '{file}\\0'} {desc}\\n";
    let log = |repository| String::from_utf8_lossy(&hg(repository, &["log", "-T", template])).into_owned();
    assert_eq!(log(ours), log(stock));
    let heads = String::from_utf8(hg(stock, &["log", "-r", "head()", "-T", "{node}\n"])).expect("ASCII");
    for head in heads.lines() {
        let manifest = |repository| hg(repository, &["manifest", "--debug", "-r", head]);
        assert_eq!(manifest(ours), manifest(stock));
    }
    // A revlog may be split a push earlier.
    let without_data = |repository: &Path| {
        let lines = sorted_lines(&repository.join(".hg/store/fncache"));
        lines.into_iter().filter(|line| !line.ends_with(b".d")).collect::<Vec<_>>()
    };
    assert_eq!(without_data(ours), without_data(stock));
    let indexes = |repository: &Path| {
        let files = hg_store::digest::state_files(&repository.join(".hg")).expect("listed");
        files.into_iter().filter(|name| name.ends_with(b".i")).collect::<Vec<_>>()
    };
    assert_eq!(indexes(ours), indexes(stock));
    let links = |repository: &Path| {
        let opened = hg_store::Repository::open(repository).expect("opened");
        let snapshot = opened.snapshot(opened.current_state().expect("read")).expect("read");
        let mut links = Vec::new();
        let fncache = snapshot.fncache().expect("read");
        for folder in fncache.paths().filter_map(|path| path.strip_prefix(b"meta/")?.strip_suffix(b"00manifest.i")) {
            let log = snapshot.tree_manifest(folder).expect("read").expect("there");
            for revision in log.revisions() {
                let (node, link) = (log.node(revision), log.link(revision));
                links.push((folder.to_vec(), node, link, log.parents(revision)));
            }
        }
        links.sort();
        links
    };
    assert_eq!(links(ours), links(stock));
    let (ours, stock) = (store_bytes(&ours.join(".hg/store")), store_bytes(&stock.join(".hg/store")));
    println!("{ours} bytes, stock has {stock}");
    assert!(ours * 100 <= stock * 101 + 100_000, "{ours} bytes, stock has {stock}");
}

fn both(ours: &Path, stock: &Path, bundle: &Path) {
    hg(stock, &["unbundle", "-q", bundle.to_str().expect("UTF-8")]);
    push(ours, bundle);
}

#[test]
fn history_is_pushed_whole_and_in_pieces() {
    push_in_pieces(odd_repository, |stock| {
        let split = stock.join(".hg/store/meta/large/00manifest.d");
        assert!(split.exists(), "the manifest of a folder is split");
    });
}

#[test]
fn history_with_flat_manifests_is_pushed_whole_and_in_pieces() {
    push_in_pieces(mixed_repository, |stock| {
        let top = |revision| String::from_utf8(hg(stock, &["debugdata", "-m", revision])).expect("UTF-8");
        assert!(top("0").contains("d0/e/0-0\0"), "the first manifest is flat");
        assert!(top("10").contains("t\n"), "one of the trees is one");
    });
}

/// Pushes everything to stock and to ours, into repositories of several formats; `check` looks at stock's, whether it has what is meant to be compared.
fn push_in_pieces(make: fn(&Path) -> PathBuf, check: impl Fn(&Path)) {
    if !has_hg() {
        return;
    }
    let scratch = tempfile::tempdir().expect("a folder");
    let source = &make(scratch.path());
    let last: usize = String::from_utf8(hg(source, &["log", "-r", "tip", "-T", "{rev}"]))
        .expect("a number")
        .parse()
        .expect("a number");
    for (pieces, config) in [
        (1, &[][..]),
        (3, &["format.dotencode=no", "format.sparse-revlog=no"]),
        (2, &["format.usegeneraldelta=no", "format.sparse-revlog=no", "format.usefncache=no"]),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let config = [TREES, config].concat();
        let (ours, stock) = (init(folder.path(), "ours", &config), init(folder.path(), "stock", &config));
        for piece in 1..=pieces {
            let until = (last * piece / pieces).to_string();
            let known = format!("null + :{}", last * (piece - 1) / pieces);
            let known = if piece == 1 { "null".to_owned() } else { known };
            let bundle = bundle_of(
                &folder,
                source,
                &format!("{piece}.hg"),
                "none-v3",
                &["-r", &format!(":{until}"), "--base", &known],
            );
            both(&ours, &stock, &bundle);
        }
        check(&stock);
        if config.len() < 4 {
            assert_same(&ours, &stock);
        } else {
            hg(&ours, &["verify", "-q"]);
        }
        // What is known already changes nothing.
        let all = bundle_of(&folder, source, "all.hg", "none-v3", &["-a"]);
        let (_, prepared) = support::prepare(&ours, &all).expect("taken");
        assert!(prepared.is_none());
    }
}
