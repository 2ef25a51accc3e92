//! Every way to read a repository, by each Mercurial on the PATH and by both doors of a fleet: what a client gets is what it gets from stock
//! `hg serve` over the same repository.

use crate::support::beside_stock;
use crate::support::clients::{Clients, WorkingCopy, history};
use crate::support::fleet::{Fleet, free_port};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const NAME: &str = "team/read";

/// Branches, a closed one, a merge, tags, bookmarks, drafts, and a changeset that another one made obsolete.
fn make(fleet: &Fleet) {
    fleet.hgfleet(&["repo", "create", "--non-publishing", NAME]).ok();
    fleet.hgfleet(&["repo", "config", NAME, "--set", "experimental.evolution=all"]).ok();
    let work = fleet.init("work");
    let hg = |arguments: &[&str]| drop(work.hg_here(arguments).ok());
    work.commit("a", "one\n", "first");
    hg(&["tag", "-q", "v1"]);
    work.commit("dir/B", "two\n", "second");
    hg(&["branch", "-q", "stable"]);
    work.commit("dir/B", "two\nthree\n", "on a branch");
    hg(&["phase", "--public", "."]);
    hg(&["update", "-q", "default"]);
    hg(&["copy", "-q", "a", "copied"]);
    hg(&["commit", "-qm", "copy"]);
    hg(&["merge", "-q", "stable"]);
    hg(&["commit", "-qm", "merge"]);
    hg(&["bookmark", "-q", "-r", "v1", "early"]);
    hg(&["bookmark", "-q", "late"]);
    work.commit("a", "four\n", "to be amended");
    hg(&["commit", "-q", "--amend", "-m", "amended"]);
    hg(&["branch", "-q", "short"]);
    work.commit("c", "five\n", "short");
    hg(&["commit", "-q", "--close-branch", "-m", "closed"]);
    work.hg(&["push", "--new-branch", "-B", "early", "-B", "late", &fleet.ssh_url(NAME)]).ok();
}

/// What clones and pulls leave behind, and what other commands print, all with this Mercurial from this place.
fn read(clients: &Clients, from: &str, prefix: &str) -> Vec<(String, String)> {
    let mut seen = Vec::new();
    let mut cloned = |how: &[&str]| {
        let into = format!("{prefix}-{}", seen.len());
        clients.hg(&[&["clone", "-q"], how, &[from, &into]].concat()).ok();
        let clone = clients.working_copy(&into);
        clone.hg_here(&["verify", "-q"]).ok();
        let parents = clone.hg_here(&["parents", "-T", "{node}\n"]).ok().out;
        let files = clone.hg_here(&["status", "-A"]).ok().out;
        seen.push((format!("clone {how:?}"), history(clients, &clone.path) + &parents + &files));
        into
    };
    cloned(&["--pull"]);
    cloned(&["-U", "--pull"]);
    cloned(&["--stream"]);
    cloned(&["--stream", "-U"]);
    cloned(&["-r", "stable"]);
    cloned(&["-b", "default", "-u", "v1"]);
    let partial = cloned(&["-r", "v1"]);

    for arguments in [
        &["identify", "-i", from][..],
        &["identify", "-r", "stable", from],
        &["identify", "-i", "-r", "late", from],
        &["identify", "-B", "-r", "early", from],
        &["identify", "-r", "nosuch", from],
    ] {
        seen.push((format!("{:?}", &arguments[..arguments.len() - 1]), told(clients.hg(arguments))));
    }
    let partial = clients.working_copy(&partial);
    let ask = |arguments: &[&str]| (format!("{arguments:?}"), told(partial.hg(&[arguments, &[from]].concat())));
    let pull = |partial: &WorkingCopy<'_>, arguments: &[&str]| {
        partial.hg(&[&["pull", "-q"], arguments, &[from]].concat()).ok();
        (format!("pull {arguments:?}"), partial.log())
    };
    seen.push(ask(&["incoming", "-q", "-T", "{node} {desc} {phase}\n"]));
    seen.push(ask(&["incoming", "-q", "-p", "-r", "stable"]));
    seen.push(ask(&["incoming", "-q", "-B"]));
    seen.push(ask(&["outgoing", "-q"]));
    seen.push(pull(&partial, &["-r", "stable"]));
    seen.push(pull(&partial, &["-B", "early"]));
    seen.push(pull(&partial, &[]));
    seen.push(ask(&["pull", "-q"]));
    seen.push(ask(&["incoming", "-q"]));
    partial.commit("mine", "mine\n", "mine");
    seen.push(ask(&["outgoing", "-q", "-T", "{desc}\n"]));
    seen.push(ask(&["outgoing", "-q", "-B"]));
    seen
}

/// Stock, which serves this repository until it is dropped.
struct StockServer {
    process: Child,
    url: String,
}

impl StockServer {
    fn start(clients: &Clients, repository: &str) -> StockServer {
        let port = free_port();
        let arguments = ["serve", "-R", repository, "-a", "127.0.0.1", "-p", &port.to_string()];
        let process = clients.hg_command(&arguments).stdout(Stdio::null()).spawn().expect("hg runs");
        let server = StockServer { process, url: format!("http://127.0.0.1:{port}/") };
        for _ in 0..300 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return server;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("hg serve doesn't listen at {}", server.url);
    }
}

impl Drop for StockServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Without what names the place.
fn told(said: crate::support::run::Said) -> String {
    format!("{}{} [{}]", said.out, said.err.lines().next().unwrap_or_default(), said.status)
}

#[test]
fn every_client_reads_by_every_door_what_stock_serves() {
    let fleet = Fleet::start();
    // Else a store with markers is not sent as a stream.
    let hgrc = fleet.hgrc("id_ed25519") + "[experimental]\nevolution = all\n";
    std::fs::write(fleet.path("hgrc"), hgrc).expect("written");
    make(&fleet);
    let here = fleet.path("here").display().to_string();
    // Stock writes caches beside what it serves.
    let copied = Command::new("cp").arg("-r").arg(&fleet.copies(NAME)[1]).arg(&here).status();
    assert!(copied.expect("cp runs").success());
    let stock = StockServer::start(&fleet, &here);
    for hg in beside_stock::clients() {
        let clients = fleet.with_hg(&hg);
        let version = clients.hg(&["version", "-q"]).ok().out;
        let number = version.chars().filter(char::is_ascii_digit).collect::<String>();
        let expected = read(&clients, &stock.url, &format!("{number}-stock"));
        for (door, url) in [("https", fleet.https_url(NAME)), ("ssh", fleet.ssh_url(NAME))] {
            let got = read(&clients, &url, &format!("{number}-{door}"));
            for ((what, got), (_, expected)) in got.iter().zip(&expected) {
                assert_eq!(got, expected, "{door}, {version}: {what}");
            }
        }
    }
    hidden_changesets_are_for_whom_the_settings_name(&fleet);
}

fn hidden_changesets_are_for_whom_the_settings_name(fleet: &Fleet) {
    let work = fleet.working_copy("work");
    work.commit("d", "six\n", "to be replaced");
    work.push(NAME).ok();
    let replaced = work.hg_here(&["log", "-r", ".", "-T", "{node}"]).ok().out;
    work.hg_here(&["commit", "-q", "--amend", "-m", "replaced"]).ok();
    work.push(NAME).ok();
    let reader = fleet.init("reader");
    let pull = |url: &str| reader.hg(&["pull", "-q", "--remote-hidden", "-r", &replaced, url]);
    let (ssh, https) = (fleet.ssh_url(NAME), fleet.https_url(NAME));
    for url in [&ssh, &https] {
        let said = pull(url);
        assert!(said.status != 0 && said.err.contains("filtered revision"), "{said:#?}");
    }
    let allow = |who: &str| {
        let setting = format!("experimental.server.allow-hidden-access={who}");
        fleet.hgfleet(&["repo", "config", NAME, "--set", &setting]).ok();
    };
    allow("user@localhost");
    assert_ne!(pull(&https).status, 0);
    pull(&ssh).ok();
    let log = |repository: &WorkingCopy<'_>| {
        repository.hg_here(&["log", "--hidden", "-r", &replaced, "-T", "{desc}"]).ok().out
    };
    assert_eq!(log(&reader), "to be replaced");
    allow("*");
    let reader = fleet.init("another-reader");
    reader.hg(&["pull", "-q", "--remote-hidden", "-r", &replaced, &https]).ok();
    assert_eq!(log(&reader), "to be replaced");
    fleet.hgfleet(&["repo", "config", NAME, "--set", "server.view=visible"]).refused();
    fleet.hgfleet(&["repo", "config", NAME, "--set", "server.view=immutable"]).ok();
    for url in [&ssh, &https] {
        let said = fleet.hg(&["id", "-r", "late", url]);
        assert!(said.status != 0 && said.err.contains("unknown revision 'late'"), "{said:#?}");
    }
}
