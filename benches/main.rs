//! Speed, as ratios against stock Mercurial in the same run: `cargo bench --bench ratios [-- NAME ...]`.
//!
//! The input is `cargo.hg` and `vct.hg`, two real repositories as bundles, in the folder that `HGFLEET_BENCH_DATA` names
//! (default `../shared/data` beside the checkout). Machines are noisy: each figure is the median of paired runs.

mod clone;
mod cluster;
mod discovery;
mod history;
mod input;
mod login;
mod made;
mod many;
mod measure;
mod memory;
mod policy;
mod prepare;
mod pull;
mod push;
mod replicate;
mod server;
mod start;
mod takeover;
mod verify;

use input::Input;

/// A benchmark and its name.
type Benchmark = (&'static str, fn(&Input));

/// All of them.
const BENCHMARKS: [Benchmark; 14] = [
    ("start", start::run),
    ("login", login::run),
    ("clone", clone::run),
    ("discovery", discovery::run),
    ("memory", memory::run),
    ("pull", pull::run),
    ("history", history::run),
    ("prepare", prepare::run),
    ("push", push::run),
    ("replicate", replicate::run),
    ("verify", verify::run),
    ("takeover", takeover::run),
    ("many", many::run),
    ("policy", policy::run),
];

fn main() {
    let asked: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let Some(input) = Input::find() else {
        println!("skipped: neither cargo.hg nor vct.hg is where HGFLEET_BENCH_DATA says (default ../shared/data)");
        return;
    };
    for (name, run) in BENCHMARKS {
        if asked.is_empty() || asked.iter().any(|asked| asked == name) {
            println!("## {name}");
            run(&input);
        }
    }
}
