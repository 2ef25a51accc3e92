//! Ten thousand repositories: start, status, and what a fleet that has nothing to do costs.

use crate::input::{Input, text};
use crate::measure::{HG, HGFLEET, cpu_milliseconds, median, milliseconds, stock};
use crate::start::{Fleet, status, wait_until_applied};
use std::time::{Duration, Instant};

const REPOSITORIES: usize = 10_000;
const RUNS: usize = 5;
/// How long the idle fleet is watched.
const IDLE: Duration = Duration::from_secs(10);
/// Signs of life of each server in that time, at the default pace of one a second.
const HEARTBEATS: f64 = 10.0;

/// Measures a fleet with so many.
pub fn run(input: &Input) {
    let home = input.scratch("home-many");
    std::fs::create_dir_all(&home).expect("made");
    let data = input.scratch("many");
    let one = input.scratch("many-one");
    stock(HG, &["init", text(&one)]);
    stock(HG, &["-R", text(&one), "debugbuilddag", "--new-file", "+2"]);
    let folder = input.scratch("many-repositories");
    for n in 0..REPOSITORIES {
        let group = folder.join(format!("group-{}", n / 100));
        std::fs::create_dir_all(&group).expect("made");
        stock("cp", &["-r", text(&one), text(&group.join(n.to_string()))]);
    }
    let fleet = Fleet::start_with(&data, &home, "");
    let config = data.join("hgfleet.toml");
    let import = milliseconds(|| stock(HGFLEET, &["repo", "import", text(&folder), "--config", text(&config)]));
    println!("repo import of {REPOSITORIES} repositories: {:.0} s", import / 1000.0);
    let begun = Instant::now();
    wait_until_applied(&data);
    println!("the mirrors have them {:.1} s later", begun.elapsed().as_secs_f64());
    let times: Vec<f64> =
        (0..RUNS).map(|_| milliseconds(|| stock(HGFLEET, &["status", "--json", "--config", text(&config)]))).collect();
    println!("status: {:.0} ms (median of {RUNS})", median(&times));
    let pids: Vec<(String, u32)> = status(&data)["servers"]
        .as_array()
        .expect("servers")
        .iter()
        .map(|server| (server["name"].to_string(), server["pid"].as_u64().expect("a process") as u32))
        .collect();
    let before: Vec<f64> = pids.iter().map(|(_, pid)| cpu_milliseconds(*pid)).collect();
    std::thread::sleep(IDLE);
    for ((name, pid), before) in pids.iter().zip(before) {
        println!("{name}, idle, for each heartbeat: {:.1} ms of CPU", (cpu_milliseconds(*pid) - before) / HEARTBEATS);
    }
    drop(fleet);
    let times: Vec<f64> = (0..RUNS).map(|_| milliseconds(|| drop(Fleet::start_with(&data, &home, "")))).collect();
    println!("start to ready: {:.0} ms (median of {RUNS})", median(&times));
}
