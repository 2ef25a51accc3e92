//! The simulation over many seeds, each in a process of its own: what is global in a process begins anew with it.
//!
//! `HGFLEET_SIMULATION_SEEDS=a..b` names the seeds; `HGFLEET_SIMULATION_LOG=info` shows what happens in them.

mod many;
mod one;

use std::process::ExitCode;
use std::time::Instant;

use many::{Kit, run_all, seeds};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [verb, seed, folder, kit] = &arguments[..]
        && verb == one::VERB
    {
        one::run(seed, folder.as_ref(), kit.as_ref());
    }
    let filter = arguments.iter().find(|argument| !argument.starts_with('-'));
    let mut failed = false;
    for (name, test) in TESTS {
        if filter.is_some_and(|filter| !name.contains(filter.as_str())) {
            continue;
        }
        let begun = Instant::now();
        println!("test {name} …");
        let result = test();
        let (word, why) = match &result {
            Ok(()) => ("ok", ""),
            Err(why) => ("FAILED", why.as_str()),
        };
        println!("test {name} … {word} in {:.1} s\n{why}", begun.elapsed().as_secs_f64());
        failed |= result.is_err();
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

type Test = fn() -> Result<(), String>;

const TESTS: &[(&str, Test)] = &[
    ("a_seed_repeats_a_run", a_seed_repeats_a_run),
    ("nothing_that_is_promised_breaks", nothing_that_is_promised_breaks),
    #[cfg(feature = "planted-faults")]
    ("each_planted_fault_is_found", each_planted_fault_is_found),
];

/// Every turn of every thread, whether somebody watches or not.
fn a_seed_repeats_a_run() -> Result<(), String> {
    let kit = Kit::new()?;
    for seed in [3, 4, 7] {
        let (first, second) = (kit.run(seed, &[])?, kit.run(seed, &[("HGFLEET_SIMULATION_LOG", "info")])?);
        let of = |ran: &many::Ran| (ran.outcome.trace, ran.outcome.turns);
        if of(&first) != of(&second) {
            return Err(format!("seed {seed} is once {:?} and then {:?}", of(&first), of(&second)));
        }
    }
    Ok(())
}

fn nothing_that_is_promised_breaks() -> Result<(), String> {
    let kit = Kit::new()?;
    let report = run_all(&kit, seeds()?, &[], |_| true)?;
    println!("{report}");
    if report.failed.is_empty() { Ok(()) } else { Err(kit.explain(&report.failed)) }
}

/// The faults of `hgfleet_log::planted` that can show here: not those of a machine that loses its power.
#[cfg(feature = "planted-faults")]
const PLANTED: &[&str] = &[
    "told-before-append",
    "unknown-told-refused",
    "stale-append-taken",
    "stale-view-taken",
    "visible-before-staged",
    "shown-before-visible",
    "not-redone",
    "floor-not-kept",
];

#[cfg(feature = "planted-faults")]
fn each_planted_fault_is_found() -> Result<(), String> {
    let kit = Kit::new()?;
    let mut unfound = Vec::new();
    for fault in PLANTED {
        let report = run_all(&kit, seeds()?, &[("HGFLEET_PLANTED_FAULT", fault)], |ran| ran.is_whole())?;
        match report.failed.first() {
            Some(ran) => println!("{fault}: found in seed {}: {:?}", ran.seed, ran.outcome.violations.first()),
            None => unfound.push(*fault),
        }
    }
    if unfound.is_empty() { Ok(()) } else { Err(format!("not found: {unfound:?}")) }
}
