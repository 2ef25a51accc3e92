//! The commands that people run by `ssh`, on one fleet, by both of its doors.

use crate::support::clients::{Clients, history};
use crate::support::fleet::Fleet;
use crate::support::run::{Said, run, run_with};
use crate::support::sshd::{Sshd, user};
use std::cell::RefCell;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const RULES: &str = "[[rule]]\nrepositories = [\"private/**\"]\nread = [\"staff\"]\nwrite = [\"staff\"]\n\n\
    [[rule]]\nrepositories = [\"old/*\"]\nread = [\"*\"]\nwrite = [\"release\", \"jane@example.com\"]\n\n\
    [[rule]]\nrepositories = [\"**\"]\nread = [\"*\"]\nwrite = [\"accounts\"]\n";

/// A fleet with the commands on, and with what a test works on.
struct World {
    fleet: Fleet,
    _rules: tempfile::TempDir,
    sshd: Sshd,
    user: String,
}

/// What somebody does by one of its doors.
struct Session<'w> {
    fleet: &'w Fleet,
    clients: Clients,
    door: &'static str,
    mail: String,
    /// `users/…` of the account
    folder: String,
    /// What was run, and what was said, free of what differs from one time to the next
    said: RefCell<Vec<(String, i32, String, String)>>,
}

impl World {
    fn start() -> World {
        let rules = tempfile::tempdir().expect("a folder");
        let path = rules.path().join("access.toml");
        std::fs::write(&path, RULES).expect("written");
        let user = user();
        let sections = format!(
            "[ssh]\nlogin = \"{user}\"\n[access]\nrules = \"{}\"\n[session]\nuser_repositories = true\nuser_repositories_max = 3\nrepo_group = true\nrepo_config = true",
            path.display()
        );
        let fleet = Fleet::start_with(&["standby-1"], &sections);
        let sshd = Sshd::start(&fleet);
        World { fleet, _rules: rules, sshd, user }
    }

    fn by(&self, door: &'static str, port: u16) -> Session<'_> {
        let listed = self.fleet.hgfleet(&["account", "list"]).ok().out;
        let mail = listed.split('\t').next().expect("an account").to_owned();
        let folder = format!("users/{}", mail.replace('@', "_"));
        let clients = self.fleet.by_door(&self.user, port);
        Session { fleet: &self.fleet, clients, door, mail, folder, said: RefCell::default() }
    }
}

/// A text without its numbers and fingerprints.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    for (number, word) in text.split("SHA256:").enumerate() {
        let rest = if number == 0 { word } else { word.get(43..).unwrap_or_default() };
        for letter in rest.chars() {
            match letter {
                '0'..='9' if plain.ends_with('#') => {}
                '0'..='9' => plain.push('#'),
                letter => plain.push(letter),
            }
        }
    }
    plain
}

impl Session<'_> {
    /// Runs a command, and types this.
    #[track_caller]
    fn typed(&self, command: &str, lines: &str) -> Said {
        let mut ssh = self.clients.ssh_command();
        if !command.is_empty() {
            ssh.arg(command);
        }
        let said = run_with(&mut ssh, lines.as_bytes(), Duration::from_secs(60));
        self.said.borrow_mut().push((plain(command), said.status, plain(&said.out), plain(&said.err)));
        said
    }

    #[track_caller]
    fn ok(&self, command: &str) -> String {
        self.typed(command, "").ok().out
    }

    #[track_caller]
    fn refused(&self, command: &str) -> String {
        self.typed(command, "").refused().err
    }

    fn own(&self, name: &str) -> String {
        format!("{}/{name}", self.folder)
    }

    /// Whether the fleet has such a repository.
    fn is_there(&self, name: &str) -> bool {
        self.fleet.hgfleet(&["repo", "list"]).ok().out.lines().any(|line| line == name)
    }
}

#[test]
fn people_make_look_at_and_change_what_is_theirs() {
    let world = World::start();
    let fleet = &world.fleet;
    for name in ["team/first", "private/plans", "old/one", "a/b/deep"] {
        fleet.hgfleet(&["repo", "create", name]).ok();
    }
    let built_in = world.by("built-in", fleet.ssh_port);
    let work = built_in.clients.init("work");
    for number in 0..3 {
        work.commit("file", format!("{number}\n"), "a change");
    }
    work.hg_here(&["bookmark", "-r", "1", "here"]).ok();
    work.push("team/first").ok();
    // Nothing but the bookmark is new, which status 1 says.
    assert_eq!(work.hg(&["push", "-B", "here", &built_in.clients.ssh_url("team/first")]).status, 1);

    let openssh = world.by("openssh", world.sshd.port);
    for session in [&built_in, &openssh] {
        looking(session);
        wizard(session);
        quick_clone(session, &work.path);
        edit(session);
        keys(session);
        hidden(session);
        for own in ["new", "fork"] {
            session.ok(&format!("edit {own} delete YES"));
        }
    }
    let (first, second) = (built_in.said.take(), openssh.said.take());
    for (first, second) in first.iter().zip(&second) {
        assert_eq!(first, second, "the same at both doors");
    }
    assert!(first.len() == second.len() && first.len() > 50, "{} and {}", first.len(), second.len());
    dropped(&built_in);
    read_only(&built_in);
    for name in fleet.hgfleet(&["repo", "list"]).ok().out.lines().filter(|name| name.starts_with("users/")) {
        fleet.assert_one_store(name);
    }
}

fn looking(session: &Session<'_>) {
    let (mail, own) = (&session.mail, session.own("**"));
    let banner = session.typed("", "");
    assert_eq!(banner.status, 1, "{banner:#?}");
    assert!(banner.err.contains(&format!("You are connected as {mail} (member of no group).")), "{banner:#?}");
    assert!(banner.err.contains(&format!("You may push to: **, {own}\n")), "{banner:#?}");
    assert!(!banner.err.contains("private"), "{banner:#?}");
    assert!(banner.err.contains("You may not push to: old/*\n"), "{banner:#?}");
    let help = session.ok("help");
    for command in ["clone NAME [SOURCE]", "edit NAME [delete YES]", "repo-group NAME", "keys add < FILE.pub"] {
        assert!(help.lines().any(|line| line == command), "{help}");
    }
    assert_eq!(session.ok("repos"), "a/b/deep\nteam/first\n");
    let status = session.ok("status team/first");
    assert!(status.contains("last: push ") && status.contains(&format!(" by {mail} at 20")), "{status}");
    assert!(status.contains("mirror: mirror-2 in-service, has it, 0.0 s behind"), "{status}");
    assert!(!status.contains("refused"), "{status}");
    let work = session.clients.init(&format!("refused-{}", session.door));
    work.commit("other", "1\n", "unrelated");
    assert_eq!(work.push("old/one").status, 255);
    assert!(!session.ok("status old/one").contains("refused"), "it is for those who may push");
    assert_eq!(session.ok("repo-group team/first"), "accounts\n");
    assert_eq!(session.ok("repo-group old/one"), "release\n");
    assert_eq!(session.ok("repo-config team/first"), "");
    for (command, expected) in [
        ("shell", "refused: no such command is served here, the command line. Run help to see those that are\n"),
        ("clone a b c d", "refused: wrong arguments, clone. Run: clone NAME [SOURCE]\n"),
        ("edit x delete yes", "refused: wrong arguments, edit. Run: edit NAME [delete YES]\n"),
        ("status nowhere", "refused: the repository does not exist, nowhere."),
        ("edit nowhere", "refused: you have no such repository, "),
        ("edit nowhere delete YES", "refused: you have no such repository, "),
    ] {
        let refused = session.refused(command);
        assert!(refused.starts_with(expected), "{command}: {refused}");
    }
}

fn wizard(session: &Session<'_>) {
    let new = session.own("new");
    for (typed, asked) in [
        ("", "Proceed? "),
        ("0\n", "Proceed? "),
        ("2\n", "Proceed? "),
        ("1\n0\n", "Source repository: "),
        ("1\n1\n0\n", "Pick a source repo: "),
        ("1\n1\n1\n2\n", "About to clone"),
        ("1\n2\n2\n", "About to create the empty repository"),
    ] {
        let said = session.typed("clone new", typed).ok();
        assert!(said.out.contains(asked), "{typed:?}: {said:#?}");
        assert!(!session.is_there(&new), "{typed:?}");
    }
    let said = session.typed("clone new", "x\n1\n2\n1\n").ok();
    assert!(said.out.contains("Type a number from 0 to 2."), "{said:#?}");
    assert!(said.out.contains("Repository created, stored as "), "{said:#?}");
    assert!(session.is_there(&new));
    assert!(session.refused("clone new").contains("you have a repository of this name already"));
    // Only what is one or two parts deep, nobody's own, and readable is offered.
    let said = session.typed("clone listed", "1\n1\n2\n1\n").ok();
    assert!(said.out.contains("1) old/one\n2) team/first\n\nPick"), "{said:#?}");
    assert!(said.out.contains("Clone complete, stored as "), "{said:#?}");
    session.ok("edit listed delete YES");
    assert!(session.ok("repos").lines().any(|name| name == new));
}

fn quick_clone(session: &Session<'_>, original: &Path) {
    let (fleet, clients) = (session.fleet, &session.clients);
    let fork = session.own("fork");
    let said = session.ok("clone fork team/first");
    assert!(
        said.starts_with(&format!("Please wait. Cloning team/first to {fork}\nClone complete, stored as ")),
        "{said}"
    );
    assert!(said.contains("Repository marked as non-publishing"), "{said}");
    // Over HTTPS, from a mirror.
    let copy = format!("forked-{}", session.door);
    clients.hg(&["clone", "-q", &fleet.https_url(&fork), &copy]).ok();
    let forked = clients.working_copy(&copy);
    assert_eq!(history(fleet, &forked.path), history(fleet, original));
    assert_eq!(session.ok(&format!("repo-config {fork}")), "[phases]\npublish = False\n");
    forked.commit("mine", "1\n", "my change");
    forked.push(&fork).ok();
    assert_eq!(forked.hg(&["log", "-r", ".", "-T", "{phase}"]).ok().out, "draft");
    for (command, expected) in [
        ("clone fork team/first", format!("refused: you have a repository of this name already, {fork}.")),
        ("clone x private/plans", "refused: there is no source repository called private/plans,".to_owned()),
        ("clone x private/nothing", "refused: there is no source repository called private/nothing,".to_owned()),
        ("clone x/.hg team/first", "refused: no repository can have this name".to_owned()),
    ] {
        let refused = session.refused(command);
        assert!(refused.starts_with(&expected), "{command}: {refused}");
    }
    assert!(!session.is_there(&session.own("x")));
    session.ok("clone third team/first");
    let refused = session.refused("clone fourth team/first");
    assert!(refused.contains("refused: you have 3 repositories, as many as an account may have"), "{refused}");
    session.ok("edit third delete YES");
}

fn edit(session: &Session<'_>) {
    let (fleet, clients) = (session.fleet, &session.clients);
    let fork = session.own("fork");
    let config = || session.ok(&format!("repo-config {fork}"));
    for typed in ["", "0\n", "1\n2\n", "2\n", "2\n\n"] {
        session.typed("edit fork", typed).ok();
    }
    assert_eq!(config(), "[phases]\npublish = False\n");
    session.typed("edit fork", "4\n").ok();
    assert!(config().contains("publish = True"));
    session.typed("edit fork", "3\n").ok();
    session.typed("edit fork", "5\n").ok();
    assert!(config().contains("[experimental]\nevolution = true"));
    session.typed("edit fork", "6\n").ok();
    // Of a description one line is taken, as it is: what follows answers nothing.
    session.typed("edit fork", "2\nA <b>fork</b> of %include /etc/passwd\n[hooks]\nincoming = sh\n").ok();
    assert_eq!(
        config(),
        "[phases]\npublish = False\n[experimental]\n[web]\ndescription = A <b>fork</b> of %include /etc/passwd\n"
    );
    for text in ["a\tb", "a\rb", "a\u{202e}b", "a\u{1b}[31mb", &"x".repeat(5000)] {
        let refused = session.typed("edit fork", &format!("2\n{text}\n")).refused().err;
        assert!(refused.starts_with("refused: "), "{text:?}: {refused}");
    }
    let page = run(fleet.curl().arg(fleet.https_url("")));
    assert!(!page.out.contains("<b>fork</b>"), "{page:#?}");
    let deleted = session.typed("edit fork", "1\n1\n").ok();
    assert!(deleted.out.contains("Repository deleted.\n"), "{deleted:#?}");
    assert!(!session.is_there(&fork));
    let gone = run(fleet.curl().args(["-o", "/dev/null", "-w", "%{http_code}", &fleet.https_url(&fork)]));
    assert_eq!(gone.out, "401", "as of whatever is not there, where some are private");
    fleet.hgfleet(&["repo", "restore", &fork]).ok();
    clients.hg(&["clone", "-q", &clients.ssh_url(&fork), &format!("restored-{}", session.door)]).ok();
}

fn keys(session: &Session<'_>) {
    let (fleet, clients) = (session.fleet, &session.clients);
    let first = session.ok("keys list");
    assert_eq!(first.lines().count(), 1, "{first}");
    let name = format!("second-{}", session.door);
    let key = fleet.path(&format!("home/.ssh/{name}"));
    run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key)).ok();
    let public = std::fs::read_to_string(key.with_extension("pub")).expect("read");
    let added = session.typed("keys add", &public).ok().out;
    let fingerprint = added.trim().strip_prefix("added the key ").expect("its fingerprint");
    assert!(session.ok("keys list").contains(fingerprint));
    let login = run(clients.ssh_with(&name, &[]).arg("keys list")).ok();
    assert_eq!(login.out.lines().count(), 2, "{login:#?}");
    for (typed, expected) in [
        (public.as_str(), "this key is there already"),
        ("command=\"sh\" ssh-ed25519 AAAA", "options before the key"),
        ("nonsense", "refused: "),
        ("", "refused: there is no key on the line"),
    ] {
        let refused = session.typed("keys add", typed).refused().err;
        assert!(refused.contains(expected), "{refused}");
    }
    session.ok(&format!("keys remove {fingerprint}"));
    assert_eq!(session.ok("keys list"), first);
    let last = first.split(' ').next().expect("a fingerprint");
    assert!(session.refused(&format!("keys remove {last}")).contains("refused: it is the only one, on your keys."));
    assert!(session.refused(&format!("keys remove {fingerprint}")).contains("refused: there is no such key"));
}

/// What one may not read is answered as what is not there.
fn hidden(session: &Session<'_>) {
    for command in ["status", "repo-group", "repo-config", "clone y"] {
        let hidden = session.refused(&format!("{command} private/plans"));
        let absent = session.refused(&format!("{command} private/nothing"));
        assert_eq!(hidden.replace("private/plans", "private/nothing"), absent);
    }
    assert!(!session.ok("repos").contains("private"));
}

/// A link that breaks within a command leaves all of it, or nothing.
fn dropped(session: &Session<'_>) {
    let (fleet, clients) = (session.fleet, &session.clients);
    let dropped = session.own("dropped");
    for milliseconds in [60, 120, 180] {
        let mut ssh = clients.ssh_command();
        ssh.arg("clone dropped team/first").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut ssh = ssh.spawn().expect("started");
        std::thread::sleep(Duration::from_millis(milliseconds));
        ssh.kill().expect("ours");
        ssh.wait().expect("killed");
        // Whatever had begun comes to its end first.
        let again = session.typed("clone dropped team/first", "");
        assert!(again.status == 0 || again.err.contains("of this name already"), "{again:#?}");
        fleet.assert_one_store(&dropped);
        fleet.hg(&["clone", "-q", &fleet.https_url(&dropped), &format!("dropped-{milliseconds}")]).ok();
        session.ok("edit dropped delete YES");
    }
}

/// What takes no pushes says why, to whoever pushes, whichever server is master; reads go on.
fn read_only(session: &Session<'_>) {
    let (fleet, clients) = (session.fleet, &session.clients);
    let work = clients.working_copy("work");
    let pushed = |what: &[&str]| {
        let url = clients.ssh_url("team/first");
        let said = work.hg(&[&["push"], what, &[&url]].concat());
        (said.status, format!("{}{}", said.out, said.err))
    };
    let (one, all) = ("it moves to another house", "the fleet is upgraded");
    work.commit("file", "read only\n", "one more");
    let said = fleet.hgfleet(&["repo", "read-only", "team/first", "--reason", one]).ok().out;
    assert_eq!(said, format!("team/first is read only: {one}\n"));
    let told = format!("remote: refused: the repository is read only: {one}, on team/first. Nothing was stored; ");
    let (status, words) = pushed(&[]);
    assert!(status == 255 && words.contains(&told), "{words}");
    work.hg_here(&["bookmark", "-f", "-r", "2", "here"]).ok();
    // As a part of a bundle, and by `pushkey`.
    for exchange in ["", "bundle1"] {
        let exchange = format!("devel.legacy.exchange={exchange}");
        let (status, words) = pushed(&["--config", &exchange, "-r", "2", "-B", "here"]);
        assert!(status != 0 && words.contains(&told), "a bookmark: {words}");
    }
    let status = session.ok("status team/first");
    assert!(status.contains(&format!("read only: {one}\n")), "{status}");
    assert!(
        status.contains("last refused push: by ") && status.contains("  refused: the repository is read"),
        "{status}"
    );
    assert!(status.starts_with("last: settings "), "{status}");
    for url in [clients.ssh_url("team/first"), fleet.https_url("team/first")] {
        fleet.hg(&["identify", &url]).ok();
    }
    // The other repositories, and the operator, go on.
    session.ok("clone other team/first");
    fleet.hgfleet(&["repo", "describe", "team/first", "moving"]).ok();

    let said = fleet.hgfleet(&["read-only", "--reason", all]).ok().out;
    assert_eq!(said, format!("the fleet is read only: {all}\n"));
    fleet.hgfleet(&["repo", "read-only", "team/first", "--off"]).ok();
    fleet.hgfleet(&["failover"]).ok();
    let told = format!("refused: all repositories are read only: {all}, on team/first.");
    fleet.wait_until("the next master refuses as well", |_| pushed(&[]).1.contains(&told));
    for command in ["clone more", "clone more team/first", "edit other delete YES"] {
        let typed = session.typed(command, "1\n2\n1\n").err;
        assert!(typed.starts_with(&format!("refused: all repositories are read only: {all}, on ")), "{typed}");
    }
    fleet.hg(&["identify", &fleet.https_url("team/first")]).ok();
    assert_eq!(fleet.hgfleet(&["read-only"]).ok().out, format!("the fleet is read only: {all}\n"));
    assert!(fleet.hgfleet(&["read-only", "--reason", " "]).refused().err.contains("a reason is missing"));
    assert_eq!(fleet.hgfleet(&["read-only", "--off"]).ok().out, "the fleet takes pushes\n");
    let (status, words) = pushed(&[]);
    assert_eq!(status, 0, "{words}");
    session.ok("edit other delete YES");
    fleet.assert_one_store("team/first");
}
