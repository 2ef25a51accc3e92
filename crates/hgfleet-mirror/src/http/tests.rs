//! The service on a real socket, before requests that no client of Mercurial sends.

use super::{Folders, FromRepositories, serve};
use hg_store::{Repository, StoreFormat};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs;
use std::future::pending;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub(super) fn make_repository(root: &Path) {
    for (path, bytes) in Repository::create_files(StoreFormat::default(), None) {
        let path = root.join(".hg").join(String::from_utf8(path).expect("a name"));
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, bytes).expect("a file");
    }
}

/// Serves an empty repository `team/first`; lives as long as the test.
async fn server() -> (SocketAddr, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    make_repository(&folder.path().join("team/first"));
    let folders = Folders::new(&[folder.path().to_owned()], None).expect("a folder");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let service = Arc::new(FromRepositories(Arc::new(folders)));
    tokio::spawn(serve(listener, service, pending(), Duration::ZERO));
    (address, folder)
}

/// Sends bytes and returns all that comes back until the server closes.
async fn exchange(address: SocketAddr, request: &[u8]) -> String {
    let mut connection = TcpStream::connect(address).await.expect("connected");
    connection.write_all(request).await.expect("sent");
    let mut answer = Vec::new();
    // A connection that was cut may end in an error instead of an end.
    let _ = connection.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

async fn get(address: SocketAddr, target: &str, headers: &str) -> String {
    exchange(address, format!("GET {target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{headers}\r\n").as_bytes())
        .await
}

fn status(answer: &str) -> &str {
    answer.get(9..12).unwrap_or("none")
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_resting_connections_keep_nobody_out() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    // Both ends are in this process.
    let may = limit.maximum.unwrap_or(u64::MAX).saturating_sub(500) / 2;
    let (address, _folder) = server().await;
    let mut resting = Vec::new();
    for number in 0..may.min(5_000) {
        let mut connection = TcpStream::connect(address).await.expect("connected");
        if number % 2 == 0 {
            let _ = connection.write_all(b"GET /team/first?cmd=heads HTTP/1.1\r\nHost: h\r\n\r\n").await;
        }
        resting.push(connection);
    }
    let begun = Instant::now();
    assert_eq!(status(&get(address, "/team/first?cmd=heads", "").await), "200");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    drop(resting);
}

/// Answers of megabytes to a client that takes one byte a second, and to one that takes nothing, are made no further than the connection
/// holds; others are served meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn slow_and_vanished_readers_hurt_nobody() {
    let (address, _folder) = server().await;
    let request =
        format!("GET /team/first?cmd=batch&cmds={} HTTP/1.1\r\nHost: h\r\n\r\n", "heads+%3B".repeat(900) + "heads+");
    let mut slow = Vec::new();
    for number in 0..200 {
        let mut connection = TcpStream::connect(address).await.expect("connected");
        for _ in 0..50 {
            // It may have been cut off.
            let _ = connection.write_all(request.as_bytes()).await;
        }
        let mut byte = [0];
        if number % 2 == 0 {
            connection.read_exact(&mut byte).await.expect("an answer");
            slow.push(connection);
        }
    }
    for _ in 0..3 {
        let begun = Instant::now();
        assert_eq!(status(&get(address, "/team/first?cmd=heads", "").await), "200");
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        for connection in &mut slow {
            let _ = connection.read(&mut [0]).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_repository_answers_as_stock_does() {
    let (address, _folder) = server().await;
    let heads = get(address, "/team/first?cmd=heads", "").await;
    assert!(heads.starts_with("HTTP/1.1 200 Script output follows\r\n"), "{heads}");
    assert!(heads.contains("content-type: application/mercurial-0.1\r\n"), "{heads}");
    assert!(heads.ends_with(&format!("\r\n\r\n{}\n", "0".repeat(40))), "{heads}");
    let old = exchange(address, b"GET /team/first?cmd=branchmap HTTP/1.0\r\n\r\n").await;
    assert!(old.starts_with("HTTP/1.0 200 ") && old.ends_with("\r\n\r\n"), "{old}");
    assert!(get(address, "/healthz", "").await.ends_with("\r\n\r\nok\n"));
    assert!(get(address, "/", "").await.contains("hg clone http://h/team/first"));
    assert!(get(address, "/team/first/", "").await.contains("There is no changeset yet."));
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_outside_are_no_pages() {
    let (address, folder) = server().await;
    fs::write(folder.path().join("secret"), "x").expect("a file");
    for target in [
        "/secret",
        "/team",
        "/team/first/.hg/hgrc",
        "/team/first/../../secret",
        "/..%2fsecret",
        "/%2fetc/passwd",
        "//team/first/x",
        "/%ff%fe",
    ] {
        assert_eq!(status(&get(address, target, "").await), "404", "{target}");
    }
    assert_eq!(status(&get(address, "/team%00/first", "").await), "400");
    assert_eq!(status(&get(address, "/team?cmd=heads", "").await), "404");
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_requests_are_refused_with_a_text() {
    let (address, _folder) = server().await;
    for (query, expected) in [
        ("cmd=nope", "400 refused: no such command, in the request. Update Mercurial, and try again"),
        ("cmd=lookup", "400 refused: argument 'key' is missing, in the request. Update Mercurial, and try again"),
        (
            "cmd=known&nodes=xyz",
            "400 refused: not a changeset hash: 'xyz', in the request. Update Mercurial, and try again",
        ),
        (
            "cmd=getbundle&cg=yes",
            "400 refused: argument 'cg' is neither 0 nor 1: 'yes', in the request. Update Mercurial, and try again",
        ),
        (
            "cmd=between&pairs=00",
            "400 refused: not a pair of hashes: '00', in the request. Update Mercurial, and try again",
        ),
        (
            "cmd=batch&cmds=heads+%3B",
            "400 refused: not a command of a batch: '', in the request. Update Mercurial, and try again",
        ),
        ("cmd=unbundle&heads=666f726365", "405 push requires POST request"),
    ] {
        let answer = get(address, &format!("/team/first?{query}"), "").await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {expected}\r\n")), "{query}: {answer}");
        assert!(answer.contains("content-type: application/hg-error\r\n"), "{query}: {answer}");
    }
    let unknown = get(address, &format!("/team/first?cmd=getbundle&heads={}", "f".repeat(40)), "").await;
    assert!(unknown.contains("application/hg-error") && unknown.contains("unknown revision 'ffff"), "{unknown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn push_is_refused_and_its_body_drained() {
    let (address, _folder) = server().await;
    let mut request =
        b"POST /team/first?cmd=unbundle HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 1000000\r\n\r\n"
            .to_vec();
    request.resize(request.len() + 1_000_000, b'x');
    let answer = exchange(address, &request).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("application/hg-error"), "{answer}");
    assert!(answer.contains("\r\n\r\nrefused: pushes are not taken, on this server. "), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ambiguous_framing_is_refused_or_closes() {
    let (address, _folder) = server().await;
    let post = |rest: &str| format!("POST /team/first?cmd=lookup HTTP/1.1\r\nHost: h\r\nX-HgArgs-Post: 7\r\n{rest}");
    for rest in [
        "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "Content-Length: 7\r\nContent-Length: 8\r\n\r\nkey=tip",
        "Content-Length: -7\r\n\r\nkey=tip",
        "Content-Length: 18446744073709551616\r\n\r\nkey=tip",
        "Content-Length: 3\r\n\r\nkey",
        "Transfer-Encoding: chunked\r\n\r\n0x7\r\nkey=tip\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\nkey=tip\r\n0\r\n\r\n",
        "X: a\r\n b\r\nConnection: close\r\nContent-Length: 7\r\n\r\nkey=tip",
    ] {
        let rest = rest.replacen("\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1);
        assert_eq!(status(&exchange(address, post(&rest).as_bytes()).await), "400", "{rest:?}");
    }
    // hyper takes the chunks and closes: nothing after them is taken for a request.
    let both = "Content-Length: 7\r\nTransfer-Encoding: chunked\r\n\r\n7\r\nkey=tip\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n";
    let answer = exchange(address, post(both).as_bytes()).await;
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn too_large_heads_are_refused() {
    let (address, _folder) = server().await;
    assert_eq!(status(&get(address, &format!("/{}", "a".repeat(70_000)), "").await), "414");
    assert_eq!(status(&get(address, "/", &format!("X: {}\r\n", "a".repeat(70_000))).await), "431");
    let many: String = (0..10_000).map(|n| format!("X-{n}: a\r\n")).collect();
    assert_eq!(status(&get(address, "/", &many).await), "431");
}
