//! What may be said at the SSH door, and what an HTTP client that is no `hg` gets.

use crate::support::fleet::Fleet;
use crate::support::run::run;
use std::process::Command;

#[test]
fn no_terminal_no_forwarding_no_files() {
    let fleet = Fleet::start();
    let with = |options: &[&str], rest: &[&str]| run(fleet.ssh_command().args(options).args(rest));
    let sftp = run(Command::new("ssh")
        .args(["-p", &fleet.ssh_port.to_string(), "-s"])
        .args(crate::support::clients::ssh_options())
        .arg("-i")
        .arg(fleet.path("home/.ssh/id_ed25519"))
        .args(["hg@127.0.0.1", "sftp"]));
    assert_ne!(sftp.status, 0, "{sftp:?}");
    let remote = with(&["-oExitOnForwardFailure=yes", "-R", "0:127.0.0.1:1"], &["x"]);
    assert_ne!(remote.status, 0, "{remote:?}");
    let environment = with(&["-oSetEnv=HGRCPATH=/etc/passwd LD_PRELOAD=/tmp/x"], &["hg -R nowhere serve --stdio"]);
    assert_eq!(environment.status, 1, "{environment:?}");
}

#[test]
fn a_browser_gets_pages_and_plain_http_a_redirect() {
    let fleet = Fleet::start();
    fleet.hgfleet(&["repo", "create", "team/first"]).ok();
    let work = fleet.init("work");
    work.commit("a", "1\n", "a <script>alert(1)</script> message");
    work.hg_here(&["bookmark", "mark"]).ok();
    work.hg_here(&["tag", "v1"]).ok();
    work.hg(&["push", "-q", "-B", "mark", &fleet.ssh_url("team/first")]).ok();
    let get = |url: &str| run(fleet.curl().arg("-i").arg(url)).ok().out;
    let front = get(&format!("https://localhost:{}/", fleet.https_port));
    assert!(front.starts_with("HTTP/1.1 200"), "{front}");
    assert!(front.contains("team/first") && front.contains("hg clone"), "{front}");
    let page = get(&fleet.https_url("team/first"));
    assert!(page.contains("&lt;script&gt;") && !page.contains("<script>alert"), "{page}");
    assert!(page.contains("v1") && page.contains("mark"), "{page}");
    assert!(get(&fleet.https_url("nowhere")).starts_with("HTTP/1.1 404"));
    assert!(get(&format!("https://localhost:{}/..%2f..%2fetc/passwd", fleet.https_port)).starts_with("HTTP/1.1 40"));

    let moved = get(&format!("http://127.0.0.1:{}/team/first?x=1", fleet.http_port));
    assert!(moved.starts_with("HTTP/1.1 301"), "{moved}");
    assert!(moved.to_lowercase().contains(&format!(":{}/team/first?x=1", fleet.https_port)), "{moved}");
}
