//! `hgfleet web` in the place of `hg serve`: the same command lines, the word exchanged, and what clients then get.

use crate::support::fleet::{HGFLEET, free_port, kill};
use crate::support::run::{Said, run};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// The words that are exchanged.
const PROGRAMS: [&[&str]; 2] = [&["hg", "serve"], &[HGFLEET, "web"]];

fn command(words: &[&str], arguments: &[&str], folder: &Path) -> Command {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).args(arguments).current_dir(folder).env("HGPLAIN", "1");
    command.env("HGRCPATH", folder.join("system.rc")).env_remove("HGFLEET_LOG");
    command
}

fn hg(folder: &Path, arguments: &[&str]) -> Said {
    run(command(&["hg"], arguments, folder).args(["--config", "ui.username=t"]))
}

/// A server in the foreground, and where it listens.
struct Server(Child, String);

impl Server {
    fn start(words: &[&str], arguments: &[&str], folder: &Path) -> Server {
        Server::start_with_errors(words, arguments, folder, Stdio::null())
    }

    fn start_with_errors(words: &[&str], arguments: &[&str], folder: &Path, errors: Stdio) -> Server {
        let mut command = command(words, arguments, folder);
        let mut child =
            command.args(["-A", "/dev/null"]).stdout(Stdio::piped()).stderr(errors).spawn().expect("it starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("it says where");
        let url = line.split_whitespace().find(|word| word.starts_with("http")).unwrap_or_else(|| panic!("{line:?}"));
        // The host's own name is not for tests.
        let port = url.rsplit(':').next().and_then(|rest| rest.split('/').next()).expect("a port");
        Server(child, format!("127.0.0.1:{port}"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A server in the background, by its process.
struct Daemon(u64);

impl Drop for Daemon {
    fn drop(&mut self) {
        kill("TERM", self.0);
    }
}

#[test]
fn scripts_with_hg_serve_in_them_work_with_the_word_exchanged() {
    let scratch = tempfile::tempdir().expect("a folder");
    let folder = scratch.path();
    fs::write(folder.join("system.rc"), "%include more.rc\n").expect("written");
    fs::write(folder.join("more.rc"), "[server]\ncompressionengines = zlib\n[web]\ncontact = ann\n").expect("written");
    for name in ["repos/one", "repos/team/two", "repos/hidden"] {
        hg(folder, &["init", name]).ok();
        fs::write(folder.join(name).join("file"), "text\n").expect("written");
        hg(folder, &["-R", name, "commit", "-A", "-m", name]).ok();
    }
    let id = |name: &str| hg(folder, &["-R", &format!("repos/{name}"), "id", "-i", "-r", "tip"]).ok().out;
    let (one, two) = (id("one"), id("team/two"));
    fs::write(folder.join("repos/hidden/.hg/hgrc"), "[web]\nhidden = yes\nallow-pull = no\n").expect("written");
    let conf = "[paths]\n/a = repos/*\nb = repos/**\n[collections]\nrepos = repos/team\n[web]\ndescription = d\n";
    fs::write(folder.join("web.conf"), conf).expect("written");
    let capabilities = |url: &str| hg(folder, &["debugcapabilities", url]).ok().out;
    for (number, words) in PROGRAMS.into_iter().enumerate() {
        let at = |name: &str| format!("{name}-{number}");
        let identify = |address: &str| hg(folder, &["id", "-i", "-r", "tip", &format!("http://{address}")]);

        // In the background: whoever starts it goes on when it listens.
        let port = free_port().to_string();
        let (pid, access, errors) = (at("pid"), at("access"), at("errors"));
        let arguments = ["-R", "repos/one", "-d", "-a", "127.0.0.1", "-p", &port, "--pid-file", &pid, "-A", &access];
        let further = ["-E", &errors, "--prefix", "hg/x", "-n", "a name", "--config", "server.maxhttpheaderlen=2048"];
        let said = run(&mut command(words, &[&arguments[..], &further].concat(), folder)).ok();
        assert_eq!((said.out.as_str(), said.err.as_str()), ("", ""), "{words:?}");
        let process = fs::read_to_string(folder.join(&pid)).expect("written").trim().parse().expect("a number");
        let process = Daemon(process);
        let address = format!("127.0.0.1:{port}/hg/x");
        assert_eq!(identify(&address).ok().out, one, "{words:?}");
        let said = capabilities(&format!("http://{address}"));
        for word in ["httpheader=2048", "compression=zlib\n"] {
            assert!(said.contains(word), "{words:?}: {said}");
        }
        assert_ne!(identify(&format!("127.0.0.1:{port}/elsewhere")).status, 0, "{words:?}");
        drop(process);
        let log = fs::read_to_string(folder.join(&access)).expect("written");
        let first = log.lines().next().unwrap_or_default();
        assert!(
            first.starts_with("127.0.0.1 - - [") && log.contains("\"GET /hg/x?cmd=capabilities HTTP/1.1\" 200 -"),
            "{log}"
        );
        assert!(log.contains(" x-hgproto-1:0.1 0.2 comp="), "{log}");

        // Of the folder's own repository, at a free port, in front.
        let server = Server::start(words, &["-a", "127.0.0.1", "-p", "0", "--cwd", "repos/team/two", "-v"], folder);
        assert_eq!(identify(&server.1).ok().out, two, "{words:?}");
        drop(server);

        // Several, by a configuration.
        let server = Server::start(words, &["-a", "127.0.0.1", "-p", "0", "--web-conf", "web.conf"], folder);
        for (name, expected) in [("a/one", &one), ("a/team/two", &two), ("b/one", &one), ("team/two", &two)] {
            assert_eq!(identify(&format!("{}/{name}", server.1)).ok().out, *expected, "{words:?} {name}");
        }
        assert_ne!(identify(&format!("{}/a/team", server.1)).status, 0, "{words:?}");
        let said = identify(&format!("{}/a/hidden", server.1));
        assert!(said.status != 0 && said.err.contains("authorization failed"), "{words:?}: {said:#?}");
        let mut curl = Command::new("curl");
        let list = run(curl.args(["-s", &format!("http://{}/", server.1)])).ok().out;
        assert!(list.contains("a/one") && !list.contains("a/hidden"), "{words:?}: {list}");
    }
    for bad in
        [&["--stdio"][..], &["--templates", "x"], &["-R", "absent"], &["--web-conf", "absent"], &["--config", "x"]]
    {
        let said = run(&mut command(PROGRAMS[1], bad, folder));
        assert!(said.status != 0 && !said.err.is_empty(), "{bad:?}: {said:#?}");
    }
}

#[test]
fn views_and_hidden_changesets_are_those_of_hg_serve() {
    let scratch = tempfile::tempdir().expect("a folder");
    let folder = scratch.path();
    fs::write(folder.join("system.rc"), "[experimental]\nevolution = all\n").expect("written");
    hg(folder, &["init", "r"]).ok();
    let in_r = |arguments: &[&str]| hg(&folder.join("r"), arguments).ok().out;
    let hg_in_r = |arguments: &[&str]| hg(folder, &[&["-R", "r"], arguments].concat()).ok().out;
    fs::write(folder.join("r/system.rc"), "[experimental]\nevolution = all\n").expect("written");
    for text in ["published", "drafted"] {
        fs::write(folder.join("r/file"), text).expect("written");
        in_r(&["commit", "-A", "-q", "-m", text]);
    }
    hg_in_r(&["phase", "--public", "0"]);
    let replaced = hg_in_r(&["id", "-i", "--debug", "-r", "tip"]).trim().to_owned();
    in_r(&["commit", "-q", "--amend", "-m", "amended"]);
    for (number, words) in PROGRAMS.into_iter().enumerate() {
        let begin = |setting: &str| {
            let fixed = ["-R", "r", "-a", "127.0.0.1", "-p", "0", "--config", "web.view=immutable", "--config"];
            Server::start(words, &[&fixed[..], &[setting]].concat(), folder)
        };
        let heads = |server: &Server| {
            hg(folder, &["id", "-r", "tip", "-T", "{node}", &format!("http://{}", server.1)]).ok().out
        };
        let server = begin("server.view=served");
        let page = run(Command::new("curl").args(["-s", &format!("http://{}/", server.1)])).ok().out;
        assert!(page.contains("published") && !page.contains("amended"), "{words:?}: {page}");
        assert_eq!(heads(&server), hg_in_r(&["log", "-r", "desc(amended)", "-T", "{node}"]), "{words:?}");
        // Who may not see them is answered as if they hadn't asked.
        let pull = |server: &Server, into: &str| {
            hg(folder, &["init", into]).ok();
            let url = format!("http://{}", server.1);
            hg(folder, &["-R", into, "pull", "-q", "--remote-hidden", "-r", &replaced, &url])
        };
        let said = pull(&server, &format!("without-{number}"));
        assert!(said.status != 0 && said.err.contains("filtered revision"), "{words:?}: {said:#?}");
        drop(server);
        let server = begin("experimental.server.allow-hidden-access=*");
        let into = format!("with-{number}");
        pull(&server, &into).ok();
        let log = hg(folder, &["-R", &into, "log", "--hidden", "-T", "{desc} "]).ok().out;
        assert_eq!(log, "drafted published ", "{words:?}");
        drop(server);
        let server = begin("server.view=immutable");
        assert_eq!(heads(&server), hg_in_r(&["log", "-r", "0", "-T", "{node}"]), "{words:?}");
    }
}

#[test]
fn what_a_stranger_wrote_counts_where_trusted_names_them() {
    let scratch = tempfile::tempdir().expect("a folder");
    let folder = scratch.path();
    fs::write(folder.join("system.rc"), "").expect("written");
    hg(folder, &["init", "r"]).ok();
    let hgrc = folder.join("r/.hg/hgrc");
    fs::write(&hgrc, "[server]\nmaxhttpheaderlen = 2048\n").expect("written");
    if let Err(error) = std::os::unix::fs::chown(&hgrc, Some(65_534), Some(65_534)) {
        eprintln!("a file can't be given to somebody else ({error}): not tested");
        return;
    }
    for words in PROGRAMS {
        for (trusted, expected) in [
            ("users=", 1024),
            ("users=daemon", 1024),
            ("users=nobody", 2048),
            ("groups=x, nogroup", 2048),
            ("users=*", 2048),
        ] {
            let setting = format!("trusted.{trusted}");
            let arguments = ["-R", "r", "-a", "127.0.0.1", "-p", "0", "--config", &setting];
            let errors = fs::File::options().append(true).create(true).open(folder.join("errors")).expect("opened");
            let server = Server::start_with_errors(words, &arguments, folder, errors.into());
            let said = hg(folder, &["debugcapabilities", &format!("http://{}", server.1)]).ok().out;
            assert!(said.contains(&format!("httpheader={expected}\n")), "{words:?} {trusted}: {said}");
        }
        let said = fs::read_to_string(folder.join("errors")).expect("written");
        fs::remove_file(folder.join("errors")).expect("removed");
        let named = said.contains("not trusting file ") && said.contains(" from untrusted user nobody, group nogroup");
        assert!(named, "{words:?}: {said:#?}");
    }
}

#[test]
fn minus_6_listens_where_hg_serve_does() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        eprintln!("this machine has no IPv6: not tested");
        return;
    }
    let scratch = tempfile::tempdir().expect("a folder");
    let folder = scratch.path();
    fs::write(folder.join("system.rc"), "").expect("written");
    hg(folder, &["init", "r"]).ok();
    for words in PROGRAMS {
        for arguments in [&["-6", "-a", "::1"][..], &["-6"]] {
            let server = Server::start(words, &[&["-R", "r", "-p", "0"], arguments].concat(), folder);
            let port = server.1.rsplit(':').next().expect("a port");
            let said = hg(folder, &["id", "-i", &format!("http://[::1]:{port}")]).ok();
            assert_eq!(said.out.trim(), "000000000000", "{words:?} {arguments:?}");
        }
        let said = run(&mut command(words, &["-R", "r", "-p", "0", "-6", "-a", "127.0.0.1"], folder));
        assert!(said.status != 0 && said.err.contains("127.0.0.1:0"), "{words:?}: {said:#?}");
    }
}

#[test]
fn one_certificate_is_enough_for_https() {
    let scratch = tempfile::tempdir().expect("a folder");
    let folder = scratch.path();
    fs::write(folder.join("system.rc"), "").expect("written");
    hg(folder, &["init", "r"]).ok();
    fs::write(folder.join("r/file"), "text\n").expect("written");
    hg(folder, &["-R", "r", "commit", "-A", "-m", "one"]).ok();
    // A fleet's own authority makes what is needed.
    run(&mut command(&[HGFLEET, "init", "--data", "data"], &[], folder)).ok();
    let pem = |name: &str| fs::read_to_string(folder.join("data/keys").join(name)).expect("made");
    fs::write(folder.join("both.pem"), pem("https.certificate") + &pem("https.key")).expect("written");
    let arguments = ["-R", "r", "-a", "127.0.0.1", "-p", "0", "--certificate", "both.pem"];
    let server = Server::start(PROGRAMS[1], &arguments, folder);
    let url = format!("https://{}", server.1.replace("127.0.0.1", "localhost"));
    hg(folder, &["clone", "-q", "--config", "web.cacerts=data/ca.pem", &url, "clone"]).ok();
    assert_ne!(hg(folder, &["clone", "-q", &url.replace("https", "http"), "none"]).status, 0);
}
