//! A client that knows the protocol and the rules, and tries to get around them. Each row at both SSH doors.

use super::bundles::{after, beyond, old};
use super::pushes::Target;
use super::wire::pushkey;
use crate::support::bundle::{bundle, changegroup, part};
use crate::support::clients::Clients;
use crate::support::fleet::Fleet;
use crate::support::history::History;
use crate::support::run::run;
use crate::support::wire_client::{PUSH_END, WireClient, push_start};
use hg_store::prepare::Incoming;
use std::process::Command;

/// An account that may push for others.
pub const LANDING: &str = "landing@example.org";
/// An account that may write to `locked`.
const SECOND: &str = "second@example.org";
/// A repository in that account's folder.
const SECONDS_OWN: &str = "users/second_example.org/own";

/// What is tried, the command, and what stands in the answer.
type Row = (&'static str, Vec<u8>, &'static str);

pub fn check(target: &Target<'_>) {
    let fleet = &target.two.fleet;
    for (name, mail) in [("second", SECOND), ("landing", LANDING)] {
        let public = target.two.key(name, &["-t", "ed25519"]);
        fleet.hgfleet(&["account", "add", mail, "--key", &public]).ok();
        fleet.hgfleet(&["account", "group", "add", mail, "release"]).ok();
    }
    let first = bundle(&[changegroup(old().pieces())]);
    let head = target.start("strict", &first);
    rows(target, "strict", &around_the_checks(&head));
    target.start_as("second", "locked", &first);
    target.start_as("second", SECONDS_OWN, &first);
    for name in ["locked", SECONDS_OWN] {
        rows(target, name, &without_rights(&head));
    }
    rights_that_end(target);
    rights_that_end_at_the_commit_point(target);
    for_others(target);
    the_same_push_at_once(target);
}

/// A changeset of one file.
fn commit(history: &mut History, path: &str) {
    history.commit(&[(path.as_bytes(), b"text\n", "")]);
}

fn unbundle(parts: &[Vec<u8>]) -> Vec<u8> {
    [&push_start(&bundle(parts)), PUSH_END].concat()
}

/// What a policy refuses, in pieces and disguises; keys, phases and markers that must not be.
fn around_the_checks(head: &str) -> Vec<Row> {
    let (secret, fine) = (after(|history| commit(history, "secret/key")), after(|history| commit(history, "fine")));
    let mut known = old();
    commit(&mut known, "secret/key");
    let child = beyond(&known, {
        let mut more = old();
        commit(&mut more, "secret/key");
        commit(&mut more, "more");
        more
    });
    let two = |name: &'static str| {
        after(move |history| (0..2).for_each(|number| commit(history, &format!("{name}{number}"))))
    };
    let group = |history: &History| changegroup(history.pieces());
    let without_files = History { files: Vec::new(), ..after(|history| commit(history, "fine")) };
    let nothing_but_files =
        [vec![Incoming::Changelog, Incoming::EndOfGroup, Incoming::Manifest, Incoming::EndOfGroup], {
            let pieces: Vec<Incoming> = fine.pieces().into();
            let place = pieces.iter().position(|piece| matches!(piece, Incoming::File(_))).expect("a file");
            pieces[place..].to_vec()
        }]
        .concat();
    let node = fine.changesets[0].node;
    let phase = |number: u32| part("phase-heads", &[], &[&number.to_be_bytes()[..], node.as_bytes()].concat());
    let mark = [&node.as_bytes()[..], &[0, 4], b"mark"].concat();
    let keys = [("NAMESPACE", "bookmarks"), ("KEY", "mark"), ("OLD", ""), ("NEW", head)];
    let variables = part("pushvars", &[("BYPASS", "1"), ("hg_node", "0"), ("path", "/tmp")], b"");
    let marker = b"\x01\0\0\0\x33\x41\xd9\x54\xfc\0\0\0\0\0\0\0\0\0\0\x01\0\0";
    let secret_text = "refused: a file that must not come here (changeset ";
    vec![
        ("a file that is forbidden", unbundle(&[group(&secret)]), secret_text),
        (
            "in the second of two changegroups",
            unbundle(&[group(&fine), group(&secret)]),
            "refused: sent twice, in the changegroup.",
        ),
        ("in the first of two", unbundle(&[group(&secret), group(&child)]), "refused: sent twice, in the changegroup."),
        ("only what follows it", unbundle(&[group(&child)]), "unknown parent"),
        ("with variables", unbundle(&[variables, group(&secret)]), secret_text),
        (
            "more changesets than are allowed, in halves",
            unbundle(&[group(&two("a")), group(&two("b"))]),
            "refused: sent twice, in the changegroup.",
        ),
        (
            "two heads, in two parts",
            unbundle(&[group(&fine), group(&after(|history| commit(history, "other")))]),
            "refused: sent twice, in the changegroup.",
        ),
        (
            "files in a later part",
            unbundle(&[group(&without_files), changegroup(nothing_but_files.clone())]),
            "is missing, file fine",
        ),
        ("files in an earlier part", unbundle(&[changegroup(nothing_but_files), group(&without_files)]), "refused: "),
        ("phases before their changeset", unbundle(&[phase(0), group(&fine)]), "refused: unknown revision '"),
        (
            "what is expected, after a change",
            unbundle(&[group(&fine), part("CHECK:HEADS", &[], &[7; 20])]),
            "refused: check:heads comes after a part that changes something",
        ),
        (
            "a bookmark in the push",
            unbundle(&[group(&fine), part("bookmarks", &[], &mark)]),
            "refused: bookmarks are disabled",
        ),
        ("a bookmark by a part", unbundle(&[part("PUSHKEY", &keys, b"")]), "refused: bookmarks are disabled"),
        ("a bookmark by a command", pushkey("bookmarks", "mark", "", head), "refused: bookmarks are disabled"),
        (
            "markers",
            unbundle(&[part("OBSMARKERS", &[], marker)]),
            "creating obsolete markers is not enabled on this repo",
        ),
        ("markers that may be passed over", unbundle(&[part("obsmarkers", &[], marker)]), "HG20\0\0\0\0\0\0\0\0"),
        (
            "markers by a command",
            pushkey("obsolete", "dump0", "", "0RjUp"),
            "creating obsolete markers is not enabled on this repo",
        ),
        ("a phase back", pushkey("phases", head, "0", "1"), "2\n0\n"),
        ("a secret phase", pushkey("phases", head, "0", "2"), "2\n0\n"),
        ("no such namespace", pushkey("namespaces", "bookmarks", "", "x"), "2\n0\n"),
        (
            "no such namespace, in a part",
            unbundle(&[part("PUSHKEY", &[("NAMESPACE", "x"), ("KEY", "k"), ("OLD", ""), ("NEW", "v")], b"")]),
            "ERROR:PUSHKEY",
        ),
    ]
}

/// Every way to write, by who may only read.
fn without_rights(head: &str) -> Vec<Row> {
    let new = changegroup(after(|history| commit(history, "new")).pieces());
    let told = "refused: the access rules don't let user@localhost write, on ";
    vec![
        ("a changeset", unbundle(&[new]), told),
        ("nothing", unbundle(&[]), told),
        ("phases", unbundle(&[part("phase-heads", &[], &[0; 24])]), told),
        ("a bookmark", pushkey("bookmarks", "mark", "", head), told),
        ("a phase", pushkey("phases", head, "1", "0"), told),
        ("markers", pushkey("obsolete", "dump0", "", "0RjUp"), told),
    ]
}

fn rows(target: &Target<'_>, name: &str, rows: &[Row]) {
    let before = target.state(name);
    for (door, clients) in target.two.doors() {
        let mut client = WireClient::begin(&clients, "id_ed25519", name);
        for (what, command, expected) in rows {
            let what = format!("{door}, {name}: {what}");
            client.ask(&what, command, expected);
            target.assert_untouched(name, &before, &what);
        }
        assert_eq!(client.end().status, 0);
    }
    target.assert_log_untouched(&before);
}

/// A bundle with one more changeset for `locked`.
fn one_more(number: usize) -> Vec<u8> {
    bundle(&[changegroup(after(|history| commit(history, &format!("more-{number}"))).pieces())])
}

/// L7: what was granted when the push began is taken away while it comes in.
fn rights_that_end(target: &Target<'_>) {
    let fleet = &target.two.fleet;
    let group = |verb| ["account", "group", verb, SECOND, "release"];
    for (number, (door, clients)) in target.two.doors().iter().enumerate() {
        for (what, end, back, expected) in [
            (
                "disabled",
                &["account", "disable", SECOND][..],
                &["account", "enable", SECOND][..],
                "is not enabled any more, on locked",
            ),
            (
                "out of the group",
                &group("remove"),
                &group("add"),
                "refused: the access rules don't let second@example.org write, on locked.",
            ),
            (
                "read only",
                &["repo", "read-only", "locked", "--reason", "moving"],
                &["repo", "read-only", "locked", "--off"],
                "refused: the repository is read only: moving, on locked.",
            ),
        ] {
            let what = format!("{door}: {what} while the push comes in");
            let mut client = half_pushed(clients, "second", &one_more(number));
            fleet.hgfleet(end).ok();
            let before = target.state("locked");
            client.send_more(PUSH_END);
            client.wait_for(&what, expected);
            drop(client);
            target.assert_untouched("locked", &before, &what);
            target.assert_log_untouched(&before);
            fleet.hgfleet(back).ok();
        }
        let mut client = half_pushed(clients, "second", &one_more(number));
        client.send_more(PUSH_END);
        client.wait_for("a push as any other", "stored as");
    }
    fleet.assert_one_store("locked");
}

/// A session that has been sent all of a push but its end.
fn half_pushed(clients: &Clients, key: &str, bundle: &[u8]) -> WireClient {
    let mut client = WireClient::begin(clients, key, "locked");
    client.send(&push_start(bundle));
    client.wait("the bundle is asked for", |output, _| output.starts_with("0\n"));
    client
}

/// L7: everything was checked, and the change is about to be handed over.
fn rights_that_end_at_the_commit_point(target: &Target<'_>) {
    let fleet = &target.two.fleet;
    let before = target.state("locked");
    let step = fleet.steps().join("session.prepared");
    std::fs::write(&step, "STOP").expect("armed");
    let mut client = half_pushed(&target.two.doors()[0].1, "second", &one_more(2));
    client.send_more(PUSH_END);
    fleet.wait_until("the session has prepared the push", |_| !step.exists());
    fleet.hgfleet(&["account", "disable", SECOND]).ok();
    let master = fleet.server("master")["pid"].clone();
    let mut go_on = Command::new("pkill");
    run(go_on.args(["-CONT", "-P", &master.to_string()])).ok();
    client
        .wait_for("at the commit point", "refused: the account second@example.org is not enabled any more, on locked.");
    fleet.hgfleet(&["account", "enable", SECOND]).ok();
    target.assert_untouched("locked", &before, "a push of a disabled account");
}

/// Who made the log's last record.
fn who(fleet: &Fleet) -> String {
    let said = fleet.hgfleet(&["log", "list", "--limit", "1", "--json"]).ok().out;
    let record: serde_json::Value = serde_json::from_str(said.trim()).expect("a record");
    record["who"].as_str().expect("a name").to_owned()
}

/// Only a landing account names somebody else.
fn for_others(target: &Target<'_>) {
    let [(_, built_in), (_, openssh)] = target.two.doors();
    let jane = ["-oSetEnv=AUTOLAND_REQUEST_USER=jane@example.org"];
    for (number, (clients, key, recorded)) in [
        (&built_in, "second", SECOND),
        (&openssh, "second", SECOND),
        (&openssh, "landing", "jane@example.org"),
        (&built_in, "landing", "jane@example.org"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut client = WireClient::begin_with(clients, key, &jane, "locked");
        client.push("a push for somebody else", &one_more(10 + number), "stored as");
        assert_eq!(who(&target.two.fleet), recorded, "{number}");
    }
}

/// B23: one push, sent by two sessions at once and once more.
fn the_same_push_at_once(target: &Target<'_>) {
    let bundle = one_more(20);
    let end = || target.two.fleet.status()["log"]["sequence"].as_u64().expect("a number");
    let before = end();
    let mut clients = target.two.doors().map(|(_, clients)| half_pushed(&clients, "second", &bundle));
    for client in &mut clients {
        client.send_more(PUSH_END);
    }
    let said = clients.each_ref().map(|client| client.wait_for("each is answered", " changesets with "));
    let stored = said.iter().filter(|said| said.contains("stored as")).count();
    let told = said.iter().filter(|said| said.contains("added 0 changesets")).count();
    assert_eq!((stored, told, end()), (1, 1, before + 1), "{said:?}");
    target.two.fleet.assert_one_store("locked");
}
