//! What a run found.

use super::injector::Fault;
use super::pusher::Ledger;
use super::reader::Read;
use std::fmt;
use std::time::Duration;

/// The figures of one run.
pub struct Report {
    seed: u64,
    faults: Vec<Fault>,
    answered: usize,
    failed: usize,
    stored: usize,
    refused: usize,
    unknown: usize,
    violations: Vec<String>,
}

impl Report {
    /// Of a run that has not begun.
    pub fn new(seed: u64) -> Report {
        Report {
            seed,
            faults: Vec::new(),
            answered: 0,
            failed: 0,
            stored: 0,
            refused: 0,
            unknown: 0,
            violations: Vec::new(),
        }
    }

    /// Adds a fault.
    pub fn recovered(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    /// Adds what a reader met.
    pub fn read(&mut self, read: Read) {
        self.answered += read.answered;
        self.failed += read.failed;
        self.violations.extend(read.violations);
    }

    /// Adds a repository's pushes, and what was wrong with it in the end.
    pub fn checked(&mut self, ledger: &Ledger, violations: Vec<String>) {
        let known = ledger.known();
        self.stored += known.stored.len();
        self.refused += known.refused.len();
        self.unknown += known.unknown;
        self.violations.extend(violations);
    }

    /// Panics where anything was violated, and where too little went on to mean anything.
    #[track_caller]
    pub fn assert_clean(&self) {
        assert!(self.violations.is_empty(), "{self}");
        assert!(self.stored >= self.faults.len() && self.answered > self.faults.len(), "too little went on: {self}");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut times: Vec<Duration> = self.faults.iter().map(|fault| fault.recovery).collect();
        times.sort_unstable();
        let seconds = |time: Option<&Duration>| time.map_or(0.0, Duration::as_secs_f64);
        writeln!(f, "seed {}: {} faults, {} violations", self.seed, self.faults.len(), self.violations.len())?;
        writeln!(f, "pushes: {} stored, {} refused, {} cut off", self.stored, self.refused, self.unknown)?;
        writeln!(f, "reads: {} answered, {} without an answer", self.answered, self.failed)?;
        let (median, longest) = (seconds(times.get(times.len() / 2)), seconds(times.last()));
        writeln!(f, "whole again after: median {median:.1} s, longest {longest:.1} s")?;
        for fault in &self.faults {
            writeln!(f, "  {}: {:.1} s", fault.what, fault.recovery.as_secs_f64())?;
        }
        self.violations.iter().try_for_each(|violation| writeln!(f, "VIOLATED {violation}"))
    }
}
