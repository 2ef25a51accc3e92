//! Settings of `[server]`, `[web]` and the like over HTTP, beside `hg serve`: capabilities, refusals with status, media type and text, how
//! answers are compressed. One stock server has a repository for each row.

use hg_store::Repository;
use hg_wire::hidden_access::seen_by;
use hg_wire::http::{Body, HttpOptions, answer, parse};
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Arc;
use support::Hg;

#[allow(dead_code, reason = "other tests use all of it")]
mod support;

/// Words of the capabilities that settings change; of the others some are ours, some stock's.
const COMPARED: [&str; 6] = ["clonebundles", "compression=", "httpheader=", "stream", "unbundle=", "known"];
const PROTOCOL: &str = "0.1 0.2 comp=zstd,zlib,none,bzip2 partial-pull";

struct Stock {
    process: Child,
    port: u16,
}

impl Stock {
    fn start(hg: &Hg, folder: &Path) -> Stock {
        fs::write(folder.join("web.conf"), format!("[paths]\n/ = {}/*\n", folder.display())).expect("written");
        let mut command = hg.plain(folder);
        command.args(["serve", "-a", "127.0.0.1", "-p", "0", "--web-conf", "web.conf", "-A", "/dev/null"]);
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("hg runs");
        let mut line = String::new();
        BufReader::new(process.stdout.take().expect("a pipe")).read_line(&mut line).expect("an address");
        let port = line.trim_end().trim_end_matches(')').rsplit(':').next().expect("a port");
        Stock { port: port.parse().unwrap_or_else(|_| panic!("{line}")), process }
    }
}

impl Drop for Stock {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What tells one answer from another.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    status: u16,
    reason: String,
    media_type: Option<String>,
    body: Vec<u8>,
}

impl Stock {
    fn ask(&self, name: &str, query: &str, headers: &[(&str, &str)]) -> Said {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("it listens");
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        write!(stream, "GET /{name}?{query} HTTP/1.0\r\nHost: h\r\n{headers}\r\n").expect("it reads");
        let mut whole = Vec::new();
        stream.read_to_end(&mut whole).expect("it answers");
        let end = whole.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
        let head = String::from_utf8_lossy(&whole[..end]).into_owned();
        let mut lines = head.lines();
        let mut first = lines.next().expect("a status").splitn(3, ' ').skip(1);
        let status = first.next().and_then(|status| status.parse().ok()).expect("a status");
        let mut values = lines.filter_map(|line| line.split_once(": "));
        let media_type = values.find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        Said {
            status,
            reason: first.next().unwrap_or_default().to_owned(),
            media_type: media_type.map(|(_, value)| value.to_owned()),
            body: whole[end + 4..].to_vec(),
        }
    }
}

fn ours(root: &Path, query: &str, headers: &[(&str, &str)]) -> Said {
    let repository = Repository::open(root).expect("opened");
    let snapshot = Arc::new(repository.snapshot(repository.current_state().expect("read")).expect("a snapshot"));
    let mut request = http::Request::builder().uri(format!("/?{query}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let (head, ()) = request.body(()).expect("a request").into_parts();
    let request = parse(&head).expect("well-formed").expect("a command");
    let hidden = request.wants_hidden.then(|| seen_by(&snapshot, None).expect("read")).flatten();
    let snapshot = hidden.unwrap_or(snapshot);
    let response = answer(request, &mut std::io::empty(), &snapshot, &HttpOptions::default());
    let mut body = Vec::new();
    match response.body {
        Body::Bytes(bytes) => body = bytes,
        Body::File(file) => file.write(&mut body).expect("memory"),
        Body::Stream(stream) => stream(&mut body).expect("memory"),
    }
    let media_type = response.headers.into_iter().find(|(name, _)| *name == "content-type").map(|(_, value)| value);
    Said { status: response.status, reason: response.reason, media_type, body }
}

fn words(said: &Said) -> BTreeSet<String> {
    let text = String::from_utf8_lossy(&said.body).into_owned();
    let mut words: BTreeSet<String> = text
        .split(' ')
        .filter(|word| COMPARED.iter().any(|compared| word.starts_with(compared)))
        .map(str::to_owned)
        .collect();
    words.extend(text.contains("checkheads%3Drelated").then(|| "checkheads".to_owned()));
    words
}

/// The beginning of a stream, which says how it is compressed, and of what kind it is.
fn start(said: &Said) -> Vec<u8> {
    match said.media_type.as_deref() {
        Some("application/mercurial-0.2") => said.body[..=usize::from(said.body[0])].to_vec(),
        _ => said.body.iter().take(1).copied().collect(),
    }
}

#[test]
fn each_setting_does_what_it_does_in_stock() {
    let Some(hg) = Hg::find() else { return };
    let scratch = tempfile::tempdir().expect("a folder");
    let folder = scratch.path();
    hg.run(folder, &["init", "base"]);
    fs::write(folder.join("base/file"), "text\n".repeat(100)).expect("written");
    hg.run(&folder.join("base"), &["commit", "-A", "-m", "one"]);
    let node = hg.run(&folder.join("base"), &["log", "-r", "tip", "-T", "{node}"]);
    let rows = [
        "",
        "[server]\ncompressionengines = none\n",
        "[server]\ncompressionengines = zlib, zstd\n",
        "[server]\ncompressionengines = bz2\nzliblevel = 1\n",
        "[server]\nmaxhttpheaderlen = 6144\nzstdlevel = 19\n",
        "[server]\nbundle1 = no\n",
        "[server]\nbundle1.pull = no\n",
        "[server]\nbundle1gd.pull = no\nbundle1 = yes\n",
        "[server]\ndisablefullbundle = yes\n",
        "[server]\nuncompressed = no\n",
        "[server]\npreferuncompressed = yes\n",
        "[server]\nconcurrent-push-mode = strict\n",
        "[web]\nallow-pull = no\n",
        "[web]\nallowpull = no\n",
        "[web]\ndeny_read = *\n",
        "[web]\nallow_read = ann\n",
        "[web]\nallow_read = *\n",
        "[extensions]\nclonebundles =\n",
    ];
    for (number, settings) in rows.iter().enumerate() {
        let name = format!("r{number}");
        hg.run(folder, &["clone", "-q", "--pull", "-U", "base", &name]);
        // Else stock offers arguments in bodies only where it is asked to.
        fs::write(folder.join(&name).join(".hg/hgrc"), settings).expect("written");
    }
    let stock = Stock::start(&hg, folder);
    let null = "0".repeat(40);
    let full = format!(
        "cmd=getbundle&bundlecaps=HG20%2Cbundle2%3DHG20%250Achangegroup%253D01%252C02&cg=1&common={null}&heads={node}"
    );
    let old = format!("cmd=getbundle&common={null}&heads={node}");
    for (number, settings) in rows.iter().enumerate() {
        let name = format!("r{number}");
        let root = folder.join(&name);
        for query in ["cmd=capabilities", "cmd=heads", &full, &old] {
            for headers in [&[][..], &[("X-HgProto-1", PROTOCOL)], &[("X-HgProto-1", "0.1 0.2 comp=none")]] {
                let (theirs, ours) = (stock.ask(&name, query, headers), ours(&root, query, headers));
                let what = format!("{settings:?} {query} {headers:?}\n{theirs:?}\n{ours:?}");
                assert_eq!((theirs.status, &theirs.reason), (ours.status, &ours.reason), "{what}");
                if theirs.status != 200 {
                    // Stock has none where it serves one repository, and that of a page where it serves several.
                    assert_eq!(theirs.body, ours.body, "{what}");
                    continue;
                }
                assert_eq!(theirs.media_type, ours.media_type, "{what}");
                if query == "cmd=capabilities" {
                    assert_eq!(words(&theirs), words(&ours), "{what}");
                } else if query == "cmd=heads" || theirs.media_type.as_deref() == Some("application/hg-error") {
                    assert_eq!(theirs.body, ours.body, "{what}");
                } else {
                    assert_eq!(start(&theirs), start(&ours), "{what}");
                    let refusal = b"server has pull-based clones disabled";
                    let has = |said: &Said| said.body.windows(refusal.len()).any(|part| part == refusal);
                    assert_eq!(has(&theirs), has(&ours), "{what}");
                }
            }
        }
    }
}

/// Which of these changesets a bundle names.
fn named(body: &[u8], nodes: &[String]) -> Vec<String> {
    let is_in = |node: &&String| {
        let bytes: Vec<u8> =
            (0..40).step_by(2).map(|at| u8::from_str_radix(&node[at..at + 2], 16).expect("hex")).collect();
        body.windows(20).any(|part| part == bytes)
    };
    nodes.iter().filter(is_in).cloned().collect()
}

#[test]
fn views_and_hidden_access_are_stock_s_and_secret_changesets_stay() {
    let Some(hg) = Hg::find() else { return };
    let scratch = tempfile::tempdir().expect("a folder");
    let folder = scratch.path();
    hg.run(folder, &["init", "base"]);
    let base = folder.join("base");
    let commit = |name: &str, on: &str, more: &[&str]| {
        hg.run(&base, &["update", "-q", "-C", on]);
        fs::write(base.join(name), name).expect("written");
        hg.run(&base, &[&["commit", "-A", "-q", "-m", name], more].concat());
    };
    commit("public", "null", &[]);
    hg.run(&base, &["phase", "--public", "0"]);
    commit("draft", "0", &[]);
    hg.run(&base, &["bookmark", "-r", "1", "marked"]);
    commit("secret", "1", &["--secret"]);
    commit("replaced", "0", &[]);
    fs::write(base.join("replaced"), "amended").expect("written");
    hg.run(&base, &["commit", "--amend", "-m", "amended"]);
    hg.run(&base, &["update", "-q", "-C", "0"]);
    hg.run(&base, &["branch", "-q", "side"]);
    commit("side", ".", &[]);
    commit("orphan", ".", &[]);
    hg.run(&base, &["debugobsolete", &hg.run(&base, &["log", "-r", "desc(side)", "-T", "{node}"])]);
    commit("late", "0", &[]);
    hg.run(&base, &["phase", "--public", "desc(late)"]);
    hg.run(&base, &["update", "-q", "-C", "null"]);
    let listed = hg.run(&base, &["log", "--hidden", "-r", "all()", "-T", "{node} {desc}\n"]);
    let lines: Vec<(&str, &str)> = listed.lines().filter_map(|line| line.split_once(' ')).collect();
    let nodes: Vec<String> = lines.iter().map(|(node, _)| (*node).to_owned()).collect();
    let secret = lines.iter().find(|(_, text)| *text == "secret").expect("there").0.to_owned();

    let all = "[experimental]\nserver.allow-hidden-access = *\n";
    // What is set, whether hidden changesets are asked for, and whether stock shows no more than we do.
    let rows = [
        ("[server]\nview = served\n", false, true),
        ("[server]\nview = served.hidden\n", false, true),
        ("[server]\nview = immutable\n", false, true),
        ("[server]\nview = base\n", false, true),
        ("[server]\nview = visible\n", false, false),
        ("[web]\nview = all\n", false, true),
        ("", true, true),
        (all, false, true),
        (all, true, true),
        ("[experimental]\nserver.allow-hidden-access = ann\n", true, true),
        ("[server]\nview = immutable\n[experimental]\nserver.allow-hidden-access = *\n", true, true),
    ];
    for (number, (settings, ..)) in rows.iter().enumerate() {
        let root = folder.join(format!("r{number}"));
        let copied = std::process::Command::new("cp").arg("-a").args([&base, &root]).status().expect("cp runs");
        assert!(copied.success());
        // Else no bundle can be looked into.
        fs::write(root.join(".hg/hgrc"), format!("[server]\ncompressionengines = none\n{settings}")).expect("written");
    }
    let stock = Stock::start(&hg, folder);
    let mut seen = BTreeSet::new();
    for (number, (settings, hidden, is_same)) in rows.iter().enumerate() {
        let name = format!("r{number}");
        let root = folder.join(&name);
        let asked = |query: &str| {
            let query = format!("{query}{}", if *hidden { "&access-hidden=1" } else { "" });
            let headers = [("X-HgProto-1", "0.1 0.2 comp=none")];
            let (theirs, ours) = (stock.ask(&name, &query, &headers), ours(&root, &query, &headers));
            let what = format!("{settings:?} {query}\n{theirs:?}\n{ours:?}");
            (theirs, ours, what)
        };
        let mut queries = vec!["cmd=heads".to_owned(), "cmd=branchmap".to_owned()];
        queries.push(format!("cmd=known&nodes={}", nodes.join("+")));
        queries.push("cmd=listkeys&namespace=bookmarks".to_owned());
        let keys = nodes[1..5].iter().map(String::as_str).chain(["tip", "-1", "marked", "side", "default"]);
        queries.extend(keys.map(|key| format!("cmd=lookup&key={key}")));
        for query in queries {
            let (theirs, ours, what) = asked(&query);
            assert_eq!((theirs.status, &theirs.media_type), (ours.status, &ours.media_type), "{what}");
            assert!(!is_same || theirs.body == ours.body, "{what}");
            let body = String::from_utf8_lossy(&ours.body);
            // The error that says that it isn't shown repeats what was asked for.
            assert!(!body.contains(&secret) || body.starts_with("0 "), "{what}");
        }
        let (_, heads, _) = asked("cmd=heads");
        let heads = String::from_utf8_lossy(&heads.body).trim_end().replace(' ', "+");
        let null = "0".repeat(40);
        let bundle =
            format!("cmd=getbundle&bundlecaps=HG20%2Cbundle2%3DHG20%250Achangegroup%253D02&cg=1&common={null}");
        let (theirs, ours, what) = asked(&format!("{bundle}&heads={heads}"));
        assert_eq!(named(&theirs.body, &nodes), named(&ours.body, &nodes), "{what}");
        seen.insert(named(&ours.body, &nodes).len());
        let (_, ours, what) = asked(&format!("{bundle}&heads={secret}"));
        assert!(named(&ours.body, &nodes).is_empty(), "{what}");
    }
    assert_eq!(seen, BTreeSet::from([1, 2, 6, 7]), "of {} changesets", nodes.len());
}
