//! Two real repositories, pushed whole and in pieces, and cloned again: part of `make soak`, since it takes minutes.
//!
//! The bundles are looked for where `HGFLEET_BENCH_DATA` says, default `../shared/data` beside the checkout.

use crate::support::clients::WorkingCopy;
use crate::support::fleet::Fleet;
use std::path::{Path, PathBuf};

/// How many pushes carry a repository in pieces.
const PIECES: usize = 20;

fn bundle(name: &str) -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let folder = std::env::var_os("HGFLEET_BENCH_DATA").map_or(beside, PathBuf::from);
    let bundle = folder.join(name).with_extension("hg");
    if !bundle.exists() {
        println!("skipped: {} is not there", bundle.display());
        return None;
    }
    bundle.canonicalize().ok()
}

/// What a clone must carry over: every changeset, and every file of every head, by node.
fn content(copy: &WorkingCopy<'_>) -> (String, String) {
    let heads = copy.hg_here(&["heads", "-c", "-T", "{node}\n"]).ok().out;
    let manifests = heads.lines().map(|head| copy.hg_here(&["manifest", "--debug", "-r", head]).ok().out);
    let mut manifests: Vec<String> =
        heads.lines().map(str::to_owned).zip(manifests).map(|(a, b)| a + "\n" + &b).collect();
    manifests.sort();
    (copy.log(), manifests.join("\n"))
}

fn push_and_clone(name: &str) {
    let Some(bundle) = bundle(name) else { return };
    let fleet = Fleet::start();
    let original = fleet.init("original");
    original.hg(&["unbundle", "-q", bundle.to_str().expect("UTF-8")]).ok();
    original.hg(&["phase", "-p", "-r", "all()"]).ok();
    let expected = content(&original);

    fleet.hgfleet(&["repo", "create", "whole"]).ok();
    original.hg(&["push", "-q", "-f", "--new-branch", &fleet.ssh_url("whole")]).ok();
    fleet.hgfleet(&["repo", "create", "pieces"]).ok();
    let last: usize = original.hg(&["log", "-r", "tip", "-T", "{rev}"]).ok().out.parse().expect("a number");
    for piece in 1..=PIECES {
        let upto = (last * piece / PIECES).to_string();
        original.hg(&["push", "-q", "-f", "-r", &format!("heads(0:{upto})"), &fleet.ssh_url("pieces")]).ok();
    }
    for way in ["whole", "pieces"] {
        fleet.assert_one_store(way);
        fleet.hg(&["clone", "-q", "-U", &fleet.https_url(way), way]).ok();
        let clone = fleet.working_copy(way);
        clone.hg(&["verify", "-q"]).ok();
        assert!(content(&clone) == expected, "the clone of {name} pushed in one way, {way}, is not the original");
    }
}

#[test]
fn cargo_pushed_whole_and_in_pieces_is_cloned_as_it_was() {
    push_and_clone("cargo");
}

#[test]
fn vct_pushed_whole_and_in_pieces_is_cloned_as_it_was() {
    push_and_clone("vct");
}
