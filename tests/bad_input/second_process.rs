//! Two processes where one belongs: a second fleet on a data folder, a second process of a role. The first one goes on.

use crate::support::fleet::{Fleet, HGFLEET, free_port};
use crate::support::run::run;
use std::process::Command;

#[test]
fn a_second_process_is_refused_and_takes_nothing_away() {
    let fleet = Fleet::start();
    fleet.hgfleet(&["repo", "create", "team/first"]).ok();
    let work = fleet.init("work");
    work.commit("a", "1\n", "first");
    work.push("team/first").ok();
    // The same folder by another name.
    let alias = fleet.path("alias");
    std::os::unix::fs::symlink(fleet.data(), &alias).unwrap();
    let mut up = Command::new(HGFLEET);
    up.arg("up").arg("--data").arg(&alias);
    for door in ["--ssh", "--http", "--https"] {
        up.args([door, &format!("127.0.0.1:{}", free_port())]);
    }
    let said = run(up.env("HOME", fleet.path("home"))).refused();
    assert!(said.err.contains("another fleet runs on the data folder") && said.err.contains("stop it"), "{said:?}");
    for role in [vec!["master"], vec!["mirror", "--name", "mirror-1"], vec!["mirror", "--name", "mirror-2"]] {
        let mut second = Command::new(HGFLEET);
        second.args(&role).arg("--config").arg(fleet.data().join("hgfleet.toml")).env("HGFLEET_LOG", "off");
        let said = run(&mut second).refused();
        assert!(said.err.contains("in use by another process"), "{role:?}: {said:?}");
    }
    // The first mirrors' sockets are still theirs, and pushes go on.
    for mirror in ["mirror-1", "mirror-2"] {
        let socket = fleet.data().join("run").join(format!("{mirror}.sock"));
        let mut curl = Command::new("curl");
        curl.args(["-s", "--unix-socket"]).arg(socket).arg("http://localhost/team/first?cmd=heads");
        assert_eq!(run(&mut curl).ok().out.len(), 41, "{mirror}");
    }
    work.commit("a", "2\n", "second");
    let said = work.push("team/first").ok();
    assert!(said.out.contains("visible on 2 of 2 mirrors"), "{said:?}");
    fleet.assert_one_store("team/first");
}
