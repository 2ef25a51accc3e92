//! A directory that is in trouble, as those feel it who log in, push and read with a token.

use crate::support::clients::Clients;
use crate::support::fleet::Fleet;
use crate::support::ldap_server::LdapServer;
use crate::support::run::{Said, run};
use crate::support::troubled_line::{Line, TroubledLine};
use std::process::Command;
use std::time::{Duration, Instant};

const RULES: &str = "[[rule]]\nrepositories = [\"private\"]\nread = [\"ann@example.org\"]\nwrite = [\"accounts\"]\n\n\
                     [[rule]]\nrepositories = [\"**\"]\nread = [\"*\"]\nwrite = [\"accounts\"]\n";

/// For so long what was asked before counts.
const STALE_SECONDS: u64 = 6;

/// A login takes no longer than this, whatever the directory does.
const PATIENCE: Duration = Duration::from_secs(10);

struct World {
    fleet: Fleet,
    server: LdapServer,
    line: TroubledLine,
    _rules: tempfile::NamedTempFile,
}

impl World {
    fn start() -> World {
        let server = LdapServer::start();
        for step in ["### 2. ", "### 3. "] {
            server.do_step(step, server.path());
        }
        let line = TroubledLine::to(server.port);
        let rules = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(rules.path(), RULES).expect("written");
        let sections = format!(
            "[access]\nrules = \"{}\"\n[ssh]\nlogin = \"mail\"\n{}connect_seconds = 1\noperation_seconds = 1\n\
             stale_read_seconds = {STALE_SECONDS}\nstale_write_seconds = 1\n",
            rules.path().display(),
            server.section(line.port)
        );
        let fleet = Fleet::start_with(&[], &sections);
        server.do_step("### 4. ", &fleet.path("home"));
        World { fleet, server, line, _rules: rules }
    }

    /// An entry with a new key.
    fn person(&self, name: &str, mail: &str) {
        let path = self.fleet.path(&format!("home/.ssh/{name}"));
        run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&path)).ok();
        let key = std::fs::read_to_string(path.with_extension("pub")).expect("read");
        self.server.change(&format!(
            "dn: cn={name},ou=people,dc=example,dc=org\nchangetype: add\nobjectClass: inetOrgPerson\n\
             objectClass: hgAccount\nobjectClass: ldapPublicKey\nsn: {name}\nmail: {mail}\nhgAccountEnabled: TRUE\n\
             sshPublicKey: {key}"
        ));
    }

    fn by(&self, mail: &str) -> Clients {
        self.fleet.by_door(mail, self.fleet.ssh_port)
    }

    /// Logs in without a command: who is let in reads a banner.
    fn login(&self, mail: &str, key: &str) -> Said {
        run(&mut self.by(mail).ssh_with(key, &[]))
    }

    fn is_let_in(&self, mail: &str, key: &str) -> bool {
        let said = self.login(mail, key);
        said.status == 1 && said.err.contains(mail)
    }

    #[track_caller]
    fn denied(&self, mail: &str, key: &str) {
        let said = self.login(mail, key);
        assert!(said.status == 255 && said.err.contains("Permission denied (publickey)"), "{mail}: {said:?}");
    }

    /// Status and body of what a repository's capabilities are over HTTPS.
    fn read(&self, name: &str, token: &str) -> (String, String) {
        let url = self.fleet.https_url(&format!("{name}?cmd=capabilities"));
        let user = format!("ann@example.org:{token}");
        let said = run(self.fleet.curl().args(["-u", &user, "-w", "\n%{http_code}", &url])).ok().out;
        let (body, status) = said.rsplit_once('\n').expect("a status");
        (status.to_owned(), body.to_owned())
    }
}

#[test]
fn who_is_known_goes_on_and_who_is_not_waits_for_the_directory() {
    let world = World::start();
    let fleet = &world.fleet;
    for number in 0..3 {
        world.person(&format!("cold{number}"), &format!("cold{number}@example.org"));
    }
    for name in ["twin", "other"] {
        world.person(name, "twin@example.org");
    }
    for name in ["private", "open"] {
        fleet.hgfleet(&["repo", "create", name]).ok();
    }
    let token = fleet.hgfleet(&["token", "create", "ann@example.org", "--name", "a"]).ok().out.trim().to_owned();
    fleet.wait_until("she is let in by her address", |_| world.is_let_in("ann@example.org", "id_ed25519"));
    names(&world);
    trouble(&world);
    outage(&world, &token);
    assert!(!fleet.log().contains("panicked"), "{}", fleet.log());
}

/// `login = "mail"`, with the stock client.
fn names(world: &World) {
    let work = world.fleet.init("work");
    work.commit("file", "1\n", "first");
    let url = world.by("ann%40example.org").ssh_url("open");
    let said = work.hg(&["push", &url]).ok();
    assert!(said.out.contains("remote: stored as"), "{said:?}");
    // A key opens its own account's name, and no other: no name that everybody has, no other's, nobody's.
    for name in ["hg", "cold0@example.org", "nobody@example.org", "*"] {
        world.denied(name, "id_ed25519");
    }
    // Two entries have one address: neither is let in, and an administrator reads which they are.
    for key in ["twin", "other"] {
        world.denied("twin@example.org", key);
    }
    let log = world.fleet.log();
    assert!(log.lines().any(|line| line.contains("twin@example.org") && line.contains("cn=other")), "{log}");
}

/// Each kind of trouble: who was asked for lately goes on, another waits until it is over, and nobody waits for long.
fn trouble(world: &World) {
    for (number, line) in [Line::Hangs, Line::Garbage, Line::Cut].into_iter().enumerate() {
        let cold = (format!("cold{number}@example.org"), format!("cold{number}"));
        world.fleet.wait_until("the directory is asked again", |_| world.is_let_in("ann@example.org", "id_ed25519"));
        let mark = world.fleet.log().len();
        world.line.becomes(line);
        let begun = Instant::now();
        assert!(world.is_let_in("ann@example.org", "id_ed25519"), "{line:?}");
        world.denied(&cold.0, &cold.1);
        assert!(begun.elapsed() < PATIENCE, "{line:?}: {:?}", begun.elapsed());
        assert!(world.fleet.log()[mark..].contains("the directory is down"), "{line:?}: it was not asked");
        world.line.becomes(Line::Good);
        world.fleet.wait_until("it is over", |_| world.is_let_in(&cold.0, &cold.1));
    }
}

/// LDAP is gone for longer than what was asked before counts.
fn outage(world: &World, token: &str) {
    assert_eq!(world.read("private", token).0, "200");
    assert!(world.is_let_in("ann@example.org", "id_ed25519"));
    world.line.becomes(Line::Closed);
    assert_eq!(world.read("private", token).0, "200", "within the time that is stated");
    // Storing has a time of its own.
    let work = world.fleet.working_copy("work");
    work.commit("file", "2\n", "second");
    std::thread::sleep(Duration::from_millis(1_500));
    let said = work.hg(&["push", &world.by("ann%40example.org").ssh_url("open")]);
    let told = format!("{}{}", said.out, said.err);
    assert_eq!(said.status, 255, "{told}");
    let line =
        "remote: refused: the directory of accounts does not answer, on open. Nothing was stored; try again later";
    assert!(told.contains(line), "{told}");
    world.fleet.wait_until("what was asked counts no more", |_| world.read("private", token).0 == "503");
    let (_, body) = world.read("private", token);
    assert!(body.contains("refused: it can't be found out who you are, for this address."), "{body}");
    assert_eq!(world.read("open", token).0, "200", "what everybody reads needs no directory");
    world.fleet.wait_until("nor is she let in", |_| world.login("ann@example.org", "id_ed25519").status == 255);
    world.line.becomes(Line::Good);
    world.fleet.wait_until("it is over", |_| world.read("private", token).0 == "200");
    world.fleet.wait_until("and the push goes in", |_| {
        [0, 1].contains(&work.hg(&["push", &world.by("ann%40example.org").ssh_url("open")]).status)
    });
}
