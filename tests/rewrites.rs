//! Repositories are deleted and brought back, renamed, configured and rewritten, on every server alike.

use crate::support::fleet::Fleet;
use std::fs;
use std::io::{Read, Write};
use std::process::{Child, Stdio};

/// A session of an SSH client that asks one thing after the other.
struct Session(Child);

impl Session {
    fn open(fleet: &Fleet, name: &str) -> Session {
        let mut ssh = fleet.ssh_command();
        ssh.arg(format!("hg -R {name} serve --stdio")).stdin(Stdio::piped()).stdout(Stdio::piped());
        Session(ssh.stderr(Stdio::null()).spawn().expect("a client"))
    }

    /// The nodes of its heads; `None` where there is an error in their place.
    fn heads(&mut self) -> Option<String> {
        let (to, from) = (self.0.stdin.as_mut().expect("piped"), self.0.stdout.as_mut().expect("piped"));
        to.write_all(b"heads\n").ok()?;
        let mut line = Vec::new();
        let mut byte = [0];
        while byte != [b'\n'] {
            from.read_exact(&mut byte).ok()?;
            line.extend(byte);
        }
        let length: usize = String::from_utf8(line).expect("a length").trim().parse().ok()?;
        let mut heads = vec![0; length];
        from.read_exact(&mut heads).ok()?;
        (length > 0).then(|| String::from_utf8(heads).expect("nodes").trim().to_owned())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// What one server keeps of deleted repositories.
fn kept(fleet: &Fleet, server: &str) -> usize {
    fs::read_dir(fleet.data().join(server).join("deleted")).expect("a folder").count()
}

fn deleted(fleet: &Fleet) -> String {
    fleet.hgfleet(&["repo", "list", "--deleted"]).ok().out
}

#[test]
fn what_is_deleted_can_be_brought_back_until_it_is_given_up_everywhere() {
    let mut fleet = Fleet::start();
    fleet.hgfleet(&["repo", "create", "team/a", "--non-publishing"]).ok();
    let work = fleet.init("work");
    work.commit("file", "1\n", "first");
    work.push("team/a").ok();
    fleet.hgfleet(&["repo", "delete", "team/a"]).ok();
    assert_eq!(fleet.hgfleet(&["repo", "list"]).ok().out, "");
    assert!(deleted(&fleet).starts_with("team/a\tdeleted 20"), "{}", deleted(&fleet));
    // An old working copy's push, and a reader, find nothing.
    work.commit("file", "2\n", "second");
    let said = work.push("team/a");
    let says = format!("{}{}", said.out, said.err);
    assert!(said.status != 0 && says.contains("the repository does not exist, team/a"), "{said:#?}");
    assert_ne!(fleet.hg(&["clone", "-q", &fleet.https_url("team/a"), "none"]).status, 0);
    // The name is free, also for what lies above it.
    fleet.hgfleet(&["repo", "create", "team"]).ok();
    fleet.hgfleet(&["repo", "restore", "team/a"]).refused();
    fleet.hgfleet(&["repo", "restore", "never"]).refused();
    // A mirror that was away meanwhile follows.
    fleet.signal("mirror-2", "STOP");
    fleet.hgfleet(&["repo", "restore", "team/a", "--as", "b"]).ok();
    assert_eq!(deleted(&fleet), "");
    work.push("b").ok();
    fleet.signal("mirror-2", "CONT");
    fleet.assert_one_store("b");
    fleet.hg(&["clone", "-q", &fleet.https_url("b"), "clone"]).ok();
    assert_eq!(fleet.working_copy("clone").log(), work.log());
    fleet.hgfleet(&["repo", "delete", "b"]).ok();
    fleet.wait_until("every server keeps it", |fleet| {
        ["master", "mirror-1", "mirror-2"].iter().all(|server| kept(fleet, server) == 1)
    });
    fleet.down();
    let path = fleet.data().join("hgfleet.toml");
    let text = fs::read_to_string(&path).expect("a configuration");
    assert!(text.contains("deletion_grace_seconds = 604800"), "{text}");
    fs::write(&path, text.replace("grace_seconds = 604800", "grace_seconds = 1")).expect("written");
    fleet.up(&[]);
    fleet.wait_until("every server has given it up", |fleet| {
        ["master", "mirror-1", "mirror-2"].iter().all(|server| kept(fleet, server) == 0)
    });
    fleet.hgfleet(&["repo", "restore", "b"]).refused();
    let said = fleet.hgfleet(&["log", "list"]).ok();
    assert!(said.out.contains("  restore  b  operator") && said.out.contains("  purge  of what record "), "{said:#?}");
}

#[test]
fn a_repository_gets_another_name_and_settings_on_every_server() {
    let fleet = Fleet::start();
    fleet.hgfleet(&["repo", "create", "old/name"]).ok();
    fleet.hgfleet(&["repo", "create", "taken"]).ok();
    let work = fleet.init("work");
    work.commit("file", "1\n", "first");
    work.push("old/name").ok();
    for name in ["taken", "old/name", "old/name/inside", "old", "a//b"] {
        fleet.hgfleet(&["repo", "rename", "old/name", name]).refused();
    }
    let mut session = Session::open(&fleet, "old/name");
    assert!(session.heads().is_some());
    fleet.signal("mirror-2", "STOP");
    fleet.hgfleet(&["repo", "rename", "old/name", "new"]).ok();
    assert_eq!(session.heads(), None);
    // Another one may have the old name at once, and what lies in it.
    fleet.hgfleet(&["repo", "create", "old/name"]).ok();
    work.commit("file", "2\n", "second");
    work.push("new").ok();
    fleet.signal("mirror-2", "CONT");
    fleet.assert_one_store("new");
    fleet.assert_one_store("old/name");
    fleet.hg(&["clone", "-q", &fleet.https_url("new"), "clone"]).ok();
    assert_eq!(fleet.working_copy("clone").log(), work.log());

    let said = fleet.hgfleet(&["repo", "config", "new", "--set", "phases.publish=False", "--set", "web.name=x y"]).ok();
    assert!(said.out.starts_with("changed new, stored as "), "{said:#?}");
    fleet.hgfleet(&["repo", "describe", "new", "All <about> it"]).ok();
    fleet.hgfleet(&["repo", "config", "new", "--unset", "web.name"]).ok();
    let hgrc = "[phases]\npublish = False\n[web]\ndescription = All <about> it\n";
    assert_eq!(fleet.hgfleet(&["repo", "config", "new"]).ok().out, hgrc);
    assert!(fleet.hgfleet(&["repo", "describe", "new", "All <about> it"]).ok().out.contains("so already"));
    for set in ["hooks.incoming=rm -rf /", "phases.publish=perhaps", "web.name=a\n[hooks]", "web"] {
        fleet.hgfleet(&["repo", "config", "new", "--set", set]).refused();
    }
    work.commit("file", "3\n", "third");
    work.push("new").ok();
    assert_eq!(work.hg_here(&["log", "-r", "tip", "-T", "{phase}"]).ok().out, "draft");
    fleet.assert_one_store("new");
    for copy in fleet.copies("new") {
        assert_eq!(fs::read_to_string(copy.join(".hg/hgrc")).expect("there"), hgrc);
    }
    fleet.hgfleet(&["repo", "verify", "new"]).ok();
}

#[test]
fn a_command_that_rewrites_a_repository_does_so_on_every_server_or_nowhere() {
    let fleet = Fleet::start();
    fleet.hgfleet(&["repo", "create", "a"]).ok();
    let work = fleet.init("work");
    for n in ["1", "2", "3"] {
        work.commit("file", n, n);
    }
    work.push("a").ok();
    fleet.hg(&["clone", "-q", &fleet.ssh_url("a"), "before"]).ok();
    let exec = |command: &[&str]| fleet.hgfleet_then(&["repo", "exec", "a"], command);
    let strip = ["hg", "--config", "extensions.strip=", "strip", "--no-backup", "-r"];
    // What fails, and what changes nothing, is nowhere; its status and words are the command's.
    let end = fleet.status()["log"]["sequence"].clone();
    let said = exec(&[&strip[..], &["nowhere"]].concat());
    assert!(said.status == 255 && said.err.contains("unknown revision 'nowhere'"), "{said:#?}");
    let said = exec(&["hg", "log", "-T", "{rev}\n"]).ok();
    assert!(said.out.starts_with("2\n1\n0\n") && said.out.contains("changed nothing"), "{said:#?}");
    exec(&["sh", "-c", "true"]).refused();
    assert_eq!(fleet.status()["log"]["sequence"], end);
    let copies = fleet.data().join("master/rewrite");
    fleet.wait_until("no copy is left", |_| fs::read_dir(&copies).expect("a folder").count() == 0);

    let mut session = Session::open(&fleet, "a");
    let node = |rev: &str| work.hg_here(&["log", "-r", rev, "-T", "{node}"]).ok().out;
    assert_eq!(session.heads(), Some(node("2")));
    fleet.signal("mirror-2", "STOP");
    let said = exec(&[&strip[..], &["2"]].concat()).ok();
    assert!(said.out.contains("rewrote a, stored as "), "{said:#?}");
    assert_eq!(session.heads(), Some(node("1")));
    fleet.signal("mirror-2", "CONT");
    fleet.assert_one_store("a");
    fleet.hg(&["clone", "-q", &fleet.https_url("a"), "after"]).ok();
    assert_eq!(fleet.hg(&["log", "-R", "after", "-T", "{rev}\n"]).ok().out, "1\n0\n");
    // What was cut off is new again.
    let before = fleet.working_copy("before");
    before.commit("file", "4", "4");
    assert!(before.push("a").ok().out.contains("added 2 changesets"));
    let said = exec(&["hg", "--config", "format.revlog-compression=zlib", "debugupgraderepo", "--run", "-q"]).ok();
    assert!(said.out.contains("rewrote a, stored as "), "{said:#?}");
    before.commit("file", "5", "5");
    before.push("a").ok();
    fleet.assert_one_store("a");
    fleet.hgfleet(&["repo", "verify", "a"]).ok();
    assert_eq!(fleet.hgfleet(&["log", "list"]).ok().out.matches("  rewrite  a  ").count(), 2);
}

#[test]
fn a_standby_that_takes_over_in_the_middle_finishes_it() {
    let mut fleet = Fleet::start_with(&["standby"], "[master]\nlease_ms = 2000");
    fleet.down();
    let steps = fleet.path("stop-at");
    fs::create_dir(&steps).expect("made");
    fleet.up(&[("HGFLEET_STOP_AT", steps.to_str().expect("UTF-8"))]);
    fleet.hgfleet(&["repo", "create", "a"]).ok();
    let work = fleet.init("work");
    work.commit("file", "1\n", "first");
    work.push("a").ok();
    for (step, request) in [
        ("mirror-1.apply.middle", vec!["repo", "rename", "a", "b"]),
        ("mirror-1.apply.middle", vec!["repo", "rename", "b", "a"]),
        ("master.appended", vec!["repo", "rename", "a", "b"]),
    ] {
        fs::write(steps.join(step), "KILL").expect("armed");
        let is_master = step.starts_with("master");
        if is_master {
            fleet.signal_supervisor("STOP");
        }
        let said = fleet.hgfleet(&request);
        assert_eq!(said.status, i32::from(is_master), "{said:#?}");
        fleet.wait_until("it stopped there", |_| !steps.join(step).exists());
    }
    fleet.wait_until("the standby is master", |fleet| fleet.status()["lease"]["holder"] == "standby");
    fleet.wait_until("it has finished", |fleet| fleet.hgfleet(&["repo", "list"]).out == "b\n");
    work.commit("file", "2\n", "second");
    work.push("b").ok();
    fleet.signal_supervisor("CONT");
    fleet.assert_one_store("b");
}
