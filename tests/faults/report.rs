//! What a run found.

use super::injector::Fault;
use super::pusher::Ledger;
use super::world::Shared;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The figures of one run, or of several.
#[derive(Debug, Default, Clone)]
pub struct Report {
    /// What decides which faults come
    pub seeds: Vec<u64>,
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
        Report { seeds: vec![seed], ..Report::default() }
    }

    /// Adds a fault.
    pub fn recovered(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    /// Takes what was pushed and read so far.
    pub fn look_at(&mut self, shared: &Shared) {
        let known: Vec<_> = shared.ledgers.iter().map(Ledger::known).collect();
        self.stored = known.iter().map(|known| known.stored.len()).sum();
        self.refused = known.iter().map(|known| known.refused.len()).sum();
        self.unknown = known.iter().map(|known| known.unknown).sum();
        self.answered = shared.reads.answered.load(Ordering::Relaxed);
        self.failed = shared.reads.failed.load(Ordering::Relaxed);
    }

    /// Adds what does not hold.
    pub fn violated(&mut self, violations: Vec<String>) {
        self.violations.extend(violations);
    }

    /// What does not hold.
    pub fn violations(&self) -> &[String] {
        &self.violations
    }

    /// Panics where anything was violated, and where too little went on to mean anything.
    #[track_caller]
    pub fn assert_clean(&self) {
        assert!(self.violations.is_empty(), "{self}");
        // On a machine that is busy with more than one fleet there are more faults than pushes.
        assert!(
            2 * self.stored >= self.faults.len() && self.answered > self.faults.len(),
            "too little went on: {self}"
        );
    }

    fn times(&self) -> (f64, f64) {
        let mut times: Vec<Duration> = self.faults.iter().map(|fault| fault.recovery).collect();
        times.sort_unstable();
        let seconds = |time: Option<&Duration>| time.map_or(0.0, Duration::as_secs_f64);
        (seconds(times.get(times.len() / 2)), seconds(times.last()))
    }

    /// The row of the table in `docs/reliability.md`.
    pub fn row(&self) -> String {
        let seeds = match (self.seeds.first(), self.seeds.last()) {
            (Some(first), Some(last)) if first != last => format!("seeds {first} to {last}"),
            (first, _) => format!("seed {}", first.copied().unwrap_or_default()),
        };
        let (median, longest) = self.times();
        format!(
            "| {seeds} | {} | {} / {} / {} | {} / {} | {} | median {median:.1} s, longest {longest:.1} s |",
            self.faults.len(),
            self.stored,
            self.refused,
            self.unknown,
            self.answered,
            self.failed,
            self.violations.len(),
        )
    }
}

/// For several runs, one after the other.
#[cfg(any(feature = "soak", feature = "planted-faults"))]
impl Report {
    /// Adds another run.
    pub fn add(&mut self, other: Report) {
        self.seeds.extend(other.seeds);
        self.faults.extend(other.faults);
        self.answered += other.answered;
        self.failed += other.failed;
        self.stored += other.stored;
        self.refused += other.refused;
        self.unknown += other.unknown;
        self.violations.extend(other.violations);
    }

    /// How many faults there were.
    #[cfg(feature = "planted-faults")]
    pub fn faults(&self) -> usize {
        self.faults.len()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| run | faults | pushes stored / refused / cut off | reads answered / without an answer | violations | whole again after |"
        )?;
        writeln!(f, "{}", self.row())?;
        let mut kinds = BTreeMap::new();
        for fault in &self.faults {
            *kinds.entry(fault.kind.as_str()).or_insert(0) += 1;
        }
        let kinds: Vec<String> = kinds.into_iter().map(|(kind, times)| format!("{kind} {times}")).collect();
        writeln!(f, "by kind: {}", kinds.join(", "))?;
        self.violations.iter().try_for_each(|violation| writeln!(f, "VIOLATED {violation}"))?;
        for fault in &self.faults {
            writeln!(f, "  {}: {:.1} s", fault.what, fault.recovery.as_secs_f64())?;
        }
        Ok(())
    }
}
