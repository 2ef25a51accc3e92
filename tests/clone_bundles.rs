//! Clone bundles in a fleet: made by a command, brought to every server by the log, and what stock clients clone from.

use crate::support::fleet::Fleet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;

/// Sends these bytes to whoever asks for anything, until the test ends; returns the address.
fn file_server(content: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut request = BufReader::new(stream.try_clone().expect("a descriptor")).lines();
            while request.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
            let head = format!("HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n", content.len());
            drop(stream.write_all(&[head.as_bytes(), &content].concat()));
        }
    });
    format!("http://{address}/full.hg")
}

#[test]
fn clients_clone_from_bundles_that_the_log_brought_to_every_server() {
    let fleet = Fleet::start();
    let bundle = |arguments: &[&str]| fleet.hgfleet(&[&["repo", "clone-bundle"], arguments].concat());
    fleet.hgfleet(&["repo", "create", "a"]).ok();
    bundle(&["add", "a"]).refused();
    let work = fleet.init("work");
    work.commit("file", "1\n", "first");
    work.commit("dir/other", "2\n".repeat(5_000_000 / 2), "large");
    work.push("a").ok();
    let clones = |kind: &str, doors: &[&str], applied: &[&str]| {
        let expected = work.log();
        for door in doors {
            let url = if *door == "ssh" { fleet.ssh_url("a") } else { fleet.https_url("a") };
            let into = format!("{kind}-{door}");
            let said = fleet.hg(&["clone", &url, &into]).ok();
            for text in applied {
                assert!(said.out.contains(text), "{kind} {door}: {said:#?}");
            }
            if applied.is_empty() {
                assert!(!said.out.contains("clone bundle"), "{said:#?}");
            }
            assert_eq!(fleet.working_copy(&into).log(), expected, "{kind} {door}");
        }
    };
    for kind in ["zstd-v2", "none-v2", "gzip-v2", "none-streamv2"] {
        let said = bundle(&["add", "a", "--type", kind]).ok();
        assert!(said.out.starts_with("added a clone bundle to a, stored as "), "{said:#?}");
        fleet.assert_one_store("a");
        let listed = bundle(&["list", "a"]).ok().out;
        assert!(listed.starts_with(&format!("peer-bundle-cache://{kind}-2_revs-")), "{listed}");
        let name = listed.split(' ').next().expect("a URL").trim_start_matches("peer-bundle-cache://").to_owned();
        // What is made is what `hg` itself takes for such a bundle.
        let file = fleet.data().join("master/repos/a/.hg/bundle-cache").join(&name);
        let spec = fleet.hg(&["debugbundle", "--spec", file.to_str().expect("UTF-8")]).ok().out;
        let expected = if kind == "none-streamv2" { "none-v2;stream=v2;requirements%3D" } else { kind };
        assert!(spec.starts_with(expected), "{spec}");
        // A client takes a bundle of the store's files only where it wants a stream.
        if kind == "none-streamv2" {
            let said = fleet.hg(&["clone", "--stream", &fleet.https_url("a"), "streamed"]).ok();
            assert!(said.out.contains("applying clone bundle from peer-bundle-cache://none-streamv2-"), "{said:#?}");
            assert_eq!(fleet.working_copy("streamed").log(), work.log());
        } else {
            let doors: &[&str] = if kind == "zstd-v2" { &["https", "ssh"] } else { &["https"] };
            let applied = format!("applying clone bundle from peer-bundle-cache://{name}");
            clones(kind, doors, &[&applied, "finished applying"]);
        }
        bundle(&["add", "a", "--type", kind]).refused();
        bundle(&["remove", "a", &name]).ok();
        assert!(!file.exists());
    }
    clones("none", &["https"], &[]);

    // What was pushed since is pulled behind the bundle, and a newer bundle takes the place of the old one.
    bundle(&["add", "a"]).ok();
    work.commit("file", "3\n", "third");
    work.push("a").ok();
    clones("older", &["ssh"], &["applying clone bundle", "added 1 changesets"]);
    bundle(&["add", "a", "--replace"]).ok();
    let listed = bundle(&["list", "a"]).ok().out;
    assert!(listed.lines().count() == 1 && listed.contains("/zstd-v2-3_revs-"), "{listed}");
    fleet.assert_one_store("a");

    // One that lies elsewhere.
    let mut full = Vec::new();
    for entry in fs::read_dir(fleet.data().join("master/repos/a/.hg/bundle-cache")).expect("a folder") {
        full = fs::read(entry.expect("an entry").path()).expect("read");
    }
    let url = file_server(full);
    bundle(&["remove", "a", listed.split(' ').next().expect("a URL")]).ok();
    bundle(&["add", "a", "--url", &url, "--attribute", "REQUIRESNI=true"]).ok();
    assert_eq!(bundle(&["list", "a"]).ok().out, format!("{url} BUNDLESPEC=zstd-v2 REQUIRESNI=true\n"));
    clones("elsewhere", &["https"], &[&format!("applying clone bundle from {url}")]);
    for (bad, says) in [("file:///etc/passwd", "its URL begins with none of"), ("https://e.org/a b", "no KEY=VALUE")] {
        let said = bundle(&["add", "a", "--url", bad]).refused();
        assert!(said.err.contains(says), "{said:#?}");
    }
    bundle(&["add", "a", "--type", "zstd-v9"]).refused();
    bundle(&["remove", "a", "absent"]).refused();
    bundle(&["remove", "a", &url]).ok();
    fleet.assert_one_store("a");

    // Bundles for who pulls: the first changeset, the second, and the third as it is made.
    let pull_bundle = |arguments: &[&str]| fleet.hgfleet(&[&["repo", "pull-bundle"], arguments].concat());
    let [first, second] = ["0", "1"].map(|number| work.hg_here(&["log", "-r", number, "-T", "{node}"]).ok().out);
    let said = pull_bundle(&["add", "a", &first]).ok();
    assert!(said.out.starts_with("added a pull bundle to a, stored as "), "{said:#?}");
    assert!(said.err.contains("repo config a --set server.pullbundle=yes"), "{said:#?}");
    fleet.hgfleet(&["repo", "config", "a", "--set", "server.pullbundle=yes"]).ok();
    let said = pull_bundle(&["add", "a", &second, "--base", &first, "--type", "gzip-v2"]).ok();
    assert_eq!(said.err, "");
    let listed = pull_bundle(&["list", "a"]).ok().out;
    let lines = listed.lines().map(|line| line.split_once(' ').expect("a path")).collect::<Vec<_>>();
    let says = |spec: &str, more: &str| format!("BUNDLESPEC={spec} heads={more}");
    assert_eq!(lines[0].1, says("zstd-v2", &first), "{listed}");
    assert_eq!(lines[1].1, says("gzip-v2", &format!("{second} bases={first}")), "{listed}");
    fleet.assert_one_store("a");
    let thrice = ["adding changesets\nadding manifests\nadding file changes\n"; 3].concat();
    clones("in-three-steps", &["https", "ssh"], &[&thrice, "added 3 changesets"]);
    for (wrong, says) in [
        (&["add", "a", &first[..]][..], "has this pull bundle already"),
        (&["add", "a", &first, "--base", &second], "nothing is left"),
        (&["add", "a", "nosuch"], "unknown revision 'nosuch'"),
        (&["add", "a", &first, "--type", "none-streamv2"], "is no pull bundle"),
        (&["remove", "a", "absent"], "has no pull bundle"),
    ] {
        let said = pull_bundle(wrong).refused();
        assert!(said.err.contains(says), "{said:#?}");
    }
    let file = |path: &str| fleet.data().join("mirror-1/repos/a/.hg").join(path);
    assert!(file(lines[0].0).exists());
    pull_bundle(&["remove", "a", lines[0].0.trim_start_matches("bundle-cache/")]).ok();
    assert_eq!(pull_bundle(&["list", "a"]).ok().out.lines().collect::<Vec<_>>(), [listed.lines().nth(1).expect("two")]);
    fleet.assert_one_store("a");
    assert!(!file(lines[0].0).exists() && file(lines[1].0).exists());
    let said = fleet.hgfleet(&["repo", "verify", "a"]).ok();
    assert!(said.out.contains("3 changesets"), "{said:#?}");

    // What a rewrite takes away no bundle keeps.
    bundle(&["add", "a"]).ok();
    let strip = ["hg", "--config", "extensions.strip=", "strip", "--no-backup", "-r", "2"];
    fleet.hgfleet_then(&["repo", "exec", "a"], &strip).ok();
    assert_eq!(bundle(&["list", "a"]).ok().out + &pull_bundle(&["list", "a"]).ok().out, "");
    assert!(fs::read_dir(fleet.data().join("master/repos/a/.hg/bundle-cache")).map_or(0, Iterator::count) == 0);
    fleet.assert_one_store("a");
    fleet.hg(&["clone", "-q", &fleet.https_url("a"), "stripped"]).ok();
    assert_eq!(fleet.working_copy("stripped").hg(&["log", "-T", "{rev} "]).ok().out, "1 0 ");
}
