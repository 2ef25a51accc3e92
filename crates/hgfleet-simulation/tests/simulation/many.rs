//! Many runs, as many at a time as there are cores.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use hgfleet_simulation::kit;
use hgfleet_simulation::run::Outcome;
use hgfleet_simulation::world::SECOND;

use super::one::VERB;

/// Seeds of a run of the tests that names none.
const SEEDS: Range<u64> = if cfg!(feature = "soak") { 0..2_000 } else { 0..200 };
/// Lines of a failed run's trace that are shown.
const TRACE_LINES: usize = 80;
/// Files in memory, where there are such: a run writes thousands of small ones.
const MEMORY: &str = "/dev/shm";

/// The seeds to run.
pub fn seeds() -> Result<Range<u64>, String> {
    let Ok(named) = std::env::var("HGFLEET_SIMULATION_SEEDS") else { return Ok(SEEDS) };
    let wrong = || format!("HGFLEET_SIMULATION_SEEDS={named} is not like 0..200");
    let (from, to) = named.split_once("..").ok_or_else(wrong)?;
    Ok(from.parse().map_err(|_| wrong())?..to.parse().map_err(|_| wrong())?)
}

/// A run that was made.
#[derive(Debug, Clone)]
pub struct Ran {
    pub seed: u64,
    pub outcome: Outcome,
}

impl Ran {
    /// Whether nothing was violated.
    pub fn is_whole(&self) -> bool {
        self.outcome.violations.is_empty()
    }
}

/// What all runs share, and where they lie.
pub struct Kit(tempfile::TempDir);

impl Kit {
    pub fn new() -> Result<Kit, String> {
        let memory = Path::new(MEMORY);
        let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let folder = tempfile::Builder::new().prefix("hg").tempdir_in(parent).map_err(|error| error.to_string())?;
        std::fs::create_dir(folder.path().join("kit")).map_err(|error| error.to_string())?;
        kit::make(&folder.path().join("kit")).map_err(|error| error.to_string())?;
        Ok(Kit(folder))
    }

    fn command(&self, seed: u64, folder: &Path) -> Result<Command, String> {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut command = Command::new(program);
        command.arg(VERB).arg(seed.to_string()).arg(folder).arg(self.0.path().join("kit"));
        Ok(command)
    }

    fn folder(&self) -> Result<PathBuf, String> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let folder = self.0.path().join(NEXT.fetch_add(1, Ordering::Relaxed).to_string());
        std::fs::create_dir(&folder).map_err(|error| error.to_string())?;
        Ok(folder)
    }

    /// Makes one run. A process that breaks off is a violation.
    pub fn run(&self, seed: u64, environment: &[(&str, &str)]) -> Result<Ran, String> {
        let folder = self.folder()?;
        let mut command = self.command(seed, &folder)?;
        let ended = command.envs(environment.iter().copied()).output().map_err(|error| error.to_string())?;
        // What is left of it is of no use.
        let _ = std::fs::remove_dir_all(&folder);
        let outcome = serde_json::from_slice(&ended.stdout).unwrap_or_else(|_| Outcome {
            violations: vec![format!(
                "the run broke off: {}\n{}",
                ended.status,
                String::from_utf8_lossy(&ended.stderr)
            )],
            ..Outcome::default()
        });
        Ok(Ran { seed, outcome })
    }

    /// What a failed run did, and how it is repeated.
    pub fn explain(&self, failed: &[Ran]) -> String {
        let mut text = String::new();
        for Ran { seed, outcome } in failed {
            text.push_str(&format!("seed {seed}: {:?}\n", outcome.violations));
        }
        let Some(Ran { seed, .. }) = failed.first() else { return text };
        let shown = self.folder().and_then(|folder| {
            let ended = self.command(*seed, &folder)?.env("HGFLEET_SIMULATION_LOG", "info").output();
            ended.map_err(|error| error.to_string())
        });
        let shown = shown.map_or_else(|error| error, |ended| String::from_utf8_lossy(&ended.stderr).into_owned());
        let lines: Vec<&str> = shown.lines().collect();
        text.push_str(&format!("seed {seed}, the end of what happened:\n"));
        for line in &lines[lines.len().saturating_sub(TRACE_LINES)..] {
            text.push_str(&format!("  {line}\n"));
        }
        text.push_str(&format!(
            "repeat it: HGFLEET_SIMULATION_SEEDS={seed}..{} cargo test --release -p hgfleet-simulation --test simulation\n",
            seed + 1
        ));
        text
    }
}

/// What many runs came to.
#[derive(Default)]
pub struct Report {
    pub failed: Vec<Ran>,
    runs: u64,
    faults: BTreeMap<String, u64>,
    stored: u64,
    refused: u64,
    unknown: u64,
    reads: u64,
    unanswered: u64,
    late: u64,
    takeovers: u64,
    seconds: f64,
    whole: Vec<f64>,
}

impl Report {
    fn add(&mut self, ran: Ran) {
        let Outcome { counts, faults, epochs, late_stored, whole_after, time, .. } = &ran.outcome;
        self.runs += 1;
        for (fault, count) in faults {
            *self.faults.entry(fault.clone()).or_default() += count;
        }
        self.stored += counts.stored;
        self.refused += counts.refused;
        self.unknown += counts.unknown;
        self.reads += counts.reads;
        self.unanswered += counts.unanswered;
        self.late += late_stored;
        self.takeovers += epochs.saturating_sub(1);
        self.seconds += *time as f64 / SECOND as f64;
        self.whole.push(*whole_after as f64 / SECOND as f64);
        if !ran.is_whole() {
            self.failed.push(ran);
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut whole = self.whole.clone();
        whole.sort_by(f64::total_cmp);
        let median = whole.get(whole.len() / 2).copied().unwrap_or_default();
        let longest = whole.last().copied().unwrap_or_default();
        let Report { runs, stored, refused, unknown, reads, unanswered, late, takeovers, .. } = self;
        writeln!(
            f,
            "{runs} runs, {:.2} simulated hours, {} faults:",
            self.seconds / 3600.0,
            self.faults.values().sum::<u64>()
        )?;
        for (fault, count) in &self.faults {
            writeln!(f, "  {count:>6} {fault}")?;
        }
        writeln!(f, "  {takeovers} epochs taken over, {late} appends stored after they were given up")?;
        writeln!(f, "  pushes: {stored} stored, {refused} refused, {unknown} of unknown outcome")?;
        writeln!(f, "  reads: {reads} answered, {unanswered} not")?;
        writeln!(f, "  whole again after {median:.1} s (median), {longest:.1} s (longest)")?;
        write!(f, "  runs with violations: {}", self.failed.len())
    }
}

/// Runs these seeds, while `goes_on` says so of each.
pub fn run_all(
    kit: &Kit,
    seeds: Range<u64>,
    environment: &[(&str, &str)],
    goes_on: impl Fn(&Ran) -> bool + Sync,
) -> Result<Report, String> {
    let next = AtomicU64::new(seeds.start);
    let over = AtomicBool::new(false);
    let result = Mutex::new(Ok(Report::default()));
    let work = || {
        while !over.load(Ordering::SeqCst) {
            let seed = next.fetch_add(1, Ordering::SeqCst);
            if !seeds.contains(&seed) {
                return;
            }
            let ran = kit.run(seed, environment);
            let mut result = result.lock().expect("no panic before");
            match (&mut *result, ran) {
                (Ok(report), Ok(ran)) => {
                    over.fetch_or(!goes_on(&ran), Ordering::SeqCst);
                    report.add(ran);
                }
                (_, Err(error)) => {
                    over.store(true, Ordering::SeqCst);
                    *result = Err(error);
                }
                (Err(_), _) => return,
            }
        }
    };
    let workers = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    std::thread::scope(|scope| (0..workers).for_each(|_| drop(scope.spawn(work))));
    result.into_inner().expect("no panic before")
}
