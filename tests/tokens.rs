//! Tokens, as those feel them who read over HTTPS, and those who try without.

use crate::support::fleet::{Fleet, kill, wake};
use crate::support::run::{Said, run};
use std::time::{Duration, Instant};

const RULES: &str = "[[rule]]\nrepositories = [\"private/**\"]\nread = [\"staff\"]\nwrite = [\"accounts\"]\n\n\
                     [[rule]]\nrepositories = [\"**\"]\nread = [\"*\"]\nwrite = [\"accounts\"]\n";

/// The proxy that is trusted comes from here.
const PROXY: &str = "127.0.0.2";

fn private_fleet() -> (Fleet, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let rules = folder.keep().join("access.toml");
    std::fs::write(&rules, RULES).expect("written");
    let sections = format!(
        "[access]\nrules = \"{}\"\n[http]\ntrusted_proxy = {{ from = [\"{PROXY}\"], header = \"X-Forwarded-User\" }}",
        rules.display()
    );
    let fleet = Fleet::start_with(&[], &sections);
    let listed = fleet.hgfleet(&["account", "list"]).ok().out;
    let mail = listed.split('\t').next().expect("an account").to_owned();
    fleet.hgfleet(&["account", "group", "add", &mail, "staff"]).ok();
    for name in ["private/plans", "private/budget", "team/first"] {
        fleet.hgfleet(&["repo", "create", name]).ok();
        let work = fleet.init(&name.replace('/', "-"));
        work.commit("file", format!("{name}\n"), "first");
        work.push(name).ok();
    }
    (fleet, mail)
}

/// Somebody with credentials, or without.
#[derive(Clone, Copy)]
struct Reader<'f> {
    fleet: &'f Fleet,
    mail: &'f str,
    token: Option<&'f str>,
}

impl Reader<'_> {
    fn clone(&self, name: &str, to: &str) -> Said {
        let url = self.fleet.https_url(name);
        let mut arguments = vec!["clone".to_owned(), url, self.fleet.path(to).display().to_string()];
        arguments.extend(["--config".to_owned(), "ui.interactive=no".to_owned()]);
        if let Some(token) = self.token {
            let prefix = format!("localhost:{}", self.fleet.https_port);
            for (key, value) in [("prefix", prefix.as_str()), ("username", self.mail), ("password", token)] {
                arguments.extend(["--config".to_owned(), format!("auth.fleet.{key}={value}")]);
            }
        }
        self.fleet.hg(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Status, headers without what changes by itself, and body of a page.
    fn page(&self, path: &str) -> (String, String, String) {
        let user = self.token.map(|token| ["-u".to_owned(), format!("{}:{token}", self.mail)]);
        let user: Vec<String> = user.into_iter().flatten().collect();
        page(self.fleet, path, &user.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn status(&self, path: &str) -> String {
        self.page(path).0
    }
}

fn page(fleet: &Fleet, path: &str, options: &[&str]) -> (String, String, String) {
    let said = run(fleet.curl().args(["-i", &fleet.https_url(path)]).args(options)).ok();
    let (head, body) = said.out.split_once("\r\n\r\n").expect("a head and a body");
    let (status, headers) = head.split_once("\r\n").expect("headers");
    let changes = |line: &&str| !line.starts_with("date:") && !line.starts_with("x-hgfleet-position:");
    let headers: Vec<&str> = headers.lines().filter(changes).collect();
    (status.split(' ').nth(1).expect("a status").to_owned(), headers.join("\n"), body.to_owned())
}

/// Asks for a page again and again over one connection; returns of each answer what `what` names.
fn again(fleet: &Fleet, path: &str, times: usize, what: &str, user: &str) -> Vec<String> {
    let mut curl = fleet.curl();
    curl.args(["-w", &format!("%{{{what}}}\n"), "-u", user]);
    for _ in 0..times {
        curl.args(["-o", "/dev/null", &fleet.https_url(path)]);
    }
    run(&mut curl).ok().out.lines().map(str::to_owned).collect()
}

/// Makes a token; returns it and its name in the list.
fn create(fleet: &Fleet, mail: &str, options: &[&str]) -> (String, String) {
    let said = fleet.hgfleet(&[&["token", "create", mail], options].concat()).ok();
    let id = said.err.split(' ').nth(1).expect("its name").to_owned();
    (said.out.trim().to_owned(), id)
}

#[test]
fn tokens_open_what_their_account_may_read_and_nothing_else() {
    let (fleet, mail) = private_fleet();
    let nobody = Reader { fleet: &fleet, mail: &mail, token: None };
    let (token, id) = create(&fleet, &mail, &["--name", "laptop"]);
    let staff = Reader { token: Some(&token), ..nobody };

    // Nobody learns from an answer that a repository is there.
    let refused = nobody.clone("private/plans", "refused");
    assert_eq!(refused.status, 255, "{refused:#?}");
    assert!(refused.err.contains("authorization required"), "{refused:#?}");
    nobody.clone("team/first", "open").ok();
    for path in ["private/plans?cmd=capabilities", "private/plans", "private/plans/", "private/plans/rev/tip"] {
        let (hidden, absent) = (nobody.page(path), nobody.page(&path.replace("plans", "nothing")));
        assert_eq!(hidden.0, "401", "{path}");
        assert_eq!(hidden, absent, "{path}");
        assert!(hidden.1.contains("www-authenticate: Basic realm=\"hgfleet\""), "{hidden:?}");
        assert!(hidden.1.contains("cache-control: no-store"), "{hidden:?}");
    }

    // What the account may read, it clones; and its pages list it, in no cache.
    staff.clone("private/plans", "plans").ok();
    assert_eq!(std::fs::read_to_string(fleet.path("plans/file")).expect("cloned"), "private/plans\n");
    staff.clone("team/first", "open-too").ok();
    let (status, headers, body) = staff.page("");
    assert_eq!((status.as_str(), body.contains("private/plans")), ("200", true));
    assert!(headers.contains("cache-control: no-store") && headers.contains("vary: Authorization"), "{headers}");
    assert!(!nobody.page("").2.contains("private"));
    let (hidden, absent) = (staff.page("secret/x?cmd=heads"), staff.page("private/nothing?cmd=heads"));
    assert_eq!((hidden.0.as_str(), &hidden), ("404", &absent));
    fleet.wait_until("the list says that it was used", |fleet| {
        let listed = fleet.hgfleet(&["token", "list", &mail]).ok().out;
        assert!(listed.starts_with(&format!("{id}\t{mail}\tlaptop\tmade 20")), "{listed}");
        listed.contains("\tlast used 20")
    });

    // A token for some repositories is one of nobody's elsewhere.
    let (limited, _) = create(&fleet, &mail, &["--expires", "1", "--repositories", "private/plans", "other/**"]);
    let limited = Reader { token: Some(&limited), ..nobody };
    assert_eq!(limited.status("private/plans?cmd=heads"), "200");
    assert_eq!(limited.status("team/first?cmd=heads"), "200");
    let (hidden, absent) = (limited.page("private/budget?cmd=heads"), limited.page("private/nothing?cmd=heads"));
    assert_eq!((hidden.0.as_str(), &hidden), ("404", &absent));

    // Groups and accounts are the directory's.
    fleet.hgfleet(&["account", "group", "remove", &mail, "staff"]).ok();
    assert_eq!(staff.status("private/plans?cmd=heads"), "404");
    assert_eq!(staff.status("team/first?cmd=heads"), "200");
    fleet.hgfleet(&["account", "group", "add", &mail, "staff"]).ok();
    assert_eq!(staff.status("private/plans?cmd=heads"), "200");
    fleet.hgfleet(&["account", "disable", &mail]).ok();
    assert_eq!(staff.status("private/plans?cmd=heads"), "401");
    let refused = fleet.hgfleet(&["token", "create", &mail]).refused();
    assert!(refused.err.contains("is not enabled"), "{refused:#?}");
    fleet.hgfleet(&["account", "enable", &mail]).ok();

    // Reads need only the mirrors: the master is gone, and the log too.
    fleet.signal_supervisor("STOP");
    let mirrors = ["mirror-1", "mirror-2"];
    let pids = mirrors.map(|name| fleet.server(name)["pid"].as_u64().expect("a process"));
    let master = fleet.signal("master", "STOP");
    let log = fleet.path("data/log");
    std::fs::rename(&log, fleet.path("log-away")).expect("moved");
    pids.into_iter().for_each(|pid| kill("KILL", pid));
    // They have nothing but what lies on their disks.
    let mut alone = mirrors.map(|name| fleet.role("mirror", name).spawn().expect("started"));
    staff.clone("private/plans", "without-a-master").ok();
    assert_eq!(nobody.status("private/plans?cmd=heads"), "401");
    for mirror in &mut alone {
        mirror.kill().and_then(|()| mirror.wait()).expect("ours to end");
    }
    std::fs::rename(fleet.path("log-away"), &log).expect("moved back");
    wake(master);
    fleet.signal_supervisor("CONT");

    // What is revoked is refused by every mirror within the time that is said.
    fleet.wait_until_whole(&["mirror-1", "mirror-2"]);
    let said = fleet.hgfleet(&["token", "revoke", &id]).ok();
    assert!(said.out.contains("within 2 seconds"), "{said:#?}");
    let revoked = Instant::now();
    let user = format!("{mail}:{token}");
    fleet.wait_until("both mirrors refuse it", |fleet| {
        again(fleet, "private/plans?cmd=heads", 6, "http_code", &user).iter().all(|status| status == "401")
    });
    assert!(revoked.elapsed() < Duration::from_secs(6), "{:?}, on a machine that is busy", revoked.elapsed());
    assert_eq!(limited.status("private/plans?cmd=heads"), "200", "another token of the account counts on");
    assert!(fleet.hgfleet(&["token", "revoke", &id]).refused().err.contains("there is no token"));
    let kept = std::fs::read_to_string(fleet.data().join("mirror-1/tokens")).expect("kept");
    assert!(!kept.contains(&token[8..]) && !fleet.log().contains(&token[8..]), "no token is kept or logged");
}

#[test]
fn credentials_that_are_wrong_open_nothing_and_are_written_nowhere() {
    let (fleet, mail) = private_fleet();
    let (token, _) = create(&fleet, &mail, &[]);
    let at = |path: &str, options: &[&str]| page(&fleet, path, options);
    let heads = "private/plans?cmd=heads";
    let user = format!("{mail}:{token}");
    assert_eq!(at(heads, &["-u", &user]).0, "200");

    let (other, mangled) = (format!("x{user}"), format!("{mail}:{}x", &token[..token.len() - 1]));
    let long = format!("Authorization: Basic {}", "QUFB".repeat(1000));
    let cookie = format!("Authorization: Basic {}", "QUFB".repeat(16_000));
    for (what, options, status) in [
        ("another account's token", &["-u", &other][..], "401"),
        ("a mangled token", &["-u", &mangled], "401"),
        ("a password", &["-u", "jane@example.com:secret"], "401"),
        ("another scheme", &["-H", "Authorization: Bearer x"], "401"),
        ("no colon", &["-H", "Authorization: Basic bm8gY29sb24="], "400"),
        ("no base64", &["-H", "Authorization: Basic ***"], "400"),
        ("two of them", &["-H", "Authorization: Basic eDp4", "-H", "Authorization: Basic eDp4"], "400"),
        ("4 kB of them", &["-H", &long], "400"),
        ("64 kB of them", &["-H", &cookie], "431"),
    ] {
        for path in [heads, "team/first?cmd=heads"] {
            assert_eq!(at(path, options).0, status, "{what}, {path}");
        }
    }
    let in_address = at(&format!("{heads}&token={token}"), &[]);
    assert_eq!((in_address.0.as_str(), in_address.2.contains("Revoke it")), ("400", true));
    let plain = format!("http://localhost:{}/{heads}", fleet.http_port);
    let said = run(fleet.curl().args(["-o", "/dev/null", "-w", "%{http_code}", "-u", &user, &plain])).ok();
    assert_eq!(said.out, "301", "nothing is answered without TLS");

    // An account that a proxy names is believed from the proxy alone.
    let named = format!("X-Forwarded-User: {mail}");
    let through = ["--interface", PROXY];
    assert_eq!(at(heads, &[&through[..], &["-H", &named]].concat()).0, "200");
    assert_eq!(at(heads, &["-H", &named]).0, "401");
    assert_eq!(at(heads, &["-H", &format!("X-Hgfleet-Account: {mail}")]).0, "401");
    assert_eq!(at(heads, &[&through[..], &["-H", "X-Forwarded-User: who@example.com"]].concat()).0, "403");
    assert_eq!(at(heads, &[&through[..], &["-H", "X-Forwarded-User: x"]].concat()).0, "400");
    assert_eq!(at(heads, &[&through[..], &["-H", &named, "-H", &named]].concat()).0, "400");
    assert_eq!(at(heads, &[&through[..], &["-u", &user]].concat()).0, "200", "and passes tokens on");

    // Nor does the time tell what is there.
    let (blind, _) = create(&fleet, &mail, &["--repositories", "other/**"]);
    let times = |path: &str| {
        let times = again(&fleet, path, 41, "time_total", &format!("{mail}:{blind}"));
        let mut times: Vec<f64> = times.iter().map(|time| time.parse().expect("seconds")).collect();
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    let (hidden, absent) = (times(heads), times("private/nothing?cmd=heads"));
    assert!((hidden - absent).abs() < 0.005, "{hidden} s and {absent} s");

    // Who tries again and again is told to wait; who has a token is not.
    let statuses = again(&fleet, heads, 60, "http_code", "jane@example.com:secret");
    assert_eq!(statuses.last().map(String::as_str), Some("429"), "{statuses:?}");
    assert_eq!(at(heads, &["-u", &user]).0, "200");
    for secret in [&token[8..], "secret", "c2VjcmV0"] {
        assert!(!fleet.log().contains(secret), "{secret} is in the log");
    }
}
