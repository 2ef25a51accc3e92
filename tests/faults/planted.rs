//! The harness is tested too: it finds each fault that is planted in the code.
//!
//! See `hgfleet_log::planted`. Each runs with the kinds of faults that it concerns, fleet after fleet, until something is found.

use super::injector::Kind::{self, *};
use super::report::Report;
use super::{RECOVERY_MAX, Run, Stores};
use std::fmt::Write as _;

/// Faults with one fleet, before everything is compared.
const FAULTS: usize = 8;
/// Fleets before one counts as not found.
const FLEETS: u64 = 12;

/// What is planted, and with which faults it is looked for.
const PLANTED: [(&str, &[(Kind, usize)]); 12] = [
    // A mirror says that it has staged what is not on its disk.
    ("staged-not-synced", &[(PowerCut, 1)]),
    // The log says that it has what is not on its disk.
    ("log-not-synced", &[(PowerCut, 1)]),
    // A server counts a store's files as durable that are not.
    ("stores-not-synced", &[(PowerCut, 1)]),
    // A mirror applies what it may not know to be visible after a power cut.
    ("told-not-synced", &[(PowerCut, 1)]),
    // Neither epoch nor place is compared at an append.
    ("stale-append-taken", &[(PauseAtAStep, 1)]),
    // The same of the view.
    ("stale-view-taken", &[(StopTheMaster, 1), (PauseAtAStep, 1)]),
    // A client is told before the log has settled it.
    ("told-before-append", &[(DieAtAStep, 2), (PauseAtAStep, 2), (Kill, 1)]),
    // An outcome that is not known is told as a refusal. Where the server dies whose door the client came by, nobody is told anything.
    ("unknown-told-refused", &[(DieAfterFailOver, 3), (Kill, 1)]),
    // The visible position moves before the mirrors have staged.
    ("visible-before-staged", &[(PowerCut, 2), (SlowDisk, 1)]),
    // A mirror shows more than the visible position.
    ("shown-before-visible", &[(SlowDisk, 2), (Stop, 1)]),
    // What an apply has left half written is not written again.
    ("not-redone", &[(DieAtAStep, 2), (Kill, 1)]),
    // The balancer forgets what it has shown.
    ("floor-not-kept", &[(WakeBehind, 2), (SlowDisk, 1)]),
];

/// Runs until something is found.
fn look_for(fault: &str, mix: &[(Kind, usize)]) -> Report {
    let mut all = Report::default();
    for seed in 1..=FLEETS {
        let environment = [("HGFLEET_PLANTED_FAULT", fault)];
        let run = Run {
            seed,
            faults: FAULTS,
            mix,
            recovery_max: RECOVERY_MAX / 2,
            environment: &environment,
            stores: Stores::Replicated,
        };
        all.add(run.run(|_| {}));
        if !all.violations().is_empty() {
            break;
        }
    }
    all
}

/// `HGFLEET_PLANTED_FAULT` names one to run alone.
#[test]
fn each_planted_fault_is_found() {
    let only = std::env::var("HGFLEET_PLANTED_FAULT").ok();
    let mut missed = Vec::new();
    let mut table = String::from("| planted fault | found after faults | by |\n| --- | --- | --- |\n");
    for (fault, mix) in PLANTED.into_iter().filter(|(fault, _)| only.as_deref().is_none_or(|only| only == *fault)) {
        let report = look_for(fault, mix);
        let by = report.violations().first().map_or("nothing", String::as_str).replace(['\n', '|'], " ");
        let by: String = by.chars().take(160).collect();
        // The one after which it was found may not have come to its end.
        let row = format!("| {fault} | {} | {by} |", report.faults());
        println!("{row}");
        let _ = writeln!(table, "{row}");
        if report.violations().is_empty() {
            missed.push(fault);
        }
    }
    println!("{table}");
    assert!(missed.is_empty(), "not found: {missed:?}");
}
