//! Two SSH doors, one session: what is true behind the built-in door is true behind OpenSSH's `sshd`.

use crate::support::clients::Clients;
use crate::support::run::{Said, run};
use crate::support::two_doors::TwoDoors;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Sessions of one account, by both doors.
const SESSIONS_MAX: usize = 5;
const LANDING: &str = "landing@example.com";

#[test]
fn both_doors_let_the_same_people_do_the_same() {
    let authority = tempfile::tempdir().expect("a folder");
    let authority = authority.path().join("ca");
    run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&authority)).ok();
    let mut two = TwoDoors::open(&format!(
        "trusted_user_ca_keys = \"{}.pub\"\n[session]\nlanding_accounts = [\"{LANDING}\"]\n\
         [ssh.limits]\nsessions_per_account = {SESSIONS_MAX}\n",
        authority.display()
    ));
    sessions(&two);
    events(&two);
    landing(&two);
    limits(&two);
    people(&two);
    conditions(&two);
    certificates(&two, &authority);
    one_door_before_the_other(&mut two);
}

/// Clone, push, and what is not served.
fn sessions(two: &TwoDoors) {
    for (door, clients) in two.doors() {
        let work = clients.init(&format!("work-{door}"));
        clients.hg(&["pull", "-R", work.path.to_str().unwrap(), &clients.ssh_url("team/first")]).ok();
        work.hg_here(&["update", "-q"]).ok();
        work.commit(door, "1\n", door);
        let said = work.push("team/first").ok();
        assert!(said.out.contains("remote: stored as"), "{said:?}");
        let clone = two.fleet.path(&format!("clone-{door}"));
        clients.hg(&["clone", "-q", &clients.ssh_url("team/first"), clone.to_str().unwrap()]).ok();
        assert_eq!(clients.working_copy(&format!("clone-{door}")).log(), work.log());
    }
    two.fleet.assert_one_store("team/first");

    let line = |line: &str| two.both(line, |clients| clients.ssh(line));
    for refused in ["hg -R ../etc serve --stdio", "hg -R nowhere serve --stdio", "hg serve", "id; hg", "x", "'"] {
        assert!(line(refused).refused().err.starts_with("refused: "), "{refused}");
    }
    line(&format!("hg -R {} serve --stdio", "a".repeat(5_000))).refused();
    // S14: no command, no terminal, no files, no forwarding.
    let nothing = two.both("no command", |clients| run(&mut clients.ssh_command()));
    assert!(nothing.status == 1 && nothing.err.contains("@localhost"), "{nothing:?}");
    assert!(nothing.err.contains(&format!("ssh://{}@HOST/NAME", two.user)), "{nothing:?}");
    let environment = ["-oSetEnv=HGRCPATH=/etc/passwd LD_PRELOAD=/tmp/x SSH_USER_AUTH=/etc/passwd SSH_CONNECTION=x"];
    let dropped =
        two.both("S15", |clients| run(clients.ssh_with("id_ed25519", &environment).arg("hg -R nowhere serve --stdio")));
    assert!(dropped.refused().err.contains("does not exist"));
    for (door, clients) in two.doors() {
        for (what, options, rest) in
            [("sftp", &["-s"][..], "sftp"), ("forwarding", &["-oExitOnForwardFailure=yes", "-R", "0:127.0.0.1:1"], "x")]
        {
            let said = run(clients.ssh_with("id_ed25519", options).arg(rest));
            assert_eq!(said.status, 255, "{door} {what}: {said:?}");
        }
    }
}

/// Each session is one line of the log, with the same fields at both doors.
fn events(two: &TwoDoors) {
    for (name, clients) in two.doors() {
        let door = name.to_lowercase();
        clients.ssh("status nowhere").refused();
        let begun = |fields: &str| format!("session ended door=\"{door}\" account=\"user@localhost\" {fields}");
        for (command, repository, end) in [
            ("hg -R team/first serve --stdio", "team/first", "outcome=\"done\" status=0 start=\"20"),
            ("status nowhere", "nowhere", "outcome=\"refused\" status=1 start=\"20"),
        ] {
            let mut found = String::new();
            two.fleet.wait_until("the session is logged", |fleet| {
                let (begun, log) = (begun("address=\"127.0.0.1:"), fleet.log());
                let named = format!("command=\"{command}\" repository=\"{repository}\" {end}");
                let line = log.lines().rfind(|line| line.contains(&begun) && line.contains(&named));
                found = line.unwrap_or_default().to_owned();
                !found.is_empty()
            });
            for field in ["process", "milliseconds", "cpu_milliseconds", "bytes_out"] {
                let (_, value) = found.split_once(&format!(" {field}=")).unwrap_or_else(|| panic!("{field}: {found}"));
                let value: f64 = value.split(' ').next().and_then(|value| value.parse().ok()).expect("a number");
                assert!(value > 0.0, "{field}: {found}");
            }
            assert!(found.contains(" bytes_in="), "{found}");
            if repository == "team/first" {
                let (_, process) = found.split_once(" process=").expect("shown before");
                let process = process.split(' ').next().expect("a number");
                let log = two.fleet.log();
                let own =
                    |line: &&str| line.contains(" command ended ") && line.contains(&format!(" process={process} "));
                let hello = "command=\"hello\" repository=team/first outcome=\"done\" start=\"20";
                assert!(log.lines().filter(own).any(|line| line.contains(hello)), "{log}");
            }
        }
    }
}

/// Who asked counts where a landing account says so, and where nobody else does.
fn landing(two: &TwoDoors) {
    let key = two.key("landing", &["-t", "ed25519"]);
    two.fleet.hgfleet(&["account", "add", LANDING, "--key", &key]).ok();
    for (door, clients) in two.doors() {
        let work = clients.working_copy(&format!("work-{door}"));
        work.hg(&["pull", "-u", &clients.ssh_url("team/first")]).ok();
        let push_for = |key: &str, requester: &str| {
            let ssh = clients.ssh_with(key, &[&format!("-oSetEnv=AUTOLAND_REQUEST_USER={requester}")]);
            let words: Vec<&str> = ssh.get_args().filter_map(|word| word.to_str()).collect();
            // The client adds port, host and command itself.
            let ssh = format!("ui.ssh=ssh {}", words[2..words.len() - 1].join(" "));
            work.hg(&["push", "--config", &ssh, &clients.ssh_url("team/first")])
        };
        let last = || {
            let said = two.fleet.hgfleet(&["log", "list", "--limit", "1", "--json"]).ok().out;
            let record: serde_json::Value = serde_json::from_str(said.trim()).expect("a record");
            ["who", "source"].map(|key| record[key].as_str().expect("a text").to_owned())
        };
        work.commit(door, "2\n", "landed");
        push_for("landing", "jane@example.com").ok();
        let [who, source] = last();
        assert_eq!(who, "jane@example.com", "{door}");
        assert!(source.starts_with("ssh:127.0.0.1:") && source.ends_with(&format!(" by {LANDING}")), "{source}");
        work.commit(door, "3\n", "not landed");
        let refused = push_for("landing", "jane");
        let told = format!("{}{}", refused.out, refused.err);
        assert!(refused.status == 255 && told.contains("as who asked for this push"), "{door}: {refused:#?}");
        push_for("id_ed25519", "jane@example.com").ok();
        let [who, source] = last();
        assert_eq!((who.as_str(), source.contains(" by ")), ("user@localhost", false), "{door}");
        two.fleet.wait_until("the session's line has both", |fleet| {
            let door = door.to_lowercase();
            let both = format!("session ended door=\"{door}\" account=\"{LANDING}\" requester=\"jane@example.com\"");
            fleet.log().contains(&both)
        });
    }
}

/// Sessions are counted together, whichever door they came by.
fn limits(two: &TwoDoors) {
    let mut open: Vec<Child> = Vec::new();
    let doors = two.doors();
    for number in 0..SESSIONS_MAX {
        let (_, clients) = &doors[number % doors.len()];
        let mut ssh = clients.ssh_command();
        ssh.arg("hg -R team/first serve --stdio").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut ssh = ssh.spawn().expect("started");
        // Its session has begun once it answers.
        ssh.stdin.as_mut().expect("piped").write_all(b"hello\n").expect("written");
        ssh.stdout.as_mut().expect("piped").read_exact(&mut [0]).expect("an answer");
        open.push(ssh);
    }
    let refused = two.both("too many sessions", |clients| clients.ssh("help")).refused();
    let expected =
        format!("refused: {SESSIONS_MAX} sessions are open already, of user@localhost. Try again when one has ended\n");
    assert_eq!(refused.err, expected);
    for mut ssh in open {
        drop(ssh.stdin.take());
        assert!(ssh.wait().expect("ours").success());
    }
    two.fleet
        .wait_until("what has ended is free", |_| doors.iter().all(|(_, clients)| clients.ssh("help").status == 0));
}

/// Accounts, their keys and their names.
fn people(two: &TwoDoors) {
    let second = two.key("second", &["-t", "ecdsa", "-b", "384"]);
    let second_at = |what: &str| two.both(what, |clients| run(clients.ssh_with("second", &[]).arg("x")));
    let denied = second_at("an unknown key");
    assert!(denied.status == 255 && denied.err.contains("Permission denied (publickey)"), "{denied:?}");
    two.fleet.hgfleet(&["account", "add", "second@example.org", "--key", &second]).ok();
    assert!(second_at("a new account").refused().err.contains("no such command is served here"));
    two.fleet.hgfleet(&["account", "disable", "second@example.org"]).ok();
    assert!(second_at("a disabled account").refused().err.contains("the account is disabled, second@example.org"));
    // T9
    for name in ["nobody", "second@example.org", "*"] {
        let said = two.both(name, |clients| run(clients.by_door(name, clients.ssh_port).ssh_command().arg("x")));
        assert!(said.status == 255 && said.err.contains("Permission denied (publickey)"), "{name}: {said:?}");
    }
}

/// What a directory's value says before the key.
fn conditions(two: &TwoDoors) {
    let third = two.key("third", &["-t", "rsa", "-b", "2048"]);
    two.fleet.hgfleet(&["account", "add", "third@example.org", "--key", &third]).ok();
    let ldif = two.fleet.data().join("directory.ldif");
    let plain = std::fs::read_to_string(&ldif).expect("read");
    let denied = |said: &Said| said.status == 255 && said.err.contains("Permission denied (publickey)");
    for (options, lets_in) in [
        ("restrict,from=\"127.0.0.0/8\",expiry-time=\"29990101\"", true),
        ("from=\"192.0.2.*\"", false),
        ("expiry-time=\"20200101\"", false),
        ("command=\"sh\"", false),
        ("cert-authority", false),
    ] {
        let with = plain.replace("sshPublicKey: ssh-rsa", &format!("sshPublicKey: {options} ssh-rsa"));
        std::fs::write(&ldif, with).expect("written");
        let said = two.both(options, |clients| run(clients.ssh_with("third", &[]).arg("x")));
        assert_eq!((said.status == 1, denied(&said)), (lets_in, !lets_in), "{options}: {said:?}");
    }
    std::fs::write(&ldif, plain).expect("written");
    let sha1 = ["-oPubkeyAcceptedAlgorithms=ssh-rsa"];
    assert!(denied(&two.both("SHA-1", |clients| run(clients.ssh_with("third", &sha1).arg("x")))));
    let listed = two.fleet.hgfleet(&["authorized-keys", "third@example.org"]).ok().out;
    assert!(listed.starts_with("restrict ssh-rsa "), "{listed}");
    assert!(two.fleet.hgfleet(&["authorized-keys", "nobody@example.org"]).refused().err.contains("user not found"));
}

/// A key that no account has, with a certificate.
fn certificates(two: &TwoDoors, authority: &Path) {
    let guest = two.key("guest", &["-t", "ed25519"]);
    let sign = |arguments: &[&str]| {
        let mut keygen = Command::new("ssh-keygen");
        run(keygen.args(["-q", "-I", "a test", "-s"]).arg(authority).args(arguments).arg(&guest)).ok();
        two.both(&arguments.join(" "), |clients| run(clients.ssh_with("guest", &[]).arg("x")))
    };
    assert_eq!(two.both("no certificate", |clients| run(clients.ssh_with("guest", &[]).arg("x"))).status, 255);
    let let_in = sign(&["-n", "third@example.org", "-V", "-5m:+1h"]);
    assert!(let_in.refused().err.contains("no such command is served here"));
    for arguments in [
        &["-n", "nobody@example.org", "-V", "-5m:+1h"][..],
        &["-n", "third@example.org", "-V", "-2h:-1h"],
        &["-n", "third@example.org", "-O", "source-address=192.0.2.0/24"],
        &["-n", "third@example.org", "-O", "force-command=sh"],
    ] {
        let denied = sign(arguments);
        assert!(denied.status == 255 && denied.err.contains("Permission denied (publickey)"), "{denied:?}");
    }
}

/// The balancer's port leads to `sshd`, and where the client is counts all the same.
fn one_door_before_the_other(two: &mut TwoDoors) {
    two.fleet.down();
    let config = two.fleet.data().join("hgfleet.toml");
    let text = std::fs::read_to_string(&config).expect("read");
    let backend = format!("[ssh]\nbackend = \"127.0.0.1:{}\"\n", two.sshd.port);
    std::fs::write(&config, text.replace("[ssh]\n", &backend)).expect("written");
    let ldif = two.fleet.data().join("directory.ldif");
    let plain = std::fs::read_to_string(&ldif).expect("read");
    let here = plain.replace("sshPublicKey: ssh-rsa", "sshPublicKey: from=\"127.0.0.2\" ssh-rsa");
    std::fs::write(&ldif, here).expect("written");
    two.fleet.up_again();
    let [(_, balanced), (_, direct)] = two.doors();
    let from = |clients: &Clients, address: &str| {
        run(clients.ssh_with("third", &[&format!("-oBindAddress={address}")]).arg("x")).refused().err
    };
    assert!(from(&balanced, "127.0.0.2").contains("no such command is served here"));
    for clients in [&balanced, &direct] {
        let said = from(clients, "127.0.0.1");
        assert!(said.contains("the key opens no account here (wrong-address"), "{said}");
    }
    let clone = two.fleet.path("clone-balanced");
    balanced.hg(&["clone", "-q", &balanced.ssh_url("team/first"), clone.to_str().unwrap()]).ok();
    let logged = two.fleet.log();
    assert!(logged.lines().any(|line| line.contains("login behind sshd") && line.contains("127.0.0.2:")), "{logged}");
}
