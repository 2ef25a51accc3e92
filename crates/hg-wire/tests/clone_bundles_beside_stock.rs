//! Clone bundles over SSH, beside stock: the same manifest, the same bytes, the same capabilities.

use hg_wire::ssh;
use hg_wire::standalone::StandaloneHost;
use std::fs;
use std::path::Path;
use support::Hg;

#[allow(dead_code, reason = "other tests use all of it")]
mod support;

const MANIFEST: &str = "https://e.org/full.hg BUNDLESPEC=zstd-v2 REQUIRESNI=true\n\
    peer-bundle-cache://full.hg BUNDLESPEC=none-v2\n\
    https://e.org/stream.hg BUNDLESPEC=none-v2%3Bstream%3Dv2%3Bstore-fingerprint%3D0123abcd\n\
    http://e.org/plain.hg\n";

/// What our server says to a session's input, and to its user.
fn ours(root: &Path, input: &[u8]) -> (Vec<u8>, String) {
    let mut host = StandaloneHost::open(root, |_| ()).expect("opened");
    let (mut output, mut messages) = (Vec::new(), Vec::new());
    ssh::serve(input, &mut output, &mut messages, &mut host).expect("served");
    (output, String::from_utf8(messages).expect("UTF-8"))
}

fn repository(hg: &Hg) -> (tempfile::TempDir, std::path::PathBuf) {
    let scratch = tempfile::tempdir().expect("a folder");
    let root = scratch.path().join("r");
    hg.run(scratch.path(), &["init", "r"]);
    fs::write(root.join("file"), "text\n").expect("written");
    hg.run(&root, &["commit", "-A", "-m", "one"]);
    fs::write(root.join(".hg/hgrc"), "[extensions]\nclonebundles =\n").expect("written");
    fs::create_dir(root.join(".hg/bundle-cache")).expect("made");
    hg.run(&root, &["bundle", "--all", "-t", "none-v2", ".hg/bundle-cache/full.hg"]);
    (scratch, root)
}

fn words(output: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(output).into_owned();
    text.split_whitespace().filter(|word| word.starts_with("clonebundles")).map(str::to_owned).collect()
}

#[test]
fn manifest_and_bundles_are_sent_as_stock_sends_them() {
    let Some(hg) = Hg::find() else { return };
    let (_scratch, root) = repository(&hg);
    for (manifest, expected) in [(None, 0), (Some(""), 2), (Some(MANIFEST), 2)] {
        if let Some(manifest) = manifest {
            fs::write(root.join(".hg/clonebundles.manifest"), manifest).expect("written");
        }
        let input = b"clonebundles\nclonebundles_manifest\n* 1\nstore_fingerprint 1\n1clonebundles_manifest\n* 0\n";
        let told = ours(&root, input);
        assert_eq!(told.0.escape_ascii().to_string(), hg.answers(&root, input).escape_ascii().to_string());
        assert_eq!(told.1, "");
        let capabilities = words(&ours(&root, b"capabilities\n").0);
        assert_eq!(capabilities, words(&hg.answers(&root, b"capabilities\n")));
        assert_eq!(capabilities.len(), expected, "{manifest:?}");
    }
    let input = b"get_cached_bundle_inline\npath 7\nfull.hg";
    let sent = ours(&root, input).0;
    assert_eq!(sent, hg.answers(&root, input));
    assert!(sent.ends_with(&fs::read(root.join(".hg/bundle-cache/full.hg")).expect("read")));
    // Switched off, as for stock.
    fs::write(root.join(".hg/hgrc"), "[extensions]\nclonebundles = !\n").expect("written");
    assert!(words(&ours(&root, b"capabilities\n").0).is_empty());
    assert!(words(&hg.answers(&root, b"capabilities\n")).is_empty());
}

#[test]
fn nothing_but_a_bundle_is_ever_sent() {
    let Some(hg) = Hg::find() else { return };
    let (_scratch, root) = repository(&hg);
    std::os::unix::fs::symlink("../hgrc", root.join(".hg/bundle-cache/link")).expect("made");
    fs::create_dir(root.join(".hg/bundle-cache/folder")).expect("made");
    for (name, said) in [
        ("../hgrc", "refused: not the name of a clone bundle: '../hgrc', in the request"),
        ("", "refused: not the name of a clone bundle: ''"),
        (".", "refused: not the name of a clone bundle: '.'"),
        ("folder/x", "refused: not the name of a clone bundle: 'folder/x'"),
        ("absent.hg", "refused: there is no clone bundle 'absent.hg', on this server. Clone again"),
        ("link", "refused: the repository is damaged, on this server"),
        ("folder", "refused: the repository is damaged, on this server"),
    ] {
        let input = format!("get_cached_bundle_inline\npath {}\n{name}heads\n", name.len());
        let (output, messages) = ours(&root, input.as_bytes());
        assert_eq!(output, b"", "{name}");
        assert!(messages.starts_with(said), "{name}: {messages}");
    }
    let bad = "file:///etc/passwd\nhttps://e.org/good\nhttps://e.org/\u{1b}[2J\nhttps://e.org/a\rhttps://e.org/b\n";
    fs::write(root.join(".hg/clonebundles.manifest"), bad).expect("written");
    assert_eq!(ours(&root, b"clonebundles_manifest\n* 0\n").0, b"19\nhttps://e.org/good\n");
    fs::write(root.join(".hg/clonebundles.manifest"), "https://e.org/good\n".repeat(100_000)).expect("written");
    assert_eq!(ours(&root, b"clonebundles_manifest\n* 0\n").0, b"0\n", "more than a manifest may have");
}
