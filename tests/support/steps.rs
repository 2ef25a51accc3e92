//! Where a process may be made to die: names of `HGFLEET_STOP_AT`.

use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Of a session: nothing is in the log yet, but for the last, where the daemon owns the change.
pub const SESSION_STEPS: [&str; 4] = ["session.received", "session.locked", "session.prepared", "session.handed-over"];

/// Of the master, where it has the name `master`.
pub const MASTER_STEPS: [&str; 8] = [
    "master.before-append",
    "master.appended",
    "master.apply.intent",
    "master.apply.begun",
    "master.apply.middle",
    "master.apply.done",
    "master.applied",
    "master.told",
];

/// Of the first mirror.
pub const MIRROR_STEPS: [&str; 6] = [
    "mirror-1.staging",
    "mirror-1.staged",
    "mirror-1.apply.intent",
    "mirror-1.apply.begun",
    "mirror-1.apply.middle",
    "mirror-1.apply.done",
];

/// Of a server that takes over, behind its name.
pub const TAKEOVER_STEPS: [&str; 4] = ["lapsed", "epoch", "view", "applied"];

/// Has a process get there, and be killed or stopped (`how`: `KILL`, `STOP`).
#[track_caller]
pub fn reach(folder: &Path, step: &str, how: &str, within: Duration) {
    let armed = folder.join(step);
    std::fs::write(&armed, how).expect("armed");
    let begun = Instant::now();
    while armed.exists() && begun.elapsed() < within {
        sleep(Duration::from_millis(20));
    }
    let reached = !armed.exists();
    let _ = std::fs::remove_file(&armed);
    assert!(reached, "{step} was not reached within {within:?}: no push goes through");
}
