//! Stream clones: file for file and byte for byte what stock sends of the same store, also while the store goes on.
//!
//! Needs `hg` in the PATH or in `.venv/bin`; without it the test says so and passes.

use hg_store::{Repository, Snapshot, StoreFiles};
use hg_wire::arguments::Arguments;
use hg_wire::capabilities::{Transport, capabilities};
use hg_wire::client::Client;
use hg_wire::command::CommandName;
use hg_wire::commands::{Answer, answer};
use hg_wire::{CommandError, stream_clone};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use support::Hg;

mod support;

/// Content by path, as it is on the wire.
type Files = BTreeMap<Vec<u8>, Vec<u8>>;

fn snapshot(root: &Path) -> Arc<Snapshot> {
    let repository = Repository::open(root).expect("opened");
    Arc::new(repository.snapshot(repository.current_state().expect("a state")).expect("a snapshot"))
}

/// Takes a number in LEB128 off the beginning.
fn number(bytes: &mut &[u8]) -> usize {
    let (mut number, mut shift) = (0, 0);
    loop {
        let (first, rest) = bytes.split_first().expect("a number");
        *bytes = rest;
        number |= usize::from(first & 0x7f) << shift;
        shift += 7;
        if first & 0x80 == 0 {
            return number;
        }
    }
}

fn take<'b>(bytes: &mut &'b [u8], count: usize) -> &'b [u8] {
    let (taken, rest) = bytes.split_at(count);
    *bytes = rest;
    taken
}

/// Whether it is a map from nodes to revisions: a cache, though it lies in the store, which a client makes anew.
fn is_node_map(path: &[u8]) -> bool {
    path.ends_with(b".n") || path.ends_with(b".nd")
}

/// Takes one file of versions 2 and 3; caches, which need not be there, are left out.
fn file(payload: &mut &[u8], files: &mut Files) {
    let source = take(payload, 1)[0];
    let (path, content) = (number(payload), number(payload));
    let (path, content) = (take(payload, path).to_vec(), take(payload, content).to_vec());
    if source == b's' && !is_node_map(&path) {
        assert!(files.insert(path, content).is_none());
    }
}

/// The files of the first part of a bundle, and its header's parameters as text.
fn parts(bundle: &[u8]) -> (String, Files) {
    let mut rest = bundle.strip_prefix(b"HG20\0\0\0\0").expect("a bundle2");
    let word = |rest: &mut &[u8]| u32::from_be_bytes(take(rest, 4).try_into().expect("four")) as usize;
    let bytes = word(&mut rest);
    let header = String::from_utf8_lossy(take(&mut rest, bytes)).into_owned();
    let mut payload = Vec::new();
    loop {
        match word(&mut rest) {
            0 => break,
            bytes => payload.extend_from_slice(take(&mut rest, bytes)),
        }
    }
    let (mut payload, mut files) = (payload.as_slice(), Files::new());
    if header.to_lowercase().contains("stream3") {
        for _ in 0..number(&mut payload) {
            for _ in 0..number(&mut payload) {
                file(&mut payload, &mut files);
            }
        }
    }
    while !payload.is_empty() {
        file(&mut payload, &mut files);
    }
    (header, files)
}

fn streamed(snapshot: &Arc<Snapshot>, versions: &str) -> Result<Vec<u8>, CommandError> {
    let mut arguments = Arguments::default();
    let capabilities = format!("HG20,bundle2=HG20%0Aobsmarkers%3DV0%2CV1%0Astream%3D{versions}");
    for (name, value) in [("stream", "1"), ("cg", "0"), ("bundlecaps", &capabilities)] {
        arguments.add(name, value).expect("within bounds");
    }
    written(answer(CommandName::Getbundle, &arguments, snapshot, &Client::new(Transport::Http))?)
}

fn written(answer: Answer) -> Result<Vec<u8>, CommandError> {
    let Answer::Stream(stream, _) = answer else { panic!("a stream") };
    let mut output = Vec::new();
    stream(&mut output)?;
    Ok(output)
}

/// Odd names, long names, revlogs that are inline and others that are split.
fn make_repository(hg: &Hg, root: &Path, format: &[&str]) {
    hg.init(root, format);
    let write = |name: &str, text: &[u8]| {
        let path = root.join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, text).expect("written");
    };
    let noise: Vec<u8> = (0..60_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()).collect();
    let long = format!("{}/{}", "d".repeat(100), "F".repeat(120));
    for step in 0..5usize {
        write("Odd ~.TXT", &[step as u8]);
        write("dir.i/x.d/aux.hg", b"same");
        write("empty", b"");
        write("large", &noise[step..]);
        write(&long, &[b'x'; 9][step..]);
        hg.run(root, &["commit", "-qA", "-m", &step.to_string()]);
    }
}

/// Makes a repository of this format in the folder, and compares what is sent of it.
fn compare(hg: &Hg, folder: &Path, format: &[&str]) {
    let root = folder.join("source");
    make_repository(hg, &root, format);
    fs::write(root.join(".hg/hgrc"), "[phases]\npublish = no\n[experimental]\nstream-v3 = yes\n").expect("written");
    hg.run(&root, &["phase", "-p", "-r", "2"]);
    let now = snapshot(&root);
    let bundled = |kind: &str, name: &str| {
        let output = folder.join(name);
        hg.run(&root, &["bundle", "-q", "-a", "--type", kind, output.to_str().expect("UTF-8")]);
        fs::read(output).expect("made")
    };
    let (expected_header, expected) = parts(&bundled("none-streamv2", "v2"));
    assert!(expected.contains_key(b"phaseroots".as_slice()));
    assert!(expected.contains_key(b"data/large.d".as_slice()), "a split one");
    let (header, files) = parts(&streamed(&now, "v2").expect("sent"));
    assert_eq!(files, expected);
    let requirements = |header: &str| header[header.find("requirements").expect("there") + 12..].to_owned();
    assert_eq!(requirements(&header), requirements(&expected_header));
    let (header, files) = parts(&streamed(&now, "v2%2Cv3-exp").expect("sent"));
    assert!(header.contains("STREAM3-EXP"), "{header}");
    assert_eq!(files, expected);

    // Version 1, against stock's file of it behind its own header.
    let output = folder.join("v1");
    hg.run(&root, &["debugcreatestreamclonebundle", output.to_str().expect("UTF-8")]);
    let stock = fs::read(output).expect("made");
    let bytes = usize::from(u16::from_be_bytes([stock[22], stock[23]]));
    let entries = |mut bytes: &[u8]| {
        let mut files = Files::new();
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let line = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let (path, length) = line.split_once('\0').expect("path and length");
            bytes = &bytes[end + 1..];
            let content = take(&mut bytes, length.parse().expect("a length")).to_vec();
            if !is_node_map(path.as_bytes()) {
                files.insert(path.as_bytes().to_vec(), content);
            }
        }
        files
    };
    let ours = written(
        answer(CommandName::StreamOut, &Arguments::default(), &now, &Client::new(Transport::Http)).expect("an answer"),
    )
    .expect("sent");
    let head = ours.splitn(3, |byte| *byte == b'\n').collect::<Vec<_>>();
    assert_eq!(head[0], b"0");
    let (ours, stock) = (entries(head[2]), entries(&stock[24 + bytes..]));
    assert_eq!(head[1], format!("{} {}", stock.len(), stock.values().map(Vec::len).sum::<usize>()).as_bytes());
    assert_eq!(ours, stock);
}

#[test]
fn the_files_are_those_that_stock_sends() {
    let Some(hg) = Hg::find() else { return };
    for format in support::FORMATS {
        let folder = tempfile::tempdir().expect("a folder");
        compare(&hg, folder.path(), format);
    }
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("source");
    compare(&hg, folder.path(), &[]);

    // Markers go along where the client takes them. What a strip leaves is a marker, and nothing hidden.
    fs::write(root.join("Odd ~.TXT"), "amended").expect("written");
    hg.run(&root, &["commit", "-q", "--amend", "-m", "a marker"]);
    hg.run(&root, &["--config", "extensions.strip=", "strip", "-q", "--no-backup", "--hidden", "-r", "hidden()"]);
    let (_, files) = parts(&streamed(&snapshot(&root), "v2").expect("sent"));
    assert_eq!(files[b"obsstore".as_slice()], fs::read(root.join(".hg/store/obsstore")).expect("there"));
    let mut arguments = Arguments::default();
    for (name, value) in [("stream", "1"), ("cg", "0"), ("bundlecaps", "HG20,bundle2=HG20%0Astream%3Dv2")] {
        arguments.add(name, value).expect("within bounds");
    }
    let refused = answer(CommandName::Getbundle, &arguments, &snapshot(&root), &Client::new(Transport::Http));
    assert!(matches!(refused, Err(CommandError::Refused(_))));
}

#[test]
fn what_is_listed_is_sent_whatever_is_written_meanwhile() {
    let Some(hg) = Hg::find() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("source");
    make_repository(&hg, &root, &[]);
    let before = parts(&streamed(&snapshot(&root), "v2").expect("sent")).1;
    let files = StoreFiles::of(snapshot(&root), true).expect("listed");
    // New files, appended ones, and revlogs that outgrow the inline form: of a file, and the changelog.
    let noise: Vec<u8> = (0..60_000u32).flat_map(|n| n.wrapping_mul(40_503).to_be_bytes()).collect();
    for (n, name) in ["Odd ~.TXT", "new", "large"].into_iter().enumerate() {
        fs::write(root.join(name), &noise[n..]).expect("written");
        let message: String = noise.iter().map(|byte| char::from(b'a' + byte % 26)).collect();
        hg.run(&root, &["commit", "-qA", "-m", &message[..110_000]]);
    }
    assert!(root.join(".hg/store/data/_odd ~.t_x_t.d").exists() || root.join(".hg/store/00changelog.d").exists());
    let mut reader = files.reader();
    let mut sent = Files::new();
    for file in files.iter() {
        let mut content = Vec::new();
        reader.write::<CommandError>(file, &mut content).expect("as it was");
        assert_eq!(content.len() as u64, file.bytes);
        sent.insert(file.path.to_vec(), content);
    }
    assert_eq!(sent, before);
}

#[test]
fn what_would_be_wrong_is_not_sent() {
    let Some(hg) = Hg::find() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("source");
    make_repository(&hg, &root, &[]);
    let says = |root: &Path| capabilities(&snapshot(root), Transport::Http).contains("stream");
    assert!(says(&root));

    // A client without a word for the markers' format, or for any layout.
    assert!(streamed(&snapshot(&root), "v9").is_err());

    // A line of the store's list is lost, or one too many.
    let list = root.join(".hg/store/fncache");
    let whole = fs::read_to_string(&list).expect("read");
    for (list_is, lost) in [(whole.replace("data/large.i\n", ""), "lost"), (whole.clone() + "data/none.i\n", "more")] {
        fs::write(&list, list_is).expect("written");
        let error = streamed(&snapshot(&root), "v2").expect_err(lost);
        assert!(error.to_string().contains("fncache"), "{lost}: {error}");
        assert!(error.client_text().contains("damaged"), "{lost}: {}", error.client_text());
        let old =
            answer(CommandName::StreamOut, &Arguments::default(), &snapshot(&root), &Client::new(Transport::Http));
        assert!(old.is_err(), "{lost}");
    }
    fs::write(&list, whole).expect("written");

    // Secret or hidden changesets can't be cut out of a file; nor where the settings say no.
    let forbidden = |root: &Path| {
        assert!(!says(root));
        assert!(matches!(streamed(&snapshot(root), "v2"), Err(CommandError::Refused(_))));
        let old = answer(CommandName::StreamOut, &Arguments::default(), &snapshot(root), &Client::new(Transport::Ssh));
        assert_eq!(written(old.expect("an answer")).expect("sent"), stream_clone::FORBIDDEN);
    };
    hg.run(&root, &["phase", "-fs", "-r", "tip"]);
    forbidden(&root);
    hg.run(&root, &["phase", "-d", "-r", "tip"]);
    assert!(says(&root));
    fs::write(root.join("Odd ~.TXT"), "amended").expect("written");
    hg.run(&root, &["commit", "-q", "--amend", "-m", "amended"]);
    forbidden(&root);
    fs::write(root.join(".hg/store/obsstore"), "").expect("written");
    assert!(says(&root));
    fs::write(root.join(".hg/hgrc"), "[server]\nuncompressed = no\n").expect("written");
    forbidden(&root);
}
