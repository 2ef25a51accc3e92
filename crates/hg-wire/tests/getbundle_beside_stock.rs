//! Bundles of a repository with branches, merges, secret, hidden and draft changesets, taken by stock `hg`: what a client
//! has afterwards is what a pull from stock would have given it.
//!
//! Needs `hg` in the PATH or in `.venv/bin`; without it the test says so and passes.

use hg_store::{Repository, Snapshot};
use hg_wire::arguments::Arguments;
use hg_wire::capabilities::Transport;
use hg_wire::client::Client;
use hg_wire::command::CommandName;
use hg_wire::commands::{Answer, answer};
use std::path::Path;
use std::sync::Arc;
use support::Hg;

mod support;

/// Makes a repository in which one revision of a file belongs to changesets on two branches, and one to a secret
/// changeset and a public twin of it.
fn make_repository(hg: &Hg, root: &Path) {
    std::fs::create_dir(root).expect("a folder");
    hg.run(root, &["init"]);
    std::fs::write(root.join(".hg/hgrc"), "[phases]\npublish = False\n").expect("a file");
    let write = |name: &str, text: &str| std::fs::write(root.join(name), text).expect("a file");
    let commit = |message: &str, more: &[&str]| hg.run(root, &[&["commit", "-qA", "-m", message], more].concat());
    let update = |to: &str| hg.run(root, &["update", "-q", "-r", to]);
    let mut big: Vec<String> = (0..300).map(|n| format!("line {n}")).collect();
    for step in 0..8 {
        big[step * 30].push_str(" changed");
        write("big", &big.join("\n"));
        write("Odd name~.TXT", &step.to_string());
        commit(&format!("step {step}"), &[]);
    }
    hg.run(root, &["phase", "-p", "-r", "4"]);
    update("3");
    hg.run(root, &["branch", "-q", "side"]);
    write("shared", "same");
    commit("shared on side", &[]);
    update("2");
    hg.run(root, &["branch", "-q", "other side"]);
    write("shared", "same");
    commit("shared on other side", &[]);
    update("7");
    hg.run(root, &["merge", "-q", "-r", "side"]);
    commit("merge", &[]);
    update("side");
    commit("close", &["--close-branch"]);
    update("default");
    write("twin", "same");
    commit("secret", &["--secret"]);
    update("desc('merge')");
    write("twin", "same");
    commit("twin of secret", &[]);
    write("amended", "1");
    commit("hidden by amend", &[]);
    write("amended", "2");
    hg.run(root, &["commit", "-q", "--amend", "-m", "amended"]);
    hg.run(root, &["bookmark", "-q", "-r", "1", "a mark"]);
}

/// Returns the bundle for a client that has `common` and wants `heads`.
fn bundle(snapshot: &Arc<Snapshot>, common: &str, heads: &str, version: &str) -> Vec<u8> {
    let mut arguments = Arguments::default();
    let capabilities = format!("HG20,bundle2=HG20%0Aphases%3Dheads%0Abookmarks%0Achangegroup%3D{version}");
    for (name, value) in
        [("common", common), ("heads", heads), ("bundlecaps", &capabilities), ("phases", "1"), ("bookmarks", "1")]
    {
        arguments.add(name, value).expect("within bounds");
    }
    let answered =
        answer(CommandName::Getbundle, &arguments, snapshot, &Client::new(Transport::Ssh)).expect("answered");
    let Answer::Stream(stream, _) = answered else { panic!("getbundle is a stream") };
    let mut output = Vec::new();
    stream(&mut output).expect("written");
    output
}

#[test]
fn clients_get_what_stock_gives_them() {
    let Some(hg) = Hg::find() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let source = folder.path().join("source");
    make_repository(&hg, &source);
    let repository = Repository::open(&source).expect("opened");
    let snapshot = Arc::new(repository.snapshot(repository.current_state().expect("a state")).expect("a snapshot"));
    let nodes = |revset: &str| hg.run(&source, &["log", "-r", revset, "-T", "{node} "]).trim_end().to_owned();

    let all = nodes("head() and not secret()");
    let cases = [
        ("null", all.clone(), "02"),
        ("null", all.clone(), "01"),
        ("null", nodes("desc('other side')"), "03"),
        ("null", nodes("desc('twin of secret')"), "03"),
        ("1", nodes("desc('shared on side')"), "02"),
        ("desc('other side')", nodes("desc('merge')"), "03"),
        ("5", all.clone(), "03"),
        ("desc('merge')", all, "02"),
    ];
    let template = "{node} {p1.node} {p2.node} {phase} {manifest} {branch} {extras} {files}\n";
    let log = |repository: &Path, revset: &str| {
        let log = hg.run(repository, &["log", "--debug", "-r", revset, "-T", template]);
        // A manifest is shown with its number, which depends on what came first.
        let mut lines: Vec<String> = log.lines().map(without_manifest_number).collect();
        lines.sort_unstable();
        lines
    };
    for (n, (common, heads, version)) in cases.iter().enumerate() {
        let client = folder.path().join(format!("client-{n}"));
        std::fs::create_dir(&client).expect("a folder");
        hg.run(&client, &["init"]);
        let common = if *common == "null" { "0".repeat(40) } else { nodes(common) };
        if !common.starts_with("0000") {
            hg.run(&client, &["pull", "-q", "../source", "-r", &common]);
        }
        std::fs::write(client.join("bundle"), bundle(&snapshot, &common, heads, version)).expect("a file");
        hg.run(&client, &["unbundle", "-q", "bundle"]);
        hg.run(&client, &["verify", "-q"]);
        let expected = format!("::({common}+{}) - null", heads.replace(' ', "+"));
        assert_eq!(log(&client, "all()"), log(&source, &expected), "case {n}");
    }
}

/// Takes the number off `{manifest}`, which `--debug` shows as `number:hash`.
fn without_manifest_number(line: &str) -> String {
    let word = |word: &str| match word.split_once(':') {
        Some((number, hash)) if number.parse::<i64>().is_ok() => hash.to_owned(),
        _ => word.to_owned(),
    };
    line.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

#[test]
fn secret_and_hidden_changesets_are_not_named() {
    let Some(hg) = Hg::find() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let source = folder.path().join("source");
    make_repository(&hg, &source);
    hg.run(&source, &["bookmark", "-q", "-r", "secret()", "on secret"]);
    let repository = Repository::open(&source).expect("opened");
    let snapshot = Arc::new(repository.snapshot(repository.current_state().expect("a state")).expect("a snapshot"));
    let secret = hg.run(&source, &["log", "-r", "secret()", "-T", "{node}"]);
    let hidden = hg.run(&source, &["log", "--hidden", "-r", "hidden()", "-T", "{node}"]);
    let text = |command: CommandName, name: &str, value: &str| {
        let mut arguments = Arguments::default();
        arguments.add(name, value).expect("within bounds");
        match answer(command, &arguments, &snapshot, &Client::new(Transport::Ssh)) {
            Ok(Answer::Text(text)) => String::from_utf8_lossy(&text).into_owned(),
            Ok(Answer::Stream(..) | Answer::File(_)) => panic!("'{value}' is sent"),
            Err(error) => error.client_text(),
        }
    };
    for node in [&secret, &hidden] {
        assert_eq!(text(CommandName::Known, "nodes", node), "0");
        assert!(text(CommandName::Lookup, "key", node).starts_with("0 "));
        assert!(text(CommandName::Lookup, "key", &node[..12]).starts_with("0 "));
        assert_eq!(text(CommandName::Getbundle, "heads", node), format!("unknown revision '{node}'"));
        for (command, value) in [
            (CommandName::Heads, ""),
            (CommandName::Branchmap, ""),
            (CommandName::Listkeys, "bookmarks"),
            (CommandName::Listkeys, "phases"),
        ] {
            assert!(!text(command, "namespace", value).contains(node.as_str()), "{command:?} {value}");
        }
    }
}
