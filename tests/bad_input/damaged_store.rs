//! A store's file that is not as it was written, while the fleet runs: that request may fail, the process lives, others
//! answer, and the damage gets into no record.

use crate::support::fleet::Fleet;
use crate::support::run::run;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Flips one bit, `from_end` bytes before the file's end.
fn flip(file: &Path, from_end: usize) {
    let mut bytes = fs::read(file).expect("a file of the store");
    let at = bytes.len() - from_end;
    bytes[at] ^= 16;
    fs::write(file, bytes).expect("altered");
}

#[test]
fn damage_costs_one_request_and_others_answer() {
    // Without a scrub, which could find and heal any of it before the request does that is meant to.
    let fleet = Fleet::start_with(&[], "[scrub]\nbytes_per_second = 0\n");
    let work = fleet.init("work");
    // Text that does not compress to nothing, so that a chunk has many bytes.
    let text = |seed: u64| -> String {
        (1..2_000u64).map(|n| format!("{:x}\n", n.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ seed)).collect()
    };
    for seed in 0..3 {
        fs::write(work.path.join("other"), format!("{seed}\n")).unwrap();
        work.commit("file", text(seed), &seed.to_string());
    }
    let names = ["gone", "index", "master", "whole"];
    for name in names {
        fleet.hgfleet(&["repo", "create", name]).ok();
        work.push(name).ok();
        // A mirror that has sent a file of it has that open, and goes on sending what it was.
        if name != "gone" {
            fleet.hg(&["clone", "-q", &fleet.https_url(name), &format!("before-{name}")]).ok();
        }
    }
    let store = |server: &str, name: &str| fleet.data().join(server).join("repos").join(name).join(".hg/store");
    let clone = |name: &str, number: usize| {
        let into = format!("{name}-{number}");
        let said = fleet.hg(&["clone", "-q", &fleet.https_url(name), &into]);
        if said.status == 0 {
            assert_eq!(fleet.working_copy(&into).log(), work.log(), "what is served is right");
        }
        said.status == 0
    };

    // A filelog is gone: whoever finds that is cut off, and then the other mirror answers.
    fs::remove_file(store("mirror-1", "gone").join("data/file.i")).unwrap();
    let mut curl = Command::new("curl");
    let target = "http://localhost/gone?cmd=getbundle&bundlecaps=HG20%2Cbundle2%3DHG20%250Achangegroup%253D02";
    curl.args(["-s", "-o", "/dev/null", "--unix-socket"]).arg(fleet.data().join("run/mirror-1.sock")).arg(target);
    let cut = run(&mut curl);
    assert_ne!(cut.status, 0, "a stream without its end: {cut:?}");
    fleet.wait_until("a copy of the other mirror's is in its place", |_| {
        store("mirror-1", "gone").join("data/file.i").exists()
    });
    assert!((0..4).all(|number| clone("gone", number)), "the other mirror answers");

    // A bit of an index: nothing wrong is served, and the next record finds it.
    flip(&store("mirror-1", "index").join("00changelog.i"), 100);
    assert!((0..2).all(|number| clone("index", number)));

    // The master's copy: a push that would carry the damage on is refused, and reaches no mirror.
    flip(&store("master", "master").join("data/file.i"), 3_000);
    work.commit("file", text(9), "more");
    let refused = work.push("master");
    assert_eq!(refused.status, 255, "{refused:?}");
    assert!(refused.out.contains("remote: refused: ") || refused.err.contains("remote: refused: "), "{refused:?}");
    fleet.hg(&["clone", "-q", &fleet.https_url("master"), "master-after"]).ok();

    for name in ["gone", "index", "whole"] {
        work.push(name).ok();
    }
    fleet.wait_until("what the records found is healed", |fleet| {
        let end = &fleet.status()["log"]["sequence"];
        ["mirror-1", "mirror-2"].iter().all(|mirror| {
            let server = fleet.server(mirror);
            &server["position"] == end && server["reason"] == ""
        })
    });
    for name in ["gone", "index", "whole"] {
        assert!((10..12).all(|number| clone(name, number)), "{name}");
    }
    for name in ["gone", "index", "whole"] {
        fleet.assert_one_store(name);
    }
    assert!(!fleet.log().contains("panicked"), "{}", fleet.log());
}
