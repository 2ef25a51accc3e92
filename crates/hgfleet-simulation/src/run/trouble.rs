//! What goes wrong.

use std::time::Duration;

use hgfleet_master::client;

use super::{CALM_AFTER, Run, SERVERS};
use crate::fleet::{Kind, say};
use crate::log::LinkFaults;
use crate::world::{self, MS, SECOND};

impl Run {
    fn note(&mut self, fault: &'static str, server: usize) {
        *self.faults.entry(fault).or_default() += 1;
        say(&format!("{fault}: {}", SERVERS[server].0));
    }

    /// Something goes wrong with a server or two.
    pub(super) fn go_wrong(&mut self) {
        let count = 1 + u64::from(self.chance.per_mille(250));
        for _ in 0..count {
            let server = self.victim();
            self.trouble(server);
        }
    }

    /// Who decides is troubled most; in some runs nobody else is.
    fn victim(&mut self) -> usize {
        if self.chance.per_mille(400) {
            let lease = self.fleet.log.store().lease.clone();
            let master = SERVERS.iter().position(|(name, _)| lease.as_ref().is_some_and(|lease| lease.holder == *name));
            return master.unwrap_or(0);
        }
        let others = if self.only_masters { 2 } else { SERVERS.len() as u64 };
        self.chance.below(others) as usize
    }

    fn trouble(&mut self, server: usize) {
        let node = self.fleet.servers[server].node;
        let kind = self.fleet.servers[server].kind;
        let link = self.fleet.servers[server].link.clone();
        let back = world::now() + self.chance.below(9_000) * MS;
        let mut over = back;
        match self.chance.below(18) {
            0 | 1 => {
                self.note("killed", server);
                self.fleet.kill(server);
                self.restarts.insert(server, back);
            }
            2 | 3 => {
                self.note("killed at a step of its disk", server);
                let steps = self.chance.below(120);
                world::kill_at_step(node, steps);
                over = world::now() + 10 * SECOND;
                self.healed.insert(server, world::now() + 8 * SECOND);
            }
            4 | 5 => {
                self.note("paused", server);
                let time = [50 * MS, 900 * MS, 3_200 * MS, 5_500 * MS, 14_000 * MS][self.chance.below(5) as usize];
                over = world::now() + time;
                world::pause(node, time);
            }
            6 | 7 => {
                self.note("cut off from the log", server);
                link.set(LinkFaults { cut: true, ..LinkFaults::default() });
                self.healed.insert(server, back);
            }
            8..=10 => {
                self.note("log's answers lost, late, refused", server);
                let mut often = || [0, 20, 150, 400][self.chance.below(4) as usize];
                let faults = LinkFaults {
                    cut: false,
                    questions_lost: often() / 4,
                    answers_lost: often() / 2,
                    appends_late: often(),
                    appends_refused: often() / 2,
                    delay_max: Duration::from_millis(often() + 1),
                };
                link.set(faults);
                self.healed.insert(server, back);
            }
            11 => {
                self.note("connections broken", server);
                over = world::now();
                world::cut_connections(node, &mut self.chance);
            }
            12 => {
                self.note("clock moved", server);
                let hour = 3_600 * SECOND as i64;
                over = world::now();
                let by = if self.chance.per_mille(500) { hour } else { -hour };
                world::jump_clock(node, by);
            }
            13 => {
                self.note("disk full", server);
                world::fill_disk(node, true);
                self.healed.insert(server, back);
            }
            14 => {
                self.note("slow disk and network", server);
                world::slow(node, 400 * MS, 2_500 * MS);
                self.healed.insert(server, back);
            }
            15 if kind == Kind::Mirror => {
                self.note("disk emptied", server);
                self.fleet.kill(server);
                self.fleet.empty_disk(server);
                self.restarts.insert(server, back);
            }
            16 if kind == Kind::Mirror => {
                self.note("drained", server);
                self.drained.insert(server);
                self.were_drained.insert(server);
                let (run, name) = (self.fleet.run_folder(), SERVERS[server].0);
                world::spawn_on(world::CLIENTS, move || {
                    let _ = client::drain(&run, name, true);
                });
            }
            _ => {
                self.note("handed over", server);
                let run = self.fleet.run_folder();
                world::spawn_on(world::CLIENTS, move || {
                    let _ = client::failover(&run, None);
                });
                return;
            }
        }
        if kind != Kind::Master {
            self.checker.troubled_until(over + CALM_AFTER);
        }
    }

    /// Lets drained mirrors serve again. False: some are not told yet.
    pub(super) fn undrain(&mut self) -> bool {
        if self.drained.is_empty() {
            return true;
        }
        let run = self.fleet.run_folder();
        self.undrained = world::now();
        self.drained.retain(|server| client::drain(&run, SERVERS[*server].0, false).is_err());
        self.drained.is_empty()
    }
}
