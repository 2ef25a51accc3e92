//! Real programs, and a server on loopback.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use super::{ExternalChecks, Place};
use crate::{External, Rule, WhenUnknown};

fn shell(script: &str) -> External {
    let program = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
    External { name: "check".to_owned(), program, url: None, seconds_max: 20, unknown: WhenUnknown::Refuse }
}

fn webhook(url: String) -> External {
    External { program: Vec::new(), url: Some(url), ..shell("") }
}

/// What the client reads, and why its push is not taken.
fn ask(external: Vec<External>) -> (String, Result<(), String>) {
    let rule = Rule { external, ..Rule::default() };
    let described = Arc::new(OnceLock::new());
    let checks = ExternalChecks::of(&rule, "plans", described.clone()).expect("sound").expect("some");
    described.set(Default::default()).expect("once");
    let folder = tempfile::tempdir().expect("a folder");
    let mut messages = Vec::new();
    let place = Place { folder: folder.path(), store: "/srv/plans".as_ref() };
    let answer = checks.ask(Some(place), &mut messages);
    (String::from_utf8_lossy(&messages).into_owned(), answer)
}

#[test]
fn a_programs_status_decides_and_its_words_are_told() {
    assert_eq!(
        ask(vec![shell("cat >/dev/null; echo fine; echo fine too >&2")]),
        ("check: fine\ncheck: fine too\n".into(), Ok(()))
    );
    let no = "refused: the check check does not take it, on plans. Do what it says above, and push again";
    let (told, answer) = ask(vec![shell("echo no; exit 3"), shell("echo never asked")]);
    assert_eq!((told.as_str(), answer.as_ref().map_err(String::as_str)), ("check: no\n", Err(no)));
    let unknown = "refused: the check check gave no answer, on plans. Push again later, and tell the administrators if it stays so";
    assert_eq!(ask(vec![shell("kill -9 $$")]).1, Err(unknown.into()));
    let missing = External { program: vec!["/no/such/program".into()], ..shell("") };
    assert_eq!(ask(vec![missing.clone()]).1, Err(unknown.into()));
    let lenient = External { unknown: WhenUnknown::Take, ..missing };
    assert_eq!(ask(vec![lenient]), ("the check check gave no answer; the push goes on\n".into(), Ok(())));
}

#[test]
fn a_program_gets_the_push_and_nothing_of_the_server() {
    let (told, answer) = ask(vec![shell("env | sed 's/=.*//' | sort | tr '\\n' ' '; pwd >&2; cat hgrc")]);
    assert_eq!(answer, Ok(()));
    assert!(told.starts_with("check: HGPLAIN HGRCPATH HOME LC_ALL PATH PWD TMPDIR "), "{told}");
    assert!(told.ends_with("check: mainreporoot = /srv/plans\n"), "{told}");
    let (told, _) = ask(vec![shell("cat")]);
    assert!(
        told.contains("\"changesets\":[]") && told.contains("\"store\":\"/srv/plans\"") && !told.contains("bundle"),
        "{told}"
    );
    // Nothing else is open in it.
    let (told, _) = ask(vec![shell("ls /proc/self/fd | wc -l")]);
    assert!(told.trim_end().ends_with(" 4"), "{told}");
}

#[test]
fn a_program_that_does_not_end_is_killed_with_all_that_it_started() {
    let slow = External { seconds_max: 1, ..shell("sleep 300 & echo $!; sleep 300") };
    let begun = Instant::now();
    let (told, answer) = ask(vec![slow]);
    assert!(answer.is_err_and(|text| text.contains("gave no answer")));
    assert!(begun.elapsed() < Duration::from_secs(10));
    let child = told.trim_end().trim_start_matches("check: ").to_owned();
    let is_gone = || match std::fs::read_to_string(format!("/proc/{child}/stat")) {
        // It is a zombie until whoever inherited it looks.
        Ok(stat) => stat.contains(") Z"),
        Err(_) => true,
    };
    while !is_gone() {
        assert!(begun.elapsed() < Duration::from_secs(20), "{child} lives");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_program_that_ends_is_not_waited_for_whatever_it_left_behind() {
    let begun = Instant::now();
    let (told, answer) = ask(vec![shell("setsid sleep 15 & echo done")]);
    assert_eq!((told.as_str(), answer), ("check: done\n", Ok(())));
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_program_that_talks_without_end_is_heard_to_a_bound() {
    let (told, answer) = ask(vec![External { seconds_max: 1, ..shell("yes") }]);
    assert!(answer.is_err());
    assert_eq!(told.lines().count(), 201);
    let (told, answer) = ask(vec![shell("exec 0<&-; exec >/dev/null; exit 0")]);
    assert_eq!((told.as_str(), answer), ("", Ok(())));
}

#[test]
fn a_servers_status_decides() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let url = format!("http://{}/hook", listener.local_addr().expect("an address"));
    let serving = thread::spawn(move || {
        for status in ["200 OK", "403 Forbidden", "500 Oops"] {
            let (mut stream, _) = listener.accept().expect("a client");
            let mut request = Vec::new();
            while !request.ends_with(b"}") {
                let mut bytes = [0; 1024];
                let read = stream.read(&mut bytes).expect("a request");
                request.extend_from_slice(&bytes[..read]);
            }
            let request = String::from_utf8_lossy(&request);
            assert!(request.contains("{\"version\":0,\"repository\":\"\"") && !request.contains("store"), "{request}");
            stream.write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 3\r\n\r\nhi\n").as_bytes()).expect("sent");
        }
    });
    assert_eq!(ask(vec![webhook(url.clone())]), ("check: hi\n".into(), Ok(())));
    let (told, answer) = ask(vec![webhook(url.clone())]);
    assert!(told == "check: hi\n" && answer.is_err_and(|text| text.contains("does not take it")));
    let (told, answer) = ask(vec![webhook(url.clone())]);
    assert!(told.is_empty() && answer.is_err_and(|text| text.contains("gave no answer")));
    serving.join().expect("served");
    // Nobody is there any more.
    let lenient = External { unknown: WhenUnknown::Take, ..webhook(url) };
    assert_eq!(ask(vec![lenient]), ("the check check gave no answer; the push goes on\n".into(), Ok(())));
}
