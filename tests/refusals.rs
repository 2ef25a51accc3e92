//! What is wrong gets one clear error that names the thing and the remedy; the rest goes on, and nothing is lost.

use crate::support::clients::ssh_options;
use crate::support::fleet::{Fleet, HGFLEET, free_port};
use crate::support::run::{run, run_with};
use std::process::Command;
use std::time::Duration;

#[test]
fn what_is_wrong_on_the_command_line_is_refused_in_one_line() {
    let fleet = Fleet::start();
    fleet.hgfleet(&["repo", "create", "team/first"]).ok();
    for (arguments, expected) in [
        (vec!["repo", "create", "team/first"], "team/first"),
        (vec!["repo", "create", "../x"], "../x"),
        (vec!["repo", "create", "team"], "team"),
        (vec!["repo", "create", "team/first/inner"], "team/first"),
        (vec!["repo", "delete", "nowhere"], "nowhere"),
        (vec!["repo", "verify", "nowhere"], "nowhere"),
        (vec!["repo", "import", "/nonexistent"], "/nonexistent"),
        (vec!["account", "disable", "nobody@example.org"], "nobody@example.org"),
    ] {
        let said = fleet.hgfleet(&arguments).refused();
        assert!(said.err.contains(expected), "{arguments:?}: {said:#?}");
    }
    let wrong = run(Command::new(HGFLEET).arg("nonsense"));
    assert_eq!(wrong.status, 2);

    let data = fleet.data();
    let address = || format!("127.0.0.1:{}", free_port());
    let up = |data: &std::path::Path, ssh: &str| {
        run(Command::new(HGFLEET).arg("up").arg("--data").arg(data).args([
            "--ssh",
            ssh,
            "--http",
            &address(),
            "--https",
            &address(),
        ]))
    };
    assert!(up(&data, &address()).refused().err.contains("another fleet"));
    let other = fleet.path("other");
    let taken = format!("127.0.0.1:{}", fleet.ssh_port);
    assert!(up(&other, &taken).refused().err.contains(&taken));
    assert!(!other.exists(), "a refused start leaves nothing behind");
}

#[test]
fn a_push_over_https_is_told_where_to_push() {
    let fleet = Fleet::start();
    fleet.hgfleet(&["repo", "create", "team/first"]).ok();
    let work = fleet.init("work");
    work.commit("a", "1\n", "first");
    let said = work.hg(&["push", &fleet.https_url("team/first")]);
    assert_eq!(said.status, 255);
    let words = format!("{}{}", said.out, said.err);
    assert!(words.contains(&format!("ssh://hg@127.0.0.1:{}/team/first", fleet.ssh_port)), "{words}");
    work.push("team/first").ok();
}

#[test]
fn keys_decide_who_gets_in() {
    let fleet = Fleet::start();
    let key = |name: &str, kind: &[&str]| {
        let path = fleet.path(&format!("home/.ssh/{name}"));
        run(Command::new("ssh-keygen").args(["-q", "-N", ""]).args(kind).arg("-f").arg(&path)).ok();
        path
    };
    let login = |path: &std::path::Path, options: &[&str]| {
        run(Command::new("ssh")
            .args(["-p", &fleet.ssh_port.to_string()])
            .args(ssh_options())
            .args(options)
            .arg("-i")
            .arg(path)
            .args(["hg@127.0.0.1", "help-me"]))
    };
    let stranger = key("stranger", &["-t", "ed25519"]);
    let said = login(&stranger, &[]);
    assert_eq!(said.status, 255);
    assert!(said.err.contains("Permission denied (publickey)"), "{said:#?}");

    let public = stranger.with_extension("pub");
    let public = public.to_str().unwrap();
    fleet.hgfleet(&["account", "add", "second@example.org", "--key", public]).ok();
    fleet.wait_until("the new key works", |_| login(&stranger, &[]).status == 1);
    let again = fleet.hgfleet(&["account", "add", "third@example.org", "--key", public]).refused();
    assert!(again.err.contains("second@example.org"), "{again:#?}");
    fleet.hgfleet(&["account", "disable", "second@example.org"]).ok();
    fleet.wait_until("the disabled account is refused", |_| {
        let said = login(&stranger, &[]);
        said.status != 0 && (said.status == 255 || said.err.contains("disabled"))
    });

    let rsa = key("rsa", &["-t", "rsa", "-b", "2048"]);
    fleet.hgfleet(&["account", "add", "rsa@example.org", "--key", rsa.with_extension("pub").to_str().unwrap()]).ok();
    fleet.wait_until("an RSA key works with SHA-2", |_| login(&rsa, &[]).status == 1);
    let sha1 = login(&rsa, &["-oPubkeyAcceptedAlgorithms=ssh-rsa"]);
    assert_eq!(sha1.status, 255, "SHA-1 signatures are refused: {sha1:#?}");
    let weak = key("weak", &["-t", "rsa", "-b", "1024"]);
    fleet
        .hgfleet(&["account", "add", "weak@example.org", "--key", weak.with_extension("pub").to_str().unwrap()])
        .refused();
    let ecdsa = key("ecdsa", &["-t", "ecdsa"]);
    fleet
        .hgfleet(&["account", "add", "ecdsa@example.org", "--key", ecdsa.with_extension("pub").to_str().unwrap()])
        .ok();
    fleet.wait_until("an ECDSA key works", |_| login(&ecdsa, &[]).status == 1);
}

#[test]
fn garbage_on_a_port_hurts_nobody() {
    use std::io::{Read, Write};
    let fleet = Fleet::start();
    fleet.hgfleet(&["repo", "create", "team/first"]).ok();
    for port in [fleet.ssh_port, fleet.http_port, fleet.https_port] {
        for garbage in [
            &b"\xff\xff\xff\xff\0\0\0\0"[..],
            b"SSH-1.5-x\r\n\x7f\xff\xff\xff",
            b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            b"\n\n\n",
        ] {
            let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).expect("the door is open");
            stream.set_read_timeout(Some(Duration::from_millis(300))).expect("set");
            drop(stream.write_all(garbage));
            drop(stream.read(&mut [0; 512]));
        }
    }
    let work = fleet.init("work");
    work.commit("a", "1\n", "first");
    work.push("team/first").ok();
    fleet.hg(&["clone", "-q", &fleet.https_url("team/first"), "clone"]).ok();
    // A wire conversation that breaks off or makes no sense.
    for input in [
        &b"hello\nunbundle\nheads 10\n666f726365"[..],
        b"heads 9999999999\n",
        b"batch\n* 1000000\n",
        b"unbundle\nheads -5\n",
    ] {
        run_with(fleet.ssh_command().arg("hg -R team/first serve --stdio"), input, Duration::from_secs(20));
    }
    work.commit("a", "2\n", "second");
    work.push("team/first").ok();
    fleet.assert_one_store("team/first");
}
