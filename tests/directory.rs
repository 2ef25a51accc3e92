//! Accounts in LDAP, by the commands of `docs/directory.md`: an empty `slapd` is filled by them, and people come in.

use crate::support::fleet::{Fleet, SOON};
use crate::support::ldap_server::LdapServer;
use crate::support::run::run_with;
use std::process::Command;

#[test]
fn an_empty_ldap_server_is_filled_by_the_guide_and_its_people_push() {
    let server = LdapServer::start();
    for step in ["### 2. ", "### 3. "] {
        server.do_step(step, server.path());
    }
    let sections =
        format!("{}write_server = \"ldap://127.0.0.1:{port}\"\n", server.section(server.port), port = server.port);
    let fleet = Fleet::start_with(&[], &sections);
    server.do_step("### 4. ", &fleet.path("home"));
    let shown = fleet.hgfleet(&["account", "show", "ann@example.org"]).ok().out;
    assert!(shown.contains("scm_level_1"), "{shown}");

    fleet.wait_until("her key opens the door", |fleet| {
        fleet.ssh_command().output().is_ok_and(|said| String::from_utf8_lossy(&said.stderr).contains("ann@example.org"))
    });
    own_keys(&fleet);
    fleet.hgfleet(&["repo", "create", "one"]).ok();
    let work = fleet.init("work");
    work.commit("file", "1\n", "first");
    let pushed = work.push("one").ok();
    assert!(pushed.out.contains("stored as") || pushed.err.contains("stored as"), "{pushed:#?}");
    let entry = "dn: cn=Ann Example,ou=people,dc=example,dc=org\nchangetype: modify\nreplace: hgAccountEnabled\nhgAccountEnabled: ";
    server.change(&format!("{entry}FALSE\n"));
    fleet.wait_until("a disabled account is told so", |fleet| {
        fleet.ssh_command().output().is_ok_and(|said| String::from_utf8_lossy(&said.stderr).contains("is disabled"))
    });
    work.commit("file", "2\n", "second");
    let refused = work.push("one");
    assert_eq!(refused.status, 255, "{refused:#?}");
    let sequence = fleet.hg(&["identify", &fleet.https_url("one")]).ok().out;
    assert_eq!(sequence.trim().len(), 12, "what she pushed before is there: {sequence}");
}

/// She gives herself a key, and takes it away again.
fn own_keys(fleet: &Fleet) {
    let key = fleet.path("home/.ssh/second");
    run_with(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key), b"", SOON).ok();
    let public = std::fs::read(key.with_extension("pub")).expect("read");
    let said = run_with(fleet.ssh_command().arg("keys add"), &public, SOON).ok().out;
    let fingerprint = said.trim().strip_prefix("added the key ").expect("its fingerprint").to_owned();
    fleet.wait_until("the second key opens the door", |fleet| {
        let said = run_with(fleet.ssh_with("second", &[]).arg("keys list"), b"", SOON);
        said.status == 0 && said.out.lines().count() == 2
    });
    let taken = run_with(fleet.ssh_command().arg("keys add"), &public, SOON).refused().err;
    assert!(taken.starts_with("refused: this key is there already, on your keys."), "{taken}");
    fleet.ssh(&format!("keys remove {fingerprint}")).ok();
    let gone = run_with(fleet.ssh_with("second", &[]).arg("keys list"), b"", SOON);
    assert!(gone.err.contains("Permission denied (publickey)"), "at once: {gone:#?}");
    let left = fleet.ssh("keys list").ok().out;
    let last = left.split(' ').next().expect("a fingerprint");
    assert!(fleet.ssh(&format!("keys remove {last}")).refused().err.contains("it is the only one, on your keys."));
}
