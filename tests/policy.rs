//! The checks of what a push brings, as those feel them who push.

use crate::support::fleet::Fleet;
use crate::support::run::{Said, run};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};

/// A fleet with a file of rules, and one repository for each name.
struct World {
    _folder: tempfile::TempDir,
    rules: PathBuf,
    fleet: Fleet,
}

impl World {
    fn start(rules: &str, repositories: &[&str]) -> World {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("policy.toml");
        std::fs::write(&path, rules).expect("written");
        let fleet = Fleet::start_with(&[], &format!("[policy]\nrules = \"{}\"", path.display()));
        for name in repositories {
            fleet.hgfleet(&["repo", "create", name]).ok();
        }
        World { _folder: folder, rules: path, fleet }
    }
}

/// Everything that the client read of a push that was refused.
#[track_caller]
fn refused(said: Said) -> String {
    assert_eq!(said.status, 255, "{said:#?}");
    let told = format!("{}{}", said.out, said.err);
    assert!(told.contains("abort: push failed on remote"), "{told}");
    told
}

#[test]
fn a_push_that_breaks_a_rule_is_refused_whole() {
    let rule = "repositories = [\"strict\"]\n\
        messages = { pattern = '(?i)^bug \\d+', remedy = 'Begin with \"Bug 123\"', override = \"IGNORE BAD COMMIT MESSAGES\" }\n\
        files = { bytes_max = 1000, forbidden = [\"secret/**\"], symlinks = false }\n\
        branches = { one_head = true, new = false }\n\
        case = { renames = false, collisions = false }\n\
        bookmarks = { allowed = false }\n";
    let protected = "protected = [{ paths = [\"release/**\"], groups = [\"release\"] }]\n";
    let strict = format!("[[rule]]\n{rule}{protected}");
    let world = World::start(&strict, &["plain", "strict", "checked", "odd"]);
    let (fleet, write) = (&world.fleet, |text: &str| std::fs::write(&world.rules, text).expect("written"));

    // Without a rule of its own a repository takes what hurts no client.
    let plain = fleet.init("plain");
    plain.commit("sub/.hgtags", "", "no tags yet");
    plain.push("plain").ok();
    let path = "sub/.hg::$INDEX_ALLOCATION/hgrc";
    plain.commit(path, "x\n", "a name");
    let told = refused(plain.push("plain"));
    let of = plain.hg(&["log", "-r", ".", "-T", "{short(node)}"]).ok().out;
    let line = format!(
        "remote: refused: a file's name can't be checked out safely (changeset {of}, file {path}: a part that some file system takes for .hg), on plain. Rename it"
    );
    assert!(told.contains(&line), "N1: {told}");
    let kept = line.replace("remote: ", "  ");
    let status = fleet.ssh("status plain").ok().out;
    assert!(status.contains("last refused push: by ") && status.contains(&kept), "{status}");

    // All that is wrong is told at once, and nothing is stored.
    let work = fleet.init("work");
    work.commit("README", "1\n", "Bug 1: first");
    work.push("strict").ok();
    work.commit("readme", "1\n", "oops");
    work.commit("secret/key", "x".repeat(1001), "oops again");
    work.hg_here(&["bookmark", "mine"]).ok();
    let told = refused(work.hg(&["push", "-B", "mine", &fleet.ssh_url("strict")]));
    for line in [
        "remote: refused: a commit message is not as it must be (2 times), on strict. Begin with \"Bug 123\".",
        "remote: refused: a file has more than 1000 bytes (changeset ",
        "remote: refused: a file that must not come here (changeset ",
        "remote: refused: two names are one on Windows or macOS (changeset ",
        "files readme and README",
        "remote: refused: bookmarks are disabled (bookmark mine), on strict",
        "remote: transaction abort!",
    ] {
        assert!(told.contains(line), "{line}: {told}");
    }
    assert!(!told.contains("stored as"), "{told}");
    let status = fleet.ssh("status strict").ok().out;
    for line in ["  refused: a commit message is not as it must be (2 times)", "  refused: bookmarks are disabled"] {
        assert!(status.contains(line), "{line}: {status}");
    }
    let tip = work.hg(&["identify", "--id", &fleet.https_url("strict")]).ok().out;
    assert_eq!(tip.trim(), work.hg_here(&["log", "-r", "0", "-T", "{short(node)}"]).ok().out, "nothing was stored");
    work.hg_here(&["bookmark", "-d", "mine"]).ok();
    work.hg(&["--config", "extensions.strip=", "strip", "-q", "--no-backup", "-r", "1"]).ok();

    // An override pardons what it is for, and what came before it.
    work.commit("b", "1\n", "oops");
    work.commit("b", "2\n", "fine: IGNORE BAD COMMIT MESSAGES");
    let told = work.push("strict").ok();
    assert!(format!("{told:?}").contains("remote: commit messages are not looked at up to changeset"), "{told:#?}");

    // Groups come from the directory, as it is now; so do the rules, from their file, and a broken one changes nothing.
    work.commit("release/notes", "1\n", "Bug 3: notes");
    write("[[rule]]\nrepositories = 1\n");
    let told = refused(work.push("strict"));
    let line = "refused: a protected file is changed (changeset ";
    assert!(told.contains(line) && told.contains("Ask a member of release to push it"), "{told}");
    let mail = fleet.hgfleet(&["account", "list"]).ok().out.split('\t').next().expect("an account").to_owned();
    write(&strict.replace("[\"release\"]", &format!("[\"release\", \"{mail}\"]")));
    work.push("strict").ok();

    // A tree that is closed, and a push that goes on.
    let status = fleet.path("tree");
    std::fs::write(&status, "closed the build is broken\n").expect("written");
    write(&format!("[[rule]]\nrepositories = [\"**\"]\ntree = {{ file = \"{}\" }}\n", status.display()));
    work.commit("b", "3\n", "repair, CLOSED TREE");
    let told = work.push("strict").ok();
    let line = "remote: the tree is closed: the build is broken; the push goes on by \"CLOSED TREE\"";
    assert!(told.out.contains(line) || told.err.contains(line), "{told:#?}");
    fleet.assert_one_store("strict");
    others_decide(&world);
    odd_content_does_nothing(fleet);
}

/// Programs and servers that are asked, and what the log's pushes would have met.
fn others_decide(world: &World) {
    let (fleet, write) = (&world.fleet, |text: &str| std::fs::write(&world.rules, text).expect("written"));
    let server = Server::start();
    let program = fleet.path("licences");
    let hg = run(Command::new("sh").args(["-c", "command -v hg"])).ok().out;
    let script = format!(
        "hg() {{ {} \"$@\"; }}\ncat >description\nhg -R incoming.hg log -r 'bundle()' -T '{{rev}} {{desc}}: {{files}}\\n'\n\
         hg -R incoming.hg log -r 'not bundle()' -T 'x' | grep -q x && echo on top of others\n\
         for file in $(hg -R incoming.hg files -r tip 'set:grep(unlicensed)'); do echo \"$file has no licence\"; exit 1; done\n",
        hg.trim()
    );
    std::fs::write(&program, script).expect("written");
    write(&format!(
        "[[rule]]\nrepositories = [\"checked\"]\ntree = {{ url = \"{0}/tree\", seconds_max = 10 }}\n\
         external = [{{ name = \"licences\", program = [\"/bin/sh\", \"{1}\"] }}, {{ name = \"hook\", url = \"{0}/hook\" }}]\n",
        server.url,
        program.display()
    ));

    // A first push, whose words would do harm in a shell.
    let work = fleet.init("checked");
    work.commit("a file", "1\n", "first; touch pwned `touch pwned` $(touch pwned)");
    let told = work.push("checked").ok();
    let told = format!("{}{}", told.out, told.err);
    for line in [
        "remote: licences: 0 first; touch pwned `touch pwned` $(touch pwned): a file\n",
        "remote: hook: thanks\n",
        "remote: stored as ",
    ] {
        assert!(told.contains(line), "{line}: {told}");
    }
    assert!(!told.contains("on top"), "{told}");
    let asked = server.asked();
    assert!(
        asked[0].starts_with("GET /tree HTTP/1.1\r\n") && asked[1].starts_with("POST /hook HTTP/1.1\r\n"),
        "{asked:?}"
    );
    let json = asked[1].split("\r\n\r\n").nth(1).expect("a body");
    let told: serde_json::Value = serde_json::from_str(json).expect("JSON");
    let mail = fleet.hgfleet(&["account", "list"]).ok().out.split('\t').next().expect("an account").to_owned();
    assert_eq!((&told["version"], &told["repository"], &told["account"]), (&1.into(), &"checked".into(), &mail.into()));
    assert_eq!(told["changesets"][0]["files"][0], serde_json::json!({"path": "a file", "change": "added"}));
    let node = work.hg_here(&["log", "-r", "tip", "-T", "{node}"]).ok().out;
    assert_eq!((&told["changesets"][0]["node"], &told["store"]), (&node.into(), &serde_json::Value::Null));

    // One that the program does not take, on top of what is there, by each form of bundle that clients send.
    work.commit("b", "unlicensed\n", "second");
    for (form, status) in [("devel.legacy.exchange=none", 255), ("devel.legacy.exchange=bundle1", 1)] {
        let said = work.hg(&["--config", form, "push", &fleet.ssh_url("checked")]);
        assert_eq!(said.status, status, "{said:#?}");
        let told = format!("{}{}", said.out, said.err);
        for line in [
            "remote: licences: 1 second: b\n",
            "remote: licences: on top of others\n",
            "remote: licences: b has no licence\n",
            "remote: refused: the check licences does not take it, on checked. Do what it says above, and push again\n",
        ] {
            assert!(told.contains(line), "{form}: {line}: {told}");
        }
    }
    work.commit("b", "licensed\n", "third");
    // Then the server says no; then it is gone, with the tree's state.
    server.answer("/hook", "403 Forbidden", "not on a Friday\n");
    let told = refused(work.push("checked"));
    assert!(
        told.contains("remote: hook: not on a Friday\n")
            && told.contains("the check hook does not take it, on checked"),
        "{told}"
    );
    server.answer("/tree", "200 OK", "closed for a release\n");
    let told = refused(work.push("checked"));
    assert!(
        told.contains("remote: refused: the tree is closed: for a release, on checked. Push again when it is open"),
        "{told}"
    );
    server.answer("/tree", "503 Service Unavailable", "open\n");
    let told = refused(work.push("checked"));
    assert!(told.contains("remote: refused: nobody knows whether the tree is open, on checked."), "{told}");
    assert!(!told.contains("licences"), "the others are asked last: {told}");
    let tip = work.hg(&["identify", "--id", &fleet.https_url("checked")]).ok().out;
    assert_eq!(tip.trim(), work.hg_here(&["log", "-r", "0", "-T", "{short(node)}"]).ok().out, "nothing was stored");
    let run_folder = fleet.data().join("run/master");
    let left: Vec<_> =
        std::fs::read_dir(run_folder).expect("read").map(|entry| entry.expect("read").file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with("check-")), "{left:?}");
    fleet.assert_one_store("checked");

    // What is in the log was taken, and would not be by other rules.
    write("");
    let tried = fleet.path("tried.toml");
    std::fs::write(&tried, "[[rule]]\nrepositories = [\"**\"]\nmessages = { pattern = '^Bug' }\n").expect("written");
    let tried = tried.to_str().expect("UTF-8");
    let said = fleet.hgfleet(&["policy", "test", "--last", "2", "strict", "--rules", tried]);
    assert_eq!((said.status, said.err.as_str()), (1, ""), "{said:#?}");
    let lines: Vec<&str> = said.out.lines().collect();
    assert_eq!(lines[0], "the rule of line 1 counts for strict");
    assert!(lines[1].contains("  1 changesets  taken") && lines[2].contains("  1 changesets  refused"), "{lines:#?}");
    assert!(lines[3].contains("a commit message is not as it must be"), "{lines:#?}");
    assert_eq!(lines[4], "1 of 2 pushes would be refused");
    let said = fleet.hgfleet(&["policy", "test", "strict"]).ok();
    assert!(said.out.ends_with(" of 4 pushes would be refused\n"), "{said:#?}");
    let said = fleet.hgfleet(&["policy", "test", "nowhere"]).refused();
    assert!(said.err.contains("no server of this machine has a repository nowhere"), "{said:#?}");
}

/// Rows N6, N8 and N9 of the bad input: what files and changesets say is kept, and neither believed nor carried out.
fn odd_content_does_nothing(fleet: &Fleet) {
    let work = fleet.init("odd");
    // A file whose name makes the pattern below take for ever, where somebody asks it.
    work.commit(&format!("{}!", "a".repeat(60)), "1\n", "first");
    let first = work.hg_here(&["log", "-r", "0", "-T", "{node}"]).ok().out;
    work.commit("README", "(a+)+$\n".repeat(1000), "second");
    work.commit(".hgignore", "syntax: regexp\n^(a+)+$\n", "third");
    work.commit(".hgeol", "[patterns]\n**{a,{a,{a,{a,{a,*}}}}} = native\n", "fourth");
    let tags = format!(
        "{first} v1\n{} gone\n{first} tip\n{first} null\n{first} ..\n{first}\n\0\n{first} a\tb\u{1b}[2J\n",
        "12".repeat(20)
    );
    std::fs::write(work.path.join(".hgtags"), tags).expect("written");
    let author = format!("Other <other@example.com> \u{202e}{}", "x".repeat(100_000));
    work.hg_here(&["commit", "-q", "-A", "-m", "tags", "-u", &author]).ok();
    work.push("odd").ok();

    let id = |name: &str| work.hg(&["identify", "--id", "-r", name, &fleet.https_url("odd")]);
    let tip = work.hg_here(&["log", "-r", "tip", "-T", "{short(node)}"]).ok().out;
    assert_eq!((id("v1").ok().out.trim(), id("tip").ok().out.trim()), (&first[..12], &*tip), "N6");
    assert_eq!(id("null").ok().out.trim(), "0".repeat(12), "N6");
    let said = id("gone");
    assert!(said.status == 255 && said.err.contains("unknown revision 'gone'"), "N6: {said:#?}");
    // Who pushed is the key's owner.
    let mail = fleet.hgfleet(&["account", "list"]).ok().out.split('\t').next().expect("an account").to_owned();
    let listed = fleet.hgfleet(&["log", "list"]).ok().out;
    let line = listed.lines().rfind(|line| line.contains("  odd  ")).expect("a record");
    assert!(line.contains(&format!("  odd  {mail}  5 changesets  ")) && !listed.contains("other@"), "N8: {line}");
    fleet.assert_one_store("odd");
}

/// A server on loopback that keeps what it is asked, and says what it is told to.
struct Server {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
    answers: Arc<Mutex<HashMap<String, String>>>,
}

impl Server {
    /// It takes everything, and its tree is open.
    fn start() -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let server = Server { url, asked: Arc::default(), answers: Arc::default() };
        server.answer("/hook", "200 OK", "thanks\n");
        server.answer("/tree", "200 OK", "open\n");
        let (asked, answers) = (server.asked.clone(), server.answers.clone());
        // It ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("a client");
                let request = request(&mut stream);
                let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
                asked.lock().expect("whole").push(request);
                let answer = answers.lock().expect("whole").get(&path).cloned().unwrap_or_default();
                stream.write_all(answer.as_bytes()).expect("sent");
            }
        });
        server
    }

    fn answer(&self, path: &str, status: &str, body: &str) {
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        self.answers.lock().expect("whole").insert(path.to_owned(), answer);
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().expect("whole"))
    }
}

/// A request, whole: up to its head's end, and as many bytes more as that says.
fn request(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let read = stream.read(&mut buffer).expect("a request");
        bytes.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if read == 0 || body.len() >= length.map_or(0, |length| length.parse().expect("a number")) {
            return text;
        }
    }
}
