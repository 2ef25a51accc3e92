//! Largefiles: pushed over SSH, stored as the same bytes on every server, and there for every clone by both doors.

use crate::support::fleet::Fleet;
use crate::support::run::Said;
use std::fs;
use std::path::Path;

/// Arguments that turn the extension on, with a cache that no other clone has: what a clone has came from the server.
fn largefiles<'a>(cache: &'a str, arguments: &[&'a str]) -> Vec<&'a str> {
    [&["--config", "extensions.largefiles=", "--config", cache], arguments].concat()
}

fn cache_in(folder: &Path) -> String {
    format!("largefiles.usercache={}", folder.display())
}

fn noise(seed: u32) -> Vec<u8> {
    (0..300_000u32).flat_map(|n| (n ^ seed).wrapping_mul(2_654_435_761).to_be_bytes()).collect()
}

#[test]
fn largefiles_are_pushed_and_come_out_of_every_door() {
    let fleet = Fleet::start();
    fleet.hgfleet(&["repo", "create", "large"]).ok();
    let work = fleet.init("work");
    let own = cache_in(&fleet.path("cache-of-work"));
    let on_work = |arguments: &[&str]| -> Said { work.hg(&largefiles(&own, arguments)) };
    work.commit("plain", "one\n", "plain");
    fs::create_dir(work.path.join("dir")).expect("made");
    fs::write(work.path.join("dir/image"), noise(1)).expect("written");
    on_work(&["add", "-q", "--large", "dir/image"]).ok();
    on_work(&["commit", "-q", "-m", "a large file"]).ok();

    // A repository whose settings don't say so takes none.
    let said = on_work(&["push", &fleet.ssh_url("large")]);
    assert!(said.status != 0, "{said:#?}");
    fleet.hgfleet(&["repo", "config", "large", "--set", "extensions.largefiles="]).ok();
    let said = on_work(&["push", &fleet.ssh_url("large")]).ok();
    assert!(said.out.contains("added 2 changesets"), "{said:#?}");
    fleet.assert_one_store("large");
    for copy in fleet.copies("large") {
        let requires = fs::read_to_string(copy.join(".hg/store/requires")).expect("there");
        assert!(requires.lines().any(|line| line == "largefiles"), "{requires}");
    }

    fs::write(work.path.join("dir/image"), noise(2)).expect("written");
    on_work(&["commit", "-q", "-m", "another"]).ok();
    on_work(&["push", "-q", &fleet.ssh_url("large")]).ok();
    fleet.assert_one_store("large");

    // A copy that is asked for has them too.
    fleet.hgfleet(&["repo", "resync", "large", "--server", "mirror-1"]).ok();
    fleet.hgfleet(&["repo", "verify", "large"]).ok();
    fleet.assert_one_store("large");

    for (url, name) in [(fleet.https_url("large"), "over-https"), (fleet.ssh_url("large"), "over-ssh")] {
        let cache = cache_in(&fleet.path(&format!("cache-of-{name}")));
        fleet.hg(&largefiles(&cache, &["clone", "-q", &url, name])).ok();
        assert_eq!(fs::read(fleet.path(name).join("dir/image")).expect("there"), noise(2), "{name}");
        fleet.hg(&largefiles(&cache, &["-R", name, "update", "-q", "-r", "1"])).ok();
        assert_eq!(fs::read(fleet.path(name).join("dir/image")).expect("there"), noise(1), "{name}");
        fleet.hg(&largefiles(&cache, &["-R", name, "verify", "-q", "--large", "--lfa"])).ok();
    }
    // Who doesn't know them is told, and gets no standins for files.
    for url in [fleet.https_url("large"), fleet.ssh_url("large")] {
        let said = fleet.hg(&["clone", &url, "without"]);
        assert!(said.status != 0 && (said.out.clone() + &said.err).contains("largefiles"), "{said:#?}");
    }
}
