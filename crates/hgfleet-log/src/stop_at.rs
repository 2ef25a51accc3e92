//! Named steps at which a test stops a process as a crash would.
//!
//! Where the environment variable `HGFLEET_STOP_AT` names a folder, a process that reaches the step `S` and finds the
//! file `S` there removes the file and stops at once: by SIGKILL, or by SIGSTOP where the file says `STOP`. Without the
//! variable a step costs one load. Whoever can set a server's environment can kill it anyway.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};

/// How long the system may take to stop all threads.
const TAKEN: Duration = Duration::from_millis(200);

/// Stops here where a test asks for it.
pub fn stop_at(step: &str) {
    static FOLDER: OnceLock<Option<PathBuf>> = OnceLock::new();
    let Some(folder) = FOLDER.get_or_init(|| std::env::var_os("HGFLEET_STOP_AT").map(PathBuf::from)) else {
        return;
    };
    let file = folder.join(step);
    let Ok(how) = std::fs::read(&file) else { return };
    let signal = if how.starts_with(b"STOP") { Signal::STOP } else { Signal::KILL };
    // A signal to oneself can't be refused, and a file that can't be removed stops the next one as well.
    let _ = std::fs::remove_file(&file);
    let _ = kill_process(getpid(), signal);
    // It may be another thread that takes the signal, a moment later: this one must not go past the step meanwhile.
    std::thread::sleep(TAKEN);
}
