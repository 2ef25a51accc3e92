//! Processes that were stopped while they hold a lock of one of the log's files.
//!
//! SQLite's locks belong to processes, and a process that SIGSTOP meets within a transaction keeps its lock for as long
//! as it is stopped: no other master could append, no server could renew the lease. The lock is taken from it in the only
//! way there is: it is ended, and what it had not committed is as if it had never been. Whoever supervises it starts it again.
//! See `docs/decisions/2026-11-27-stopped-lock-holders.md`.

use std::ops::RangeInclusive;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::files::Place;

/// The bytes of a `-shm` file that SQLite locks (<https://www.sqlite.org/walformat.html>, "WAL Locks"): to write, to checkpoint, to
/// recover.
pub(super) const WRITERS: RangeInclusive<u64> = 120..=122;
/// The same, and those that who reads locks: a checkpoint of everything waits for these, too.
pub(super) const WRITERS_AND_READERS: RangeInclusive<u64> = 120..=127;
/// How long a lock is waited for before a look at who holds it.
const WAIT: Duration = Duration::from_secs(1);
/// How often a lock is waited for.
const WAITS: usize = 5;

/// Begins a transaction that writes, if need be past processes that were stopped within theirs.
///
/// # Errors
/// As SQLite's; busy where another process writes for longer than [`WAITS`] times [`WAIT`]: nothing was begun then.
pub(super) fn begin<'a>(place: &Place, connection: &'a Connection) -> rusqlite::Result<Transaction<'a>> {
    connection.busy_timeout(WAIT)?;
    let mut waits = 1;
    loop {
        match Transaction::new_unchecked(connection, TransactionBehavior::Immediate) {
            Err(error) if waits < WAITS && error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => {
                end_holders(place, &WRITERS);
                waits += 1;
            }
            begun => return begun,
        }
    }
}

/// Ends those processes of this program that are stopped and hold one of these locks of this file.
pub(super) fn end_holders(place: &Place, locks: &RangeInclusive<u64>) {
    let mut shared_memory = place.0.clone().into_os_string();
    shared_memory.push("-shm");
    let shared_memory = PathBuf::from(shared_memory);
    let Ok(inode) = std::fs::metadata(&shared_memory).map(|metadata| metadata.ino()) else { return };
    let Ok(table) = std::fs::read_to_string("/proc/locks") else { return };
    for pid in table.lines().filter_map(|line| holder(line, inode, locks)) {
        // Opened before it is looked at, so that it is the one that was looked at that ends.
        let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else { continue };
        let folder = PathBuf::from(format!("/proc/{}", pid.as_raw_nonzero()));
        if !is_stopped(&folder) || !is_this_program(&folder) || !has_open(&folder, &shared_memory) {
            continue;
        }
        let path = place.0.display();
        match pidfd_send_signal(process, Signal::KILL) {
            Ok(()) => {
                tracing::warn!(%path, process = pid.as_raw_nonzero(), "a process was stopped while it held this file's lock, and was ended")
            }
            Err(error) => tracing::error!(
                %path, process = pid.as_raw_nonzero(), %error,
                "a process is stopped and holds this file's lock: nobody can write until it is ended"
            ),
        }
    }
}

/// Returns who holds the lock of a line of `/proc/locks` (proc_locks(5)), if it is one of these on the file with this inode.
fn holder(line: &str, inode: u64, locks: &RangeInclusive<u64>) -> Option<Pid> {
    let mut words = line.split_whitespace().skip(1);
    let (kind, _, _, pid, file, first) =
        (words.next()?, words.next()?, words.next()?, words.next()?, words.next()?, words.next()?);
    let is_this = kind == "POSIX"
        && file.rsplit(':').next()?.parse() == Ok(inode)
        && first.parse().is_ok_and(|first| locks.contains(&first));
    // 0: of a process that can't be seen from here.
    is_this.then(|| pid.parse().ok().and_then(Pid::from_raw)).flatten()
}

fn is_stopped(process: &Path) -> bool {
    let stat = std::fs::read_to_string(process.join("stat")).unwrap_or_default();
    // The name before it may hold anything (proc_pid_stat(5)).
    stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'))
}

/// Somebody who looks at the file with another program, and stops it, must let it go by hand.
fn is_this_program(process: &Path) -> bool {
    let name = |process: &Path| std::fs::read(process.join("comm")).ok();
    name(process).is_some_and(|found| Some(found) == name(Path::new("/proc/self")))
}

/// Inodes are unique on one disk only.
fn has_open(process: &Path, file: &Path) -> bool {
    let Ok(wanted) = std::fs::metadata(file) else { return false };
    let Ok(mut open) = std::fs::read_dir(process.join("fd")) else { return false };
    open.any(|entry| {
        let found = entry.and_then(|entry| std::fs::metadata(entry.path()));
        found.is_ok_and(|found| (found.dev(), found.ino()) == (wanted.dev(), wanted.ino()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_of_a_lock_is_found_by_file_and_byte() {
        let found =
            |line| holder(line, 4711, &WRITERS_AND_READERS).map(Pid::as_raw_nonzero).map(std::num::NonZero::get);
        assert_eq!(found("3: POSIX  ADVISORY  WRITE 42 fe:00:4711 120 120"), Some(42));
        let reader = "3: POSIX  ADVISORY  READ 43 fe:00:4711 123 123";
        assert_eq!(found(reader), Some(43));
        assert_eq!(holder(reader, 4711, &WRITERS), None, "it keeps nobody from writing");
        for line in [
            "3: POSIX  ADVISORY  WRITE 42 fe:00:4712 120 120",
            "3: POSIX  ADVISORY  READ 42 fe:00:4711 128 128",
            "3: POSIX  ADVISORY  WRITE 0 fe:00:4711 120 120",
            "3: -> POSIX  ADVISORY  WRITE 42 fe:00:4711 120 120",
            "3: OFDLCK ADVISORY  WRITE -1 fe:00:4711 120 120",
            "3: FLOCK  ADVISORY  WRITE 42 fe:00:4711 0 EOF",
            "",
        ] {
            assert_eq!(found(line), None, "{line}");
        }
    }
}
