//! The guide for several machines, followed word by word, and what it says of each thing that goes wrong.

use crate::support::clients::WorkingCopy;
use crate::support::machines::{MACHINES, Machines};
use crate::support::run::Said;
use std::time::{Duration, Instant};

const REPOSITORY: &str = "team/first";

/// A developer, and what was pushed.
struct Developer<'m> {
    machines: &'m Machines,
    work: WorkingCopy<'m>,
    commits: usize,
}

impl Developer<'_> {
    fn commit(&mut self) {
        self.commits += 1;
        self.work.commit("file", format!("{}\n", self.commits), &format!("number {}", self.commits));
    }

    /// Pushes by a door.
    fn push_by(&self, door: usize) -> Said {
        let url = self.machines.doors[door].ssh_url(REPOSITORY);
        let mut hg = self.machines.doors[door].hg_command(&["push", &url]);
        hg.current_dir(&self.work.path);
        crate::support::run::run(&mut hg)
    }

    /// Commits, and pushes again and again until it is stored. Returns how long it took, and what was said in the end.
    #[track_caller]
    fn push_until_stored(&mut self, door: usize) -> (Duration, Said) {
        self.commit();
        let mut last = None;
        let time = self.machines.wait_until("a push goes through", |_| {
            let said = self.push_by(door);
            let stored = said.status == 0 || said.out.contains("no changes found");
            last = Some(said);
            stored
        });
        (time, last.expect("it was tried"))
    }

    /// The newest changeset as a door shows it.
    #[track_caller]
    fn tip_at(&self, door: usize) -> String {
        let door = &self.machines.doors[door];
        door.hg(&["identify", "--id", &door.https_url(REPOSITORY)]).ok().out
    }

    /// Waits until both doors show what was pushed last; panics unless every store is the same.
    #[track_caller]
    fn assert_one_picture(&self) {
        let tip = self.work.hg(&["identify", "--id"]).ok().out;
        // A push that was answered with `not yet visible everywhere` is visible a moment after the fleet is whole.
        self.machines.wait_until("both doors show what was pushed last", |_| {
            [self.tip_at(0), self.tip_at(1)].iter().all(|shown| *shown == tip)
        });
        self.machines.assert_one_store(REPOSITORY);
    }
}

#[test]
fn the_guide_is_followed_and_each_row_of_its_table_happens() {
    let Some(machines) = Machines::as_the_guide_says(|config| config, &[]) else { return };
    let begun = Instant::now();
    let note = |what: &str| println!("{:6.1} s  {what}", begun.elapsed().as_secs_f64());
    machines.wait_until_whole();
    note("every server is in service");
    machines.hgfleet("m1", &["repo", "create", REPOSITORY]).ok();
    let mut developer = Developer { machines: &machines, work: machines.doors[0].init("work"), commits: 0 };
    for door in [0, 1] {
        developer.commit();
        let said = developer.push_by(door).ok();
        assert!(said.out.contains("remote: visible on 3 of 3 mirrors"), "{said:#?}");
        assert_eq!(developer.tip_at(0), developer.tip_at(1));
    }

    // A NATS server dies.
    machines.kill(&["nats-m3"]);
    let (time, _) = developer.push_until_stored(0);
    note(&format!("without the NATS server of m3 a push took {:.1} s", time.as_secs_f64()));
    // Two do.
    machines.kill(&["nats-m2"]);
    developer.commit();
    let said = developer.push_by(0);
    assert_ne!(said.status, 0, "{said:#?}");
    assert_eq!(developer.tip_at(0), developer.tip_at(1));
    note("without two NATS servers no push is stored, and both doors answer");
    machines.start("nats-m2");
    developer.push_until_stored(0);
    note("with one of them back a push is stored");
    machines.start("nats-m3");
    machines.wait_until_whole();
    developer.assert_one_picture();

    // A mirror's machine dies.
    machines.kill(&machines.services_of("m3"));
    let (time, _) = developer.push_until_stored(1);
    note(&format!("without m3 a push took {:.1} s", time.as_secs_f64()));
    machines.wait_until("pushes do not wait for the dead mirror", |_| {
        developer.commit();
        developer.push_by(0).out.contains("remote: visible on 2 of 2 mirrors")
    });
    machines.services_of("m3").iter().for_each(|name| machines.start(name));
    machines.wait_until_whole();
    note("m3 is back");
    developer.assert_one_picture();

    // A machine is cut off.
    let before = developer.tip_at(1);
    machines.network.isolate("m2", &MACHINES);
    let (time, _) = developer.push_until_stored(0);
    note(&format!("with m2 cut off a push took {:.1} s", time.as_secs_f64()));
    assert!([before, developer.tip_at(0)].contains(&developer.tip_at(1)));
    machines.network.join_all();
    machines.wait_until_whole();
    note("m2 is back");
    developer.assert_one_picture();

    // A tunnel dies.
    machines.kill(&["tunnel-m2"]);
    developer.push_until_stored(0);
    machines.start("tunnel-m2");
    machines.wait_until_whole();
    note("the tunnel is back");
    developer.assert_one_picture();

    // A disk is lost.
    machines.kill(&["mirror-2"]);
    std::fs::remove_dir_all(machines.path("m2/hgfleet/mirror-2")).expect("emptied");
    machines.start("mirror-2");
    machines.wait_until_whole();
    note("the emptied mirror is back");
    developer.assert_one_picture();

    // The master is cut off, and does not know it.
    machines.network.isolate("m1", &MACHINES);
    let (time, _) = developer.push_until_stored(1);
    note(&format!("with the master cut off a push took {:.1} s", time.as_secs_f64()));
    assert_eq!(machines.master("m2"), "standby-1");
    machines.network.join_all();
    machines.wait_until_whole();
    note("the old master is standby");
    developer.assert_one_picture();

    // The master's machine dies.
    machines.kill(&machines.services_of("m2"));
    let (time, _) = developer.push_until_stored(0);
    note(&format!("without the master's machine a push took {:.1} s", time.as_secs_f64()));
    machines.services_of("m2").iter().for_each(|name| machines.start(name));
    machines.wait_until_whole();
    note("it is back, as standby");
    developer.assert_one_picture();
    machines.hgfleet("m1", &["failover", "--to", "standby-1"]).ok();
    developer.push_until_stored(0);
    developer.assert_one_picture();
}
