//! Clocks, medians, and the programs that are measured.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

/// The binary under test.
pub const HGFLEET: &str = env!("CARGO_BIN_EXE_hgfleet");
/// The peer.
pub const HG: &str = "hg";

/// A program with stock's defaults and nobody's configuration.
pub fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env("HGRCPATH", "/dev/null").env("HGPLAIN", "1").env("HGUSER", "bench").stdin(Stdio::null());
    command
}

/// Runs a program that must succeed.
pub fn stock(program: &str, arguments: &[&str]) {
    let output =
        command(program).args(arguments).output().unwrap_or_else(|error| panic!("cannot start {program}: {error}"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// How long `work` takes, in milliseconds.
pub fn milliseconds(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64() * 1000.0
}

/// The median.
pub fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// CPU time that a process has used so far, in milliseconds (`proc_pid_stat(5)`, fields 14 and 15).
pub fn cpu_milliseconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process of ours");
    let after_name = stat.rsplit_once(')').expect("a name in parentheses").1;
    let ticks: f64 =
        after_name.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<f64>().expect("a number")).sum();
    // The kernel counts in hundredths of a second for user space, whatever its own tick is.
    ticks * 10.0
}

/// CPU time that the threads of a process have used so far, in microseconds (`/proc/PID/task/TID/schedstat`, the kernel's
/// `Documentation/scheduler/sched-stats.rst`): exact, but without threads that have ended.
pub fn cpu_microseconds(pid: u32) -> f64 {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("a process of ours");
    let of = |path: std::path::PathBuf| {
        let schedstat = std::fs::read_to_string(path.join("schedstat")).ok()?;
        schedstat.split_whitespace().next()?.parse::<f64>().ok()
    };
    tasks.filter_map(|task| of(task.ok()?.path())).sum::<f64>() / 1000.0
}

/// One line: ours, stock's, and how many times stock's takes as long, from paired runs.
pub fn report(what: &str, ours: &[f64], peer: &[f64]) {
    report_beside("stock", what, ours, peer);
}

/// The same beside another program.
pub fn report_beside(name: &str, what: &str, ours: &[f64], peer: &[f64]) {
    let ratios: Vec<f64> = ours.iter().zip(peer).map(|(ours, peer)| peer / ours).collect();
    println!(
        "{what}: hgfleet {:.1} ms, {name} {:.1} ms, {name} / hgfleet {:.2} (medians of {} pairs)",
        median(ours),
        median(peer),
        median(&ratios),
        ours.len()
    );
}

/// What the master's log says of a stage of pushes, in milliseconds, of the lines with this word.
pub fn stages(log: &str, word: &str, stage: &str) -> Vec<f64> {
    let lines = log.lines().filter(|line| line.contains("hgfleet_master::ledger") && line.contains(word));
    let figure = |line: &str| line.split(&format!("{stage}=")).nth(1)?.split_whitespace().next()?.parse().ok();
    lines.filter_map(figure).collect()
}

/// Where a program is.
pub fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.exists())
}
