//! Against servers on loopback that say what no good server says.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use crate::{Answer, Bounds, HttpError, Url, get, post};

const BOUNDS: Bounds = Bounds { time: Duration::from_secs(10), body_bytes: 100 };

/// A server that gives each connection the next of these answers; returns its URL, and then what it was sent.
fn server(answers: Vec<String>) -> (Url, thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let url = format!("http://{}/tree", listener.local_addr().expect("an address"));
    let serving = thread::spawn(move || {
        let serve = |answer: String| {
            let (mut stream, _) = listener.accept().expect("a client");
            let mut request = [0; 4096];
            let read = stream.read(&mut request).expect("a request");
            // A client that has heard enough goes.
            let _ = stream.write_all(answer.as_bytes());
            String::from_utf8_lossy(&request[..read]).into_owned()
        };
        answers.into_iter().map(serve).collect()
    });
    (Url::parse(&url).expect("a URL"), serving)
}

fn said(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn redirect(to: &str) -> String {
    format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n")
}

#[test]
fn an_answer_comes_whole_whatever_its_status() {
    let (url, serving) = server(vec![redirect("/elsewhere"), said("503 No", "not now")]);
    let answer = get(&url, BOUNDS).expect("an answer");
    assert_eq!(answer, Answer { status: http::StatusCode::SERVICE_UNAVAILABLE, body: b"not now".to_vec() });
    let requests = serving.join().expect("served");
    assert!(requests[0].starts_with("GET /tree HTTP/1.1\r\n"), "{requests:?}");
    assert!(requests[1].starts_with("GET /elsewhere HTTP/1.1\r\n"), "{requests:?}");
}

#[test]
fn what_is_sent_is_sent_once() {
    let (url, serving) = server(vec![said("200 OK", "fine")]);
    assert_eq!(post(&url, "application/json", b"{}".to_vec(), BOUNDS).expect("an answer").body, b"fine");
    let request = serving.join().expect("served").remove(0);
    assert!(
        request.starts_with("POST /tree HTTP/1.1\r\n") && request.contains("content-type: application/json\r\n"),
        "{request}"
    );
    let (url, serving) = server(vec![redirect("/elsewhere")]);
    assert!(matches!(post(&url, "application/json", b"{}".to_vec(), BOUNDS), Err(HttpError::Redirect(_))));
    serving.join().expect("served");
}

#[test]
fn servers_that_say_too_much_or_nonsense_are_no_answer() {
    let endless = vec![redirect("/again"); 4];
    for (answers, told) in [
        (vec![said("200 OK", &"x".repeat(101))], "body can't be taken"),
        (vec!["HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab".to_owned()], "body can't be taken"),
        (vec!["SSH-2.0-OpenSSH\r\n".to_owned()], "can't be read"),
        (vec![String::new()], "can't be read"),
        (endless, "more than 3"),
        (vec![redirect("file:///etc/passwd")], "redirect that is not followed"),
        (vec![format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(200))], "can't be read"),
    ] {
        let (url, serving) = server(answers);
        let error = get(&url, BOUNDS).expect_err(told).to_string();
        assert!(error.contains(told), "{told}: {error}");
        serving.join().expect("served");
    }
}

#[test]
fn a_server_that_is_silent_or_away_is_not_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let url = Url::parse(&format!("http://{}/", listener.local_addr().expect("an address"))).expect("a URL");
    let begun = Instant::now();
    let bounds = Bounds { time: Duration::from_millis(300), ..BOUNDS };
    let error = get(&url, bounds).expect_err("silent").to_string();
    assert_eq!(error, "no answer within 0.3 seconds");
    // Who speaks no TLS is none to speak with, either.
    let (plain, serving) = server(vec![said("200 OK", "open")]);
    let https = Url::parse(&format!("https://{}/", plain.authority())).expect("a URL");
    assert!(matches!(get(&https, BOUNDS), Err(HttpError::Io(_))));
    serving.join().expect("served");
    drop(listener);
    assert!(matches!(get(&url, BOUNDS), Err(HttpError::Io(_))));
    assert!(begun.elapsed() < Duration::from_secs(8));
}
