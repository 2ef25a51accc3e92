//! The front door over mirrors that do as they are told: what it passes on, what it tries elsewhere,
//! what it refuses.

mod fleet;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fleet::{Answer, Asked, Front, Mirror, at, folder, full, run_of, status};
use hgfleet_balancer::BalancerTimes;
use http::{Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

fn quick() -> BalancerTimes {
    BalancerTimes {
        attempt: Duration::from_millis(500),
        header: Duration::from_millis(400),
        idle: Duration::from_millis(1500),
        master_wait: Duration::from_millis(600),
        drain: Duration::from_millis(500),
        ..BalancerTimes::default()
    }
}

fn position(number: u64) -> Arc<AtomicU64> {
    Arc::new(AtomicU64::new(number))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_past_what_a_mirror_has_is_met_by_the_other() {
    let folder = folder();
    let (ahead, behind) = (position(7), position(7));
    let a = Mirror::start(&run_of(&folder), "a", at(ahead.clone(), "from a"));
    let b = Mirror::start(&run_of(&folder), "b", at(behind.clone(), "from b"));
    let front = Front::start(folder, quick()).await;
    for _ in 0..4 {
        assert_eq!(status(&front.get("/r").await), 200);
    }
    assert!(a.count() >= 1 && b.count() >= 1, "both are asked in turn");
    ahead.store(9, Ordering::SeqCst);
    while !front.get("/r").await.contains("x-hgfleet-position: 9") {}
    for _ in 0..6 {
        let answer = front.get("/r").await;
        assert!(answer.contains("x-hgfleet-position: 9"), "{answer}");
        assert!(answer.ends_with("from a"), "{answer}");
    }
    ahead.store(8, Ordering::SeqCst);
    let answer = front.get("/r").await;
    assert_eq!(status(&answer), 503, "nobody may answer below the floor: {answer}");
    behind.store(10, Ordering::SeqCst);
    assert!(front.get("/r").await.ends_with("from b"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_below_the_tag_is_never_passed_on() {
    let folder = folder();
    let liar: Answer = Arc::new(|asked: Asked| {
        let position = if asked.target == "/first" { 9 } else { 3 };
        let response = Response::builder().header("x-hgfleet-position", position);
        response.body(full("old")).expect("a response")
    });
    let _mirror = Mirror::start(&run_of(&folder), "a", liar);
    let front = Front::start(folder, quick()).await;
    assert_eq!(status(&front.get("/first").await), 200);
    assert_eq!(status(&front.get("/second").await), 503);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_mirror_is_not_noticed_by_readers() {
    let folder = folder();
    let a = Mirror::start(&run_of(&folder), "a", at(position(1), "from a"));
    let _b = Mirror::start(&run_of(&folder), "b", at(position(1), "from b"));
    let front = Front::start(folder, quick()).await;
    for _ in 0..4 {
        assert_eq!(status(&front.get("/r").await), 200);
    }
    a.kill().await;
    for _ in 0..10 {
        let answer = front.get("/r").await;
        assert!(answer.ends_with("from b"), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lapsed_mirror_answers_only_when_no_other_does() {
    let folder = folder();
    let lapsed: Answer = Arc::new(|_| {
        Response::builder()
            .header("x-hgfleet-position", 5)
            .header("x-hgfleet-membership", "lapsed")
            .body(full("from a"))
            .expect("a response")
    });
    let _a = Mirror::start(&run_of(&folder), "a", lapsed);
    let b = Mirror::start(&run_of(&folder), "b", at(position(5), "from b"));
    let front = Front::start(folder, quick()).await;
    for _ in 0..6 {
        assert!(front.get("/r").await.ends_with("from b"));
    }
    b.kill().await;
    let answer = front.get("/r").await;
    assert!(answer.ends_with("from a"), "{answer}");
    assert!(!answer.contains("x-hgfleet-membership"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_no_mirror_the_reason_says_so() {
    let folder = folder();
    let a = Mirror::start(&run_of(&folder), "a", at(position(1), "from a"));
    let front = Front::start(folder, quick()).await;
    a.kill().await;
    let answer = front.get("/r?cmd=capabilities").await;
    let head = answer.lines().next().unwrap_or_default();
    assert_eq!(head, "HTTP/1.1 503 refused: no mirror answers, of this fleet. Try again in a minute");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_repository_is_read_elsewhere_and_named_when_it_is_damaged_everywhere() {
    let folder = folder();
    let damaged: Answer = Arc::new(|asked: Asked| {
        if asked.target == "/healthz" {
            return Response::new(full("ok"));
        }
        Response::builder()
            .status(StatusCode::SERVICE_UNAVAILABLE)
            .header("x-hgfleet-retry", "quarantined")
            .body(full("r is damaged here\n"))
            .expect("a response")
    });
    let _a = Mirror::start(&run_of(&folder), "a", damaged);
    let b = Mirror::start(&run_of(&folder), "b", at(position(1), "from b"));
    let front = Front::start(folder, quick()).await;
    for _ in 0..4 {
        assert!(front.get("/r").await.ends_with("from b"));
    }
    b.kill().await;
    let answer = front.get("/r").await;
    assert_eq!(status(&answer), 503);
    assert!(answer.ends_with("r is damaged here\n"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn posted_arguments_survive_a_second_try() {
    let folder = folder();
    let ahead = position(9);
    let a = Mirror::start(&run_of(&folder), "a", at(ahead, "from a"));
    let b = Mirror::start(&run_of(&folder), "b", at(position(1), "from b"));
    let front = Front::start(folder, quick()).await;
    while !front.get("/r").await.contains("x-hgfleet-position: 9") {}
    let arguments = "x".repeat(3 << 20);
    let tried = b.count();
    for _ in 0..3 {
        let head = "POST /r?cmd=batch HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX-HgArgs-Post: 3145728\r\n";
        let request = format!("{head}Content-Length: {}\r\n\r\n{arguments}", arguments.len());
        assert!(front.send(request).await.ends_with("from a"));
        let last = a.last.lock().expect("lock").clone().expect("asked");
        assert_eq!(last.body.len(), arguments.len());
        assert_eq!(last.headers["content-length"], "3145728");
        assert_eq!(last.headers["x-hgargs-post"], "3145728");
    }
    assert!(b.count() > tried, "b was asked first at least once");
    let chunked = "POST /r HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    assert!(front.send(chunked).await.ends_with("from a"));
    let last = a.last.lock().expect("lock").clone().expect("asked");
    assert_eq!(last.body, "abc");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_too_long_to_keep_is_passed_on_as_it_comes() {
    let folder = folder();
    let a = Mirror::start(&run_of(&folder), "a", at(position(1), "done"));
    let front = Front::start(folder, quick()).await;
    let body = "y".repeat(20 << 20);
    let head = "POST /r?cmd=unbundle HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
    let request = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
    assert!(front.send(request).await.ends_with("done"));
    let last = a.last.lock().expect("lock").clone().expect("asked");
    assert_eq!(last.body.len(), body.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_breaks_off_in_a_long_body_gives_no_mirror_a_bad_name() {
    let folder = folder();
    let _a = Mirror::start(&run_of(&folder), "a", at(position(1), "done"));
    let front = Front::start(folder, quick()).await;
    let mut stream = front.connect();
    let sent = tokio::task::spawn_blocking(move || {
        let head = "POST /r?cmd=unbundle HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20000000\r\n\r\n";
        let sent = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&vec![0; 12_000_000]));
        sent.and_then(|()| stream.flush()).expect("sent");
    });
    sent.await.expect("sent");
    // One that is given up is asked again a moment later.
    for _ in 0..60 {
        let answer = front.get("/healthz").await;
        assert!(answer.contains("serving 1"), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clients_own_tag_does_not_reach_a_mirror() {
    let folder = folder();
    let a = Mirror::start(&run_of(&folder), "a", at(position(3), "ok"));
    let front = Front::start(folder, quick()).await;
    let request = "GET /r HTTP/1.1\r\nHost: evil.example\r\nX-Hgfleet-Position: 99\r\nX-Forwarded-Host: evil.example\r\nConnection: close\r\n\r\n";
    assert_eq!(status(&front.send(request).await), 200);
    let last = a.last.lock().expect("lock").clone().expect("asked");
    assert_eq!(last.tag(), 3, "{:?}", last.headers);
    let host = format!("localhost:{}", front.https.port());
    assert_eq!(last.headers["host"], host.as_str());
    assert!(!last.headers.contains_key("x-forwarded-host"));
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_two_lengths_get_400_and_the_connection_ends() {
    let folder = folder();
    let a = Mirror::start(&run_of(&folder), "a", at(position(1), "ok"));
    let front = Front::start(folder, quick()).await;
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for headers in [
        "Content-Length: 3\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 3",
        "Content-Length: 3\r\nContent-Length: 3",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding : chunked",
        "Content-Length: 1e3",
        "A: b\r\n folded: c",
        "A: b\nC: d",
    ] {
        let before = a.count();
        let request = format!("POST / HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n\r\n0\r\n\r\n{smuggled}");
        let answer = front.send(request).await;
        assert_eq!(status(&answer), 400, "{headers:?}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{headers:?}: {answer}");
        assert_eq!(a.count(), before, "{headers:?} reached a mirror");
    }
    for (request, expected) in [
        ("GET http://other/ HTTP/1.1\r\nHost: localhost\r\n", 400),
        ("CONNECT other:443 HTTP/1.1\r\nHost: localhost\r\n", 405),
        ("TRACE / HTTP/1.1\r\nHost: localhost\r\n", 405),
        ("OPTIONS * HTTP/1.1\r\nHost: localhost\r\n", 405),
        ("GET / HTTP/1.1\r\n", 400),
        ("GET /a%00 HTTP/1.1\r\nHost: localhost\r\n", 400),
        ("PRI * HTTP/2.0\r\n", 400),
    ] {
        let answer = front.send(format!("{request}Connection: close\r\n\r\n")).await;
        assert_eq!(status(&answer), expected, "{request:?}: {answer}");
    }
    let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(70_000));
    assert_eq!(status(&front.send(long).await), 414);
    let wide = format!("GET / HTTP/1.1\r\nHost: a\r\nA: {}\r\nConnection: close\r\n\r\n", "x".repeat(70_000));
    assert_eq!(status(&front.send(wide).await), 431);
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "A: b\r\n".repeat(10_000));
    assert_eq!(status(&front.send(many).await), 431);
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_heads_and_idle_connections_are_cut_and_busy_ones_are_not() {
    let folder = folder();
    let slow: Answer = Arc::new(|asked: Asked| {
        if asked.target == "/slow" {
            std::thread::sleep(Duration::from_millis(2500));
        }
        Response::new(full("ok"))
    });
    let _a = Mirror::start(&run_of(&folder), "a", slow);
    let times = BalancerTimes { attempt: Duration::from_secs(10), ..quick() };
    let front = Front::start(folder, times).await;
    let begun = Instant::now();
    assert_eq!(front.send("GET /r HTTP/1.1\r\nHost: local").await, "");
    assert!(begun.elapsed() < Duration::from_millis(1200), "{:?}", begun.elapsed());
    let begun = Instant::now();
    let answer = front.send("GET /r HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!(status(&answer), 200);
    let (waited, idle) = (begun.elapsed(), quick().idle);
    assert!(waited >= idle && waited < idle * 2, "kept open for {waited:?}");
    // Longer than head and idle limits: it is being answered.
    assert_eq!(status(&front.get("/slow").await), 200);
}

/// Connects as often to a door and says this each time; fewer where this process may not open as many files.
fn crowd(address: SocketAddr, count: u64, say: &[u8]) -> Vec<TcpStream> {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    let may = limit.maximum.unwrap_or(u64::MAX).saturating_sub(500) / 2;
    let connect = |_| {
        let mut connection = TcpStream::connect(address).expect("connected");
        connection.write_all(say).expect("sent");
        connection
    };
    (0..count.min(may)).map(connect).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_resting_connections_keep_nobody_out() {
    let folder = folder();
    let _a = Mirror::start(&run_of(&folder), "a", at(position(1), "read"));
    let patient = Duration::from_secs(600);
    let times = BalancerTimes { header: patient, idle: patient, ..quick() };
    let front = Front::start(folder, times).await;
    // A request, which is answered, and no other; nothing at all, where TLS has to be agreed on first.
    let plain = front.http;
    let resting =
        tokio::task::spawn_blocking(move || crowd(plain, 5_000, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    let resting = resting.await.expect("connected");
    let begun = Instant::now();
    let answer = say_from(1, plain, b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
    assert_eq!(status(&answer), 301);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    drop(resting);
    let tls = front.https;
    let resting = tokio::task::spawn_blocking(move || crowd(tls, 5_000, b"")).await.expect("connected");
    let begun = Instant::now();
    assert_eq!(status(&front.get("/r").await), 200);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    drop(resting);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_replies_stream_and_an_aborted_client_hurts_nobody() {
    const PIECE: usize = 256 * 1024;
    let folder = folder();
    let pieces_made = Arc::new(AtomicU64::new(0));
    let made = pieces_made.clone();
    let large: Answer = Arc::new(move |asked: Asked| {
        if asked.target == "/healthz" {
            return Response::new(full("ok"));
        }
        let made = made.clone();
        let piece = Bytes::from(vec![1; PIECE]);
        let pieces = futures_util::stream::iter(0..4096_u32).map(move |_| {
            made.fetch_add(1, Ordering::SeqCst);
            Ok(Frame::data(piece.clone()))
        });
        Response::new(BodyExt::boxed(StreamBody::new(pieces)))
    });
    use futures_util::StreamExt;
    let _a = Mirror::start(&run_of(&folder), "a", large);
    let front = Front::start(folder, quick()).await;
    let mut stream = front.connect();
    let aborted = tokio::task::spawn_blocking(move || {
        stream.write_all(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("sent");
        let mut some = [0; 1 << 16];
        stream.read_exact(&mut some).expect("a beginning");
    });
    aborted.await.expect("aborted");
    tokio::time::sleep(Duration::from_millis(300)).await;
    let after_abort = pieces_made.load(Ordering::SeqCst);
    assert!(after_abort < 400, "{after_abort} pieces were made for nobody");
    let mut stream = front.connect();
    let begun = Instant::now();
    let bytes = tokio::task::spawn_blocking(move || {
        let request = b"GET /large HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(request).expect("sent");
        let (mut buffer, mut bytes) = (vec![0; 1 << 20], 0);
        loop {
            match stream.read(&mut buffer).expect("read") {
                0 => return bytes,
                read => bytes += read,
            }
        }
    });
    let bytes = bytes.await.expect("read");
    assert!(bytes > 4096 * PIECE);
    let rate = bytes as f64 / begun.elapsed().as_secs_f64() / 1e6;
    println!("1 GiB through TLS, client in the same process: {rate:.0} MB/s");
    let answer = front.get("/healthz").await;
    assert!(answer.contains("serving 1"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_leads_to_the_configured_name() {
    let folder = folder();
    let _a = Mirror::start(&run_of(&folder), "a", at(position(1), "ok"));
    let front = Front::start(folder, quick()).await;
    let port = front.https.port();
    let http = front.http;
    let ask = async |request: String| {
        tokio::task::spawn_blocking(move || {
            let mut stream = TcpStream::connect(http).expect("connected");
            stream.write_all(request.as_bytes()).expect("sent");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).expect("read");
            answer
        })
        .await
        .expect("asked")
    };
    for (host, target, location) in [
        ("127.0.0.1", "/team/first?x=1", format!("https://127.0.0.1:{port}/team/first?x=1")),
        ("localhost:80", "/", format!("https://localhost:{port}/")),
        ("[::1]:80", "/a", format!("https://[::1]:{port}/a")),
        ("evil.example", "/a", format!("https://localhost:{port}/a")),
        ("evil\"><script>", "/%0d%0aX:y", format!("https://localhost:{port}/%0d%0aX:y")),
        ("localhost", "//evil.example/", format!("https://localhost:{port}//evil.example/")),
    ] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let answer = ask(request).await;
        assert_eq!(status(&answer), 301, "{answer}");
        let expected = format!("\r\nlocation: {location}\r\n");
        assert!(answer.contains(&expected), "{host} {target}: {answer}");
    }
    let answer = ask("GET http://evil.example/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".into()).await;
    assert_eq!(status(&answer), 400);
    assert_eq!(status(&ask("garbage\r\n\r\n".into()).await), 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn ssh_waits_for_a_master_that_restarts_and_passes_half_closes_on() {
    let folder = folder();
    let _a = Mirror::start(&run_of(&folder), "a", at(position(1), "ok"));
    let front = Front::start(folder, BalancerTimes { master_wait: Duration::from_secs(20), ..quick() }).await;
    fleet::hold_lease(front.folder.path(), "master").await;
    let run = run_of(&front.folder).join("master");
    std::fs::create_dir(&run).expect("made");
    let door = run.join("ssh.sock");
    let master = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let listener = std::os::unix::net::UnixListener::bind(door).expect("bound");
        tokio::task::spawn_blocking(move || {
            // The first one is as good as dead: it never greets, and is left.
            let (dead, _) = listener.accept().expect("accepted");
            drop(dead);
            let (mut stream, _) = listener.accept().expect("accepted");
            stream.write_all(b"SSH-2.0-master\r\n").expect("greeted");
            let mut said = String::new();
            stream.read_to_string(&mut said).expect("read to the end");
            stream.write_all(b"heard all").expect("answered");
            said
        })
        .await
        .expect("served")
    });
    let ssh = front.ssh;
    let answer = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(ssh).expect("connected");
        stream.write_all(b"SSH-2.0-client\r\n").expect("sent");
        stream.shutdown(std::net::Shutdown::Write).expect("half closed");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("read");
        answer
    });
    assert_eq!(answer.await.expect("answered"), "SSH-2.0-master\r\nheard all");
    let said = master.await.expect("served");
    let (line, rest) = said.split_once("\r\n").expect("a first line");
    assert!(line.starts_with("PROXY TCP4 127.0.0.1 127.0.0.1 "), "{line}");
    assert_eq!(rest, "SSH-2.0-client\r\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_master_an_ssh_connection_ends_after_its_wait() {
    let folder = folder();
    let _a = Mirror::start(&run_of(&folder), "a", at(position(1), "ok"));
    let mut front = Front::start(folder, quick()).await;
    let ssh = front.ssh;
    let begun = Instant::now();
    let read = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(ssh).expect("connected");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("an end");
        answer
    });
    assert_eq!(read.await.expect("read"), b"");
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    front.stop().await;
    assert!(TcpStream::connect(ssh).is_err(), "the listener is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_alternates_never_goes_back() {
    let folder = folder();
    let positions = [position(1), position(1)];
    let _a = Mirror::start(&run_of(&folder), "a", at(positions[0].clone(), "a"));
    let _b = Mirror::start(&run_of(&folder), "b", at(positions[1].clone(), "b"));
    let front = Front::start(folder, BalancerTimes { attempt: Duration::from_secs(5), ..quick() }).await;
    let go_on = Arc::new(AtomicBool::new(true));
    let mover = {
        let (positions, go_on) = (positions.clone(), go_on.clone());
        tokio::spawn(async move {
            for next in 2.. {
                for position in &positions {
                    position.store(next, Ordering::SeqCst);
                    tokio::time::sleep(Duration::from_millis(7)).await;
                }
                if !go_on.load(Ordering::SeqCst) {
                    return;
                }
            }
        })
    };
    let mut seen = 0;
    for _ in 0..200 {
        let answer = front.get("/r").await;
        let position = answer.split("x-hgfleet-position: ").nth(1).expect("a position");
        let position: u64 = position.lines().next().expect("a line").parse().expect("a number");
        assert!(position >= seen, "went back from {seen} to {position}");
        seen = position;
    }
    assert!(seen > 3, "positions moved meanwhile");
    go_on.store(false, Ordering::SeqCst);
    mover.await.expect("moved");
}

/// A master that tells what it was told, and its front door.
async fn behind(trusted: &[&str]) -> (Front, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let folder = folder();
    let mirror = Mirror::start(&run_of(&folder), "a", at(position(1), "ok"));
    // It lives as long as the test.
    std::mem::forget(mirror);
    let front = Front::start_behind(folder, quick(), trusted).await;
    fleet::hold_lease(front.folder.path(), "master").await;
    let run = run_of(&front.folder).join("master");
    std::fs::create_dir(&run).expect("made");
    let listener = tokio::net::UnixListener::bind(run.join("ssh.sock")).expect("bound");
    let (told, heard) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut bytes = [0; 256];
            let filled = stream.read(&mut bytes).await.expect("read");
            let _ = stream.write_all(b"SSH-2.0-master\r\n").await;
            let _ = told.send(String::from_utf8_lossy(&bytes[..filled]).into_owned());
        }
    });
    (front, heard)
}

/// Connects from this address of this machine, sends bytes, and reads the answer until the other side ends it: hyper answers nobody whose
/// end of input it sees before the answer is made.
async fn say_from(host: u8, address: SocketAddr, bytes: &[u8]) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::from(([127, 0, 0, host], 0))).expect("bound");
    let mut stream = socket.connect(address).await.expect("connected");
    let mut answer = Vec::new();
    // A connection that is refused with bytes unread is reset.
    let _ = stream.write_all(bytes).await;
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

const LINE: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 22\r\n";

/// T11: from a server that is trusted. HTTPS is asked by a real client in the end-to-end tests.
#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_server_says_where_its_clients_are() {
    let (front, mut heard) = behind(&["127.0.0.3/32"]).await;
    let binary =
        [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x08\xc6\x33\x64\x01\x12\x67\0\x16"[..], b"SSH-2.0-x\r\n"]
            .concat();
    let local = [&b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"[..], b"SSH-2.0-x\r\n"].concat();
    for (bytes, client) in [
        ([LINE, b"SSH-2.0-x\r\n"].concat(), "192.0.2.7 "),
        (binary, "192.0.2.8 "),
        // It connects for itself: the address is its own.
        (local, "127.0.0.3 "),
    ] {
        assert_eq!(say_from(3, front.ssh, &bytes).await, "SSH-2.0-master\r\n");
        let line = heard.recv().await.expect("heard");
        assert!(line.starts_with(&format!("PROXY TCP4 {client}")), "{line}");
    }
    let plain = [LINE, b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"].concat();
    assert!(say_from(3, front.http, &plain).await.starts_with("HTTP/1.1 301"));

    // What is no header is no client's, on no port; and is not passed on.
    let long = [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff"[..], &[0; 4_000]].concat();
    let overrun =
        [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x10\xc0\0\x02\x08\xc6\x33\x64\x01\x12\x67\0\x16"[..], b"\x04\xff\xff\0SSH"]
            .concat();
    for bytes in [b"SSH-2.0-x\r\n\r\n\r\n".to_vec(), b"GET / HTTP/1.1\r\n\r\n".to_vec(), long, overrun] {
        for door in [front.ssh, front.http, front.https] {
            assert_eq!(say_from(3, door, &bytes).await, "", "{}", bytes.escape_ascii());
        }
    }
    assert!(heard.try_recv().is_err(), "nothing was passed on");
    // Said twice: the second one is what the client says, garbage, and for SSH's door to refuse.
    say_from(3, front.ssh, &[LINE, b"PROXY TCP4 127.0.0.1 198.51.100.1 1 22\r\n"].concat()).await;
    let line = heard.recv().await.expect("heard");
    assert!(line.starts_with("PROXY TCP4 192.0.2.7 ") && !line.starts_with("PROXY TCP4 127"), "{line}");
}

/// T11: from everybody else a header is what the client says, and its address is where it connects from.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_is_believed() {
    let (front, mut heard) = behind(&["10.0.0.0/8"]).await;
    say_from(1, front.ssh, LINE).await;
    let line = heard.recv().await.expect("heard");
    assert!(line.starts_with("PROXY TCP4 127.0.0.1 "), "{line}");
    let plain = [LINE, b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"].concat();
    assert!(say_from(1, front.http, &plain).await.starts_with("HTTP/1.1 400"));
}

/// What the master has ended is over, whatever its client does: its place is free.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_the_master_has_ended_is_not_held_open_by_its_client() {
    let (front, _heard) = behind(&[]).await;
    let ssh = front.ssh;
    let silent = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(ssh).expect("connected");
        let mut greeting = Vec::new();
        stream.read_to_end(&mut greeting).expect("read");
        std::thread::sleep(Duration::from_millis(2_500));
        // The first bytes may be taken by the system, and are answered by a reset.
        let _ = stream.write_all(b"x");
        std::thread::sleep(Duration::from_millis(100));
        stream.write_all(b"x").is_err()
    });
    assert!(silent.await.expect("written"), "the balancer still reads");
}
