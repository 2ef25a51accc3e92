//! Power cuts: every process gone at once, and what was not synced with it; then each mirror alone, without the log.

use super::chance::Chance;
use super::watcher;
use super::world::World;
use crate::support::run::run_with;
use std::process::Child;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How long a mirror may take to answer, alone.
const ALONE_MAX: Duration = Duration::from_secs(20);

/// Cuts the power, looks at what the mirrors have of what was told to be visible. Returns what was lost.
/// The fleet is to be started again.
pub fn cut(world: &World, chance: &mut Chance) -> String {
    let in_use = world.log_in_use.write().expect("nobody panics with it");
    // One that is stopped starts nothing again.
    world.fleet.signal_supervisor("STOP");
    world.machine.kill_all();
    world.fleet.end_supervisor();
    world.machine.be_well();
    let lost = world.machine.cut_power(chance);
    world.power_cuts.fetch_add(1, Ordering::Relaxed);
    ask_each_mirror_alone(world);
    drop(in_use);
    format!("{} files, {} writes lost, {} torn", lost.files, lost.writes, lost.torn)
}

/// A mirror that was in service shows all that was visible, with the log, the master and the other mirrors gone.
fn ask_each_mirror_alone(world: &World) {
    let fleet = &world.fleet;
    let Some((view, _)) = watcher::look(fleet) else { return };
    let Some(visible) = view.visible else { return };
    let (log, aside) = (fleet.path("data/log"), fleet.path("data/log-aside"));
    std::fs::rename(&log, &aside).expect("moved away");
    let names: Vec<&str> = view.mirrors.iter().map(|mirror| mirror.name.as_str()).collect();
    let mut running: Vec<Child> =
        names.iter().map(|name| fleet.role("mirror", name).spawn().expect("it starts")).collect();
    for ledger in &world.shared.ledgers {
        let nodes = ledger.known().visible;
        for name in &names {
            for nodes in nodes.rchunks(60).take(1) {
                let query = format!("cmd=known&nodes={}", nodes.join("+"));
                let what = format!("after a power cut, alone, {name}");
                match ask(world, name, ledger.repository, &query, visible.get()) {
                    Ok(known) if known.len() == nodes.len() && known.bytes().all(|known| known == b'1') => {}
                    Ok(known) => world
                        .shared
                        .found
                        .add(format!("{what} lacks what was visible of {}: {known}", ledger.repository)),
                    Err(why) => world
                        .shared
                        .found
                        .add(format!("{what} does not show {} at {visible}: {why}", ledger.repository)),
                }
            }
        }
    }
    for mirror in &mut running {
        drop(mirror.kill());
        drop(mirror.wait());
    }
    world.machine.kill_all();
    std::fs::remove_dir_all(&log)
        .or_else(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        })
        .expect("removed");
    std::fs::rename(&aside, &log).expect("moved back");
}

/// Asks one mirror as a balancer does: at a position.
fn ask(world: &World, mirror: &str, repository: &str, query: &str, position: u64) -> Result<String, String> {
    let socket = world.fleet.path("data/run").join(format!("{mirror}.sock"));
    let begun = Instant::now();
    loop {
        let mut curl = std::process::Command::new("curl");
        curl.args(["-s", "-f", "--max-time", "10", "--unix-socket"]).arg(&socket);
        curl.args(["-H", &format!("x-hgfleet-position: {position}")]);
        curl.arg(format!("http://localhost/{repository}?{query}"));
        let said = run_with(&mut curl, b"", ALONE_MAX);
        match said.status {
            0 => return Ok(said.out.trim().to_owned()),
            status if begun.elapsed() > ALONE_MAX => return Err(format!("curl ends with {status}")),
            _ => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}
