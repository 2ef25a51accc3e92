//! The access rules, as those feel them who clone and push.

use crate::support::fleet::Fleet;
use crate::support::run::{Said, run};
use std::path::PathBuf;

/// The account that a fresh data folder begins with.
fn account(fleet: &Fleet) -> String {
    let listed = fleet.hgfleet(&["account", "list"]).ok().out;
    listed.split('\t').next().expect("an account").to_owned()
}

/// What a client says that got a refusal.
#[track_caller]
fn aborted(said: Said) -> String {
    assert_eq!(said.status, 255, "{said:#?}");
    format!("{}{}", said.out, said.err)
}

fn group(fleet: &Fleet, members: &[&str]) {
    let ldif = fleet.data().join("directory.ldif");
    let text = std::fs::read_to_string(&ldif).expect("read");
    let before = text.split("\ndn: cn=staff").next().expect("what was there");
    let members: String = members.iter().map(|mail| format!("memberUid: {mail}\n")).collect();
    std::fs::write(&ldif, format!("{before}\ndn: cn=staff,ou=groups,o=fleet\ncn: staff\n{members}")).expect("written");
}

#[test]
fn rules_hold_over_ssh_and_https_alike() {
    let folder = tempfile::tempdir().expect("a folder");
    let rules: PathBuf = folder.path().join("access.toml");
    let write = |text: &str| std::fs::write(&rules, text).expect("written");
    let open = "[[rule]]\nrepositories = [\"**\"]\nread = [\"*\"]\nwrite = [\"accounts\"]\n";
    write(open);
    let fleet = Fleet::start_with(&[], &format!("[access]\nrules = \"{}\"", rules.display()));
    let mail = account(&fleet);
    for name in ["private/plans", "team/first"] {
        fleet.hgfleet(&["repo", "create", name]).ok();
        let work = fleet.init(&name.replace('/', "-"));
        work.commit("file", "1\n", "first");
        work.push(name).ok();
    }
    let clone = |url: &str, to: &str| fleet.hg(&["clone", "-q", url, fleet.path(to).to_str().expect("UTF-8")]);
    clone(&fleet.https_url("private/plans"), "seen").ok();

    // From now on only the staff reads it, and nobody pushes to it.
    write(&format!("[[rule]]\nrepositories = [\"private/**\"]\nread = [\"staff\"]\n\n{open}"));
    let page = |path: &str| {
        let url = fleet.https_url(path);
        run(fleet.curl().args(["-s", "-w", "%{http_code}", &url]))
    };
    let hidden = page("private/plans?cmd=capabilities");
    let absent = page("private/nothing?cmd=capabilities");
    assert!(hidden.out.ends_with("401"), "{hidden:#?}");
    assert_eq!(hidden.out.replace("plans", "nothing"), absent.out, "nobody learns that it is there");
    assert!(!page("").out.contains("private"), "nor in the list");
    assert!(page("").out.contains("team/first"));
    for (name, to) in [("private/plans", "one"), ("private/nothing", "two")] {
        let refused = aborted(clone(&fleet.ssh_url(name), to));
        assert!(refused.contains(&format!("refused: the repository does not exist, {name}")), "{refused}");
    }
    let explained = fleet.hgfleet(&["access", "explain", &mail, "private/plans"]).ok().out;
    assert!(explained.contains("read: no; rule 1, line 1 (private/**), grants it to staff alone"), "{explained}");

    group(&fleet, &[&mail]);
    clone(&fleet.ssh_url("private/plans"), "three").ok();
    let work = fleet.working_copy("private-plans");
    work.commit("file", "2\n", "second");
    let refused = aborted(work.push("private/plans"));
    let told = format!("refused: the access rules don't let {mail} write, on private/plans. Ask an administrator");
    assert!(refused.contains(&told), "{refused}");
    assert!(page("private/plans?cmd=capabilities").out.ends_with("401"), "over HTTPS nobody has shown an account");

    write(&format!("[[rule]]\nrepositories = [\"private/**\"]\nread = [\"staff\"]\nwrite = [\"staff\"]\n\n{open}"));
    work.push("private/plans").ok();
    let explained = fleet.hgfleet(&["access", "explain", &mail, "private/plans"]).ok().out;
    assert!(explained.contains("write: yes; rule 1, line 1 (private/**), grants it to staff"), "{explained}");
    let explained = fleet.hgfleet(&["access", "explain", "-", "team/first"]).ok().out;
    assert!(explained.contains("read: yes; rule 2, line 6 (**), grants it to *"), "{explained}");

    // What is broken changes nothing.
    write("[[rule]]\nrepositories = [\"private/**\"]\nreed = [\"*\"]\n");
    assert!(page("private/plans?cmd=capabilities").out.ends_with("401"));
    group(&fleet, &[]);
    let refused = aborted(clone(&fleet.ssh_url("private/plans"), "four"));
    assert!(refused.contains("does not exist"), "{refused}");
}
