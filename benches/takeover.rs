//! From the death of the master to the next accepted push, and how long an orderly hand-over takes.

use crate::cluster::Cluster;
use crate::input::{Input, text};
use crate::measure::{HG, HGFLEET, command, median, stock};
use crate::start::{Fleet, status};
use std::path::Path;
use std::time::{Duration, Instant};

const RUNS: usize = 5;
/// How long anything may take.
const WAIT_MAX: Duration = Duration::from_secs(60);

fn wait_until_whole(data: &Path) {
    let begun = Instant::now();
    loop {
        let status = status(data);
        let servers = status["servers"].as_array().cloned().unwrap_or_default();
        let names: Vec<&str> = servers.iter().filter_map(|server| server["name"].as_str()).collect();
        if ["master", "standby-1"].iter().all(|name| names.contains(name))
            && servers.iter().all(|server| server["state"] == "in-service")
        {
            return;
        }
        assert!(begun.elapsed() < WAIT_MAX, "{status:#}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Measures both, with the lease of the defaults, and either kind of log.
pub fn run(input: &Input) {
    measure(input, "embedded", "");
    let folder = input.scratch("takeover-cluster");
    if let Some(cluster) = Cluster::start(&folder) {
        measure(input, "nats", &cluster.section());
    }
}

fn measure(input: &Input, what: &str, log: &str) {
    let (home, key) = input.home_with_key(&format!("home-takeover-{what}"));
    let data = input.scratch(&format!("takeover-{what}"));
    let servers = "[[standby]]\nname = 'standby-1'\n[[mirror]]\nname = 'mirror-1'\n[[mirror]]\nname = 'mirror-2'\n";
    let fleet = Fleet::start_with(&data, &home, &format!("{log}{servers}"));
    let hgfleet =
        |arguments: &[&str]| stock(HGFLEET, &[arguments, &["--config", text(&data.join("hgfleet.toml"))]].concat());
    hgfleet(&["repo", "create", "one"]);
    let work = input.scratch(&format!("work-takeover-{what}"));
    stock(HG, &["init", text(&work)]);
    let mut commits = 0;
    // Whether it was stored.
    let mut push = |again: bool| {
        if !again {
            commits += 1;
            std::fs::write(work.join("file"), format!("{commits}\n")).expect("written");
            stock(HG, &["-R", text(&work), "commit", "-q", "-A", "-m", "next", text(&work.join("file"))]);
        }
        let url = format!("ssh://hg@127.0.0.1:{}/one", fleet.ssh_port);
        let said = command(HG)
            .args(["-R", text(&work), "push", "--config", &crate::push::ssh(&key), &url])
            .output()
            .expect("hg runs");
        said.status.success() || String::from_utf8_lossy(&said.stdout).contains("no changes found")
    };
    assert!(push(false), "a push goes through");
    let supervisor = fleet.supervisor().to_string();
    for (restarted, how) in [(true, "started again at once"), (false, "and not started again")] {
        let mut times = Vec::new();
        for _ in 0..RUNS {
            wait_until_whole(&data);
            let now = status(&data);
            let holder = now["lease"]["holder"].as_str().expect("a master").to_owned();
            let servers = now["servers"].as_array().expect("servers");
            let pid =
                servers.iter().find(|server| server["name"] == holder.as_str()).expect("the master")["pid"].to_string();
            if !restarted {
                stock("kill", &["-STOP", &supervisor]);
            }
            let begun = Instant::now();
            stock("kill", &["-KILL", &pid]);
            let mut again = false;
            while !push(again) {
                again = true;
                assert!(begun.elapsed() < WAIT_MAX, "a push goes through");
            }
            times.push(begun.elapsed().as_secs_f64());
            stock("kill", &["-CONT", &supervisor]);
        }
        let longest = times.iter().copied().fold(0.0, f64::max);
        println!(
            "log {what}: kill -9 of the master, {how}, to the next accepted push, lease 5 s: {:.1} s, longest {longest:.1} s \
             (median of {RUNS})",
            median(&times)
        );
    }
    let mut times = Vec::new();
    for _ in 0..RUNS {
        wait_until_whole(&data);
        let begun = Instant::now();
        hgfleet(&["failover"]);
        times.push(begun.elapsed().as_secs_f64() * 1000.0);
        assert!(push(false), "a push right after a hand-over goes through");
    }
    let longest = times.iter().copied().fold(0.0, f64::max);
    println!("log {what}: hgfleet failover: {:.0} ms, longest {longest:.0} ms (median of {RUNS})", median(&times));
}
