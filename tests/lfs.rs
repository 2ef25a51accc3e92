//! LFS: a repository that has some is taken in, and its objects come out over HTTPS.

use crate::support::fleet::Fleet;
use std::fs;

fn noise(seed: u32) -> Vec<u8> {
    (0..100_000u32).flat_map(|n| (n ^ seed).wrapping_mul(2_654_435_761).to_be_bytes()).collect()
}

#[test]
fn objects_of_an_imported_repository_come_out_over_https() {
    let fleet = Fleet::start();
    let cache = |name: &str| format!("lfs.usercache={}", fleet.path(&format!("cache-of-{name}")).display());
    let source = fleet.init("source");
    let own = cache("source");
    let lfs = ["--config", "extensions.lfs=", "--config", "lfs.track=size('>1kB')", "--config", &own];
    let on_source = |arguments: &[&str]| source.hg(&[&lfs[..], arguments].concat()).ok();
    for seed in [1, 2] {
        fs::write(source.path.join("image"), noise(seed)).expect("written");
        fs::write(source.path.join("plain"), format!("{seed}\n")).expect("written");
        on_source(&["commit", "-q", "-A", "-m", &seed.to_string()]);
    }
    on_source(&["rename", "image", "moved"]);
    on_source(&["commit", "-q", "-m", "renamed"]);

    fleet.hgfleet(&["repo", "import", source.path.to_str().expect("UTF-8"), "lfs"]).ok();
    fleet.assert_one_store("lfs");
    let url = fleet.https_url("lfs");
    let own = cache("clone");
    let lfs = ["--config", "extensions.lfs=", "--config", &own];
    fleet.hg(&[&lfs[..], &["clone", "-q", &url, "clone"]].concat()).ok();
    assert_eq!(fs::read(fleet.path("clone").join("moved")).expect("there"), noise(2));
    fleet.hg(&[&lfs[..], &["-R", "clone", "update", "-q", "-r", "0"]].concat()).ok();
    assert_eq!(fs::read(fleet.path("clone").join("image")).expect("there"), noise(1));
    fleet.hg(&[&lfs[..], &["-R", "clone", "verify", "-q"]].concat()).ok();

    let clone = fleet.working_copy("clone");
    fs::write(clone.path.join("plain"), "three\n").expect("written");
    clone.hg(&[&lfs[..], &["commit", "-q", "-m", "three"]].concat()).ok();
    clone.hg(&[&lfs[..], &["push", "-q", "-f", &fleet.ssh_url("lfs")]].concat()).ok();
    fleet.assert_one_store("lfs");
}
