//! Groups 4 and 6 over HTTP, at the balancer's doors and at a mirror's own.

use super::NAME;
use crate::support::fleet::Fleet;
use crate::support::run::{run, run_with};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;

const ERROR: &str = "application/hg-error";
const TEXT: &str = "application/mercurial-0.1";
const PAGE: &str = "text/html; charset=utf-8";
/// A status of the balancer's or the mirror's own, whatever its body is.
const ANY: &str = "";

/// Row, target (without the server), options of curl, status, media type.
type Row = (&'static str, String, Vec<&'static str>, u16, &'static str);

fn rows() -> Vec<Row> {
    let command = |rest: &str| format!("/{NAME}?cmd={rest}");
    let gap = vec!["-HX-HgArg-1: key=a", "-HX-HgArg-3: b"];
    let post = |length: &'static str| {
        vec!["-HX-HgArgs-Post: ", "-dkey=tip"]
            .into_iter()
            .map(|option| if option.ends_with(": ") { length } else { option })
            .collect::<Vec<_>>()
    };
    let f = "f".repeat(40);
    vec![
        ("W1", command("nosuch"), vec![], 400, ERROR),
        ("W4", command("known&nodes=xyz"), vec![], 400, ERROR),
        ("W4", command(&format!("known&nodes={}", &f[1..])), vec![], 400, ERROR),
        ("W4", command("between&pairs=xyz"), vec![], 400, ERROR),
        ("W5", command("lookup"), vec![], 400, ERROR),
        ("W5", command("lookup&key=::"), vec![], 200, TEXT),
        ("W5", command("lookup"), vec!["-HX-HgArg-1: key=%00"], 200, TEXT),
        ("W6", command("getbundle&nosuch=1&bundlecaps=HG20"), vec![], 200, TEXT),
        ("W7", command(&format!("getbundle&heads={f}")), vec![], 200, ERROR),
        ("W9", command("getbundle&bundlecaps=HG20,bundle2%3DHG20%250Achangegroup%253D99"), vec![], 200, ERROR),
        ("W10", command("getbundle&cg=yes"), vec![], 400, ERROR),
        ("W10", command("getbundle&cbattempted=2"), vec![], 400, ERROR),
        ("W12", command("batch&cmds=nosuch+"), vec![], 400, ERROR),
        ("W12", command("batch&cmds=heads+%3B"), vec![], 400, ERROR),
        ("W12", command("batch&cmds=pushkey+"), vec![], 400, ERROR),
        ("W15", command("unbundle&heads=666f726365"), vec!["-dHG20"], 200, ERROR),
        ("W15", command("pushkey"), vec!["-dx"], 200, ERROR),
        ("W16", command("stream_out"), vec![], 200, TEXT),
        ("W18", command("lookup"), gap, 400, ERROR),
        ("W18", command("lookup"), vec!["-HX-HgArg-0: key=a"], 400, ERROR),
        ("W18", command("lookup"), vec!["-HX-HgArg-01: key=a"], 400, ERROR),
        ("W18", command("lookup"), vec!["-HX-HgArg-1: key=a", "-HX-HgArg-1: key=a"], 400, ERROR),
        ("W19", command("lookup"), post("-HX-HgArgs-Post: abc"), 400, ERROR),
        ("W19", command("lookup"), post("-HX-HgArgs-Post: -1"), 400, ERROR),
        ("W19", command("lookup"), post("-HX-HgArgs-Post: 99999"), 400, ERROR),
        ("W19", command("lookup"), post("-HX-HgArgs-Post: 999999999"), 413, ERROR),
        ("W21", command("heads"), vec!["-HX-HgProto-1: 0.2 comp=zstd,zstd,evil"], 200, TEXT),
        ("W22", command("debugwireargs"), vec![], 400, ERROR),
        ("W22", command("protocaps&caps=x"), vec![], 200, ERROR),
        ("H1", "/../../etc/passwd".into(), vec![], 404, PAGE),
        ("H1", "/..%2f..%2fetc/passwd".into(), vec![], 404, PAGE),
        ("H1", "/%252e%252e/etc".into(), vec![], 404, PAGE),
        ("H1", "/..%5c..%5cetc".into(), vec![], 404, PAGE),
        ("H1", format!("/{NAME}/.hg/hgrc"), vec![], 404, PAGE),
        ("H1", "/%2fetc/passwd".into(), vec![], 404, PAGE),
        ("H3", "/a%00b".into(), vec![], 400, ANY),
        ("H4", "/%ff%fe".into(), vec![], 404, PAGE),
        ("H11", command("heads"), vec!["-HRange: bytes=0-1,1-2,5-"], 200, TEXT),
        ("H11", format!("/{NAME}"), vec!["-HRange: bytes=-99999999999"], 200, PAGE),
        ("H12", command("heads"), vec!["-HAccept-Encoding: br;q=999, gzip, evil"], 200, TEXT),
        ("H9", "/".into(), vec!["-XTRACE"], 405, ANY),
        ("H9", "/".into(), vec!["-XDELETE"], 405, ANY),
        ("H15", command("unbundle&heads=666f726365"), vec![], 405, ERROR),
        ("H15", command("unbundle"), vec!["-HX-HTTP-Method-Override: POST"], 405, ERROR),
        ("W5", "/nowhere?cmd=heads".into(), vec![], 404, ERROR),
    ]
}

/// What is no proper HTTP, sent as it stands; row and bytes.
fn raw_rows() -> Vec<(&'static str, Vec<u8>)> {
    let post = |rest: &str| {
        let head = format!("POST /{NAME}?cmd=lookup HTTP/1.1\r\nHost: localhost\r\nX-HgArgs-Post: 5\r\n");
        [head.as_bytes(), rest.as_bytes()].concat()
    };
    let get = |rest: &str| format!("GET / HTTP/1.1\r\n{rest}").into_bytes();
    vec![
        ("H7", post("Content-Length: 5\r\nContent-Length: 6\r\n\r\n123456")),
        ("H7", post("Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n")),
        ("H7", post("Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n")),
        ("H7", post("Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n")),
        ("H8", get("Connection: close\r\n\r\n")),
        ("H8", get("Host: a\r\nHost: b\r\nConnection: close\r\n\r\n")),
        ("H8", get("Host: evil\"><script>\r\nConnection: close\r\n\r\n")),
        ("H9", b"GET http://other/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".to_vec()),
        ("H5", get(&format!("Host: a\r\nConnection: close\r\nX: {}\r\n\r\n", "a".repeat(70_000)))),
        ("H5", get(&format!("Host: a\r\n{}\r\n", "X: a\r\n".repeat(10_000)))),
        ("H5", format!("GET /{} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "a".repeat(70_000)).into_bytes()),
        ("H5", vec![b'A'; 2_000_000]),
        ("H16", b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03garbage".to_vec()),
        ("H16", b"SSH-2.0-x\r\n\r\n".to_vec()),
    ]
}

/// Two requests in one, where two readers could see different ones.
fn smuggled() -> Vec<u8> {
    let first = format!(
        "POST /{NAME}?cmd=heads HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    );
    [first.as_bytes(), format!("GET /{NAME}?cmd=branchmap HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()].concat()
}

/// Sends bytes and returns all that comes back.
fn exchange(mut stream: impl Read + Write, bytes: &[u8]) -> String {
    // A server that has refused may close before all of it is sent.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

pub fn check(fleet: &Fleet) {
    let ca = fleet.data().join("ca.pem");
    let socket = fleet.data().join("run/mirror-1.sock");
    let doors: [(&str, Vec<String>, String); 2] = [
        (
            "balancer",
            vec!["--cacert".into(), ca.display().to_string()],
            format!("https://localhost:{}", fleet.https_port),
        ),
        ("mirror", vec!["--unix-socket".into(), socket.display().to_string()], "http://localhost".into()),
    ];
    for (door, options, base) in &doors {
        for (row, target, more, status, media_type) in rows() {
            let mut curl = Command::new("curl");
            curl.args(["-s", "--path-as-is", "-o", "-", "-w", "\n%{http_code} %{content_type}"])
                .args(options)
                .args(more);
            let said = run(curl.arg(format!("{base}{target}"))).ok().out;
            let (body, told) = said.rsplit_once('\n').unwrap();
            let (found, kind) = told.split_once(' ').unwrap();
            assert_eq!(found, status.to_string(), "{row} at the {door}: {target}: {said}");
            assert!(media_type == ANY || kind == media_type, "{row} at the {door}: {target}: {said}");
            let refused = body.starts_with("refused: ") || body.contains("unknown revision");
            let stock = body.contains("push requires POST request") || body.contains("not available over HTTP");
            assert!(media_type != ERROR || refused || stock, "{row} at the {door}: {target}: {said}");
        }
    }
    // W8: a few more hashes than anybody has heads.
    let nodes = format!("nodes={}", ("f".repeat(40) + "+").repeat(100_001));
    let file = fleet.path("many-nodes");
    std::fs::write(&file, &nodes).expect("written");
    for (door, options, base) in &doors {
        let mut curl = Command::new("curl");
        curl.args(["-s", "-w", "\n%{http_code}"]).args(options).arg(format!("-HX-HgArgs-Post: {}", nodes.len()));
        let said =
            run(curl.args(["--data-binary", &format!("@{}", file.display())]).arg(format!("{base}/{NAME}?cmd=known")));
        let said = said.ok().out;
        assert!(said.contains("refused: ") && said.ends_with("\n413"), "W8 at the {door}: {said}");
    }
    let connect = || {
        let stream = UnixStream::connect(&socket).expect("the mirror listens");
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    };
    let tls = |bytes: &[u8]| {
        let address = format!("localhost:{}", fleet.https_port);
        let mut openssl = Command::new("openssl");
        openssl.args(["s_client", "-quiet", "-no_ign_eof", "-connect", &address, "-CAfile"]).arg(&ca);
        run_with(&mut openssl, bytes, Duration::from_secs(30)).out
    };
    let plain = |port: u16, bytes: &[u8]| {
        let stream = std::net::TcpStream::connect(("127.0.0.1", port)).expect("a door");
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        exchange(stream, bytes)
    };
    let refused = |answer: &str| answer.is_empty() || answer.starts_with("HTTP/1.1 4");
    for (row, bytes) in raw_rows() {
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(80)]).into_owned();
        let mirror = exchange(connect(), &bytes);
        assert!(refused(&mirror), "{row} at a mirror: {shown:?}: {mirror}");
        // Port 80 answers whatever has a host with the one address that is ours.
        let redirect = plain(fleet.http_port, &bytes);
        let moved = redirect.starts_with("HTTP/1.1 301") && redirect.contains("\r\nlocation: https://localhost:");
        assert!(refused(&redirect) || moved, "{row} at port 80: {shown:?}: {redirect}");
        // Plain bytes at the TLS door: an alert, or nothing.
        let at_tls = plain(fleet.https_port, &bytes);
        assert!(!at_tls.contains("HTTP/"), "{row} at the TLS door: {shown:?}: {at_tls}");
    }
    // H7: one answer at most, and the connection ends; the second request is nobody's.
    for (door, answer) in [("mirror", exchange(connect(), &smuggled())), ("balancer", tls(&smuggled()))] {
        assert!(answer.matches("HTTP/1.1 ").count() <= 1, "H7 at the {door}: {answer}");
        assert!(!answer.contains("default "), "H7 at the {door}: {answer}");
    }
}
