//! Every revision rebuilt and hashed, by `hgfleet repo verify` and `hg verify`; and five hundred repositories moved in.

use std::path::Path;

use crate::input::{Input, text};
use crate::measure::{HG, HGFLEET, milliseconds, report, stock};
use crate::start::{Fleet, wait_until_applied};

const RUNS: usize = 3;
const IMPORTED: usize = 500;

/// Measures both. `repo verify` also reads the files of three servers, all of them on this machine, which is in its
/// figure; what it costs to rebuild and hash every revision is a figure of its own.
pub fn run(input: &Input) {
    let home = input.scratch("home-verify");
    std::fs::create_dir_all(&home).expect("made");
    let data = input.scratch("verify");
    let _fleet = Fleet::start(&data, &home);
    let config = data.join("hgfleet.toml");
    let ours = |arguments: &[&str]| stock(HGFLEET, &[&["repo"], arguments, &["--config", text(&config)]].concat());
    for name in ["vct", "cargo"] {
        let repository = input.repository(name);
        ours(&["import", text(&repository), name]);
        wait_until_applied(&data);
        let (mut rebuilt_runs, mut our_runs, mut stock_runs) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..RUNS {
            rebuilt_runs.push(milliseconds(|| rebuild(&repository)));
            our_runs.push(milliseconds(|| ours(&["verify", name])));
            stock_runs.push(milliseconds(|| stock(HG, &["-R", text(&repository), "verify", "-q"])));
        }
        report(&format!("{name}, every revision rebuilt and hashed"), &rebuilt_runs, &stock_runs);
        report(&format!("{name}, the same and the files of three servers"), &our_runs, &stock_runs);
    }
    let one = input.scratch("verify-one");
    stock(HG, &["init", text(&one)]);
    stock(HG, &["-R", text(&one), "debugbuilddag", "--new-file", "+20"]);
    let folder = input.scratch("verify-repositories");
    std::fs::create_dir_all(&folder).expect("made");
    for n in 0..IMPORTED {
        stock("cp", &["-r", text(&one), text(&folder.join(n.to_string()))]);
    }
    let import = milliseconds(|| ours(&["import", text(&folder)]));
    println!("repo import of {IMPORTED} repositories of 20 changesets: {:.1} s", import / 1000.0);
}

fn rebuild(repository: &Path) {
    let repository = hg_store::Repository::open(repository).expect("opened");
    let snapshot = repository.snapshot(repository.current_state().expect("read")).expect("read");
    let report = hg_store::verify(&snapshot).expect("read");
    assert!(report.is_clean(), "{:?}", report.problems);
}
