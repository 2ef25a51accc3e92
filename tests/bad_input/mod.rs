//! Bad input from outside, row by row of `docs/bad-input.md`: one clear answer for who sent it, nothing changed, and the
//! fleet goes on.

mod bundles;
mod command_lines;
mod cut_off;
mod damaged_store;
mod full_disk;
mod hostile_client;
mod http;
mod log_records;
mod pushes;
mod second_process;
mod wire;

use crate::support::fleet::Fleet;
use crate::support::store;
use crate::support::two_doors::TwoDoors;

/// The repository that bad input is aimed at.
const NAME: &str = "team/first";

#[test]
fn each_row_gets_one_clear_answer_and_changes_nothing() {
    let two = TwoDoors::open("");
    let fleet = &two.fleet;
    let clients = &two.doors()[0].1;
    let work = clients.init("work");
    work.commit("a", "1\n", "first");
    work.push(NAME).ok();
    let head = work.hg_here(&["log", "-r", "tip", "-T", "{node}"]).ok().out;
    fleet.assert_one_store(NAME);
    let end = fleet.status()["log"]["sequence"].clone();
    let before = store::files(&fleet.copies(NAME)[0].join(".hg"));
    let pids =
        |fleet: &Fleet| ["master", "mirror-1", "mirror-2", "balancer"].map(|name| fleet.server(name)["pid"].clone());
    let running = pids(fleet);

    command_lines::check(&two);
    wire::check(&two, &head);
    http::check(fleet);

    assert_eq!(fleet.status()["log"]["sequence"], end, "nothing was stored");
    assert!(store::files(&fleet.copies(NAME)[0].join(".hg")) == before, "nothing was written");
    assert_eq!(pids(fleet), running, "no server has died");
    let log = fleet.log();
    assert!(!log.contains("panicked"), "{log}");
    assert!(log.chars().all(|letter| !letter.is_control() || "\n\t".contains(letter)), "the log is plain text");
    work.commit("a", "2\n", "second");
    work.push(NAME).ok();
    fleet.assert_one_store(NAME);
}
