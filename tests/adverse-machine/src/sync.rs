//! What brings files to disk: noted before it is done, and slow where the test wants it so.

use libc::c_int;

use crate::format::{DISKS, Kind, slow_word};
use crate::machine::{look, machine};

fn before_sync(file: c_int) {
    let Some(machine) = machine() else { return };
    let Some(disk) = machine.disk(file) else { return };
    machine.be_slow(slow_word(disk));
    if let Some(looked) = look(file) {
        machine.note_sync(Kind::Sync, looked.file);
    }
}

/// # Safety
/// As for the system's own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fsync(file: c_int) -> c_int {
    before_sync(file);
    // SAFETY: no memory is touched.
    unsafe { libc::syscall(libc::SYS_fsync, file) as c_int }
}

/// # Safety
/// As for the system's own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fdatasync(file: c_int) -> c_int {
    before_sync(file);
    // SAFETY: no memory is touched.
    unsafe { libc::syscall(libc::SYS_fdatasync, file) as c_int }
}

/// # Safety
/// As for the system's own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn syncfs(file: c_int) -> c_int {
    if let Some(machine) = machine() {
        (0..DISKS.len()).for_each(|disk| machine.be_slow(slow_word(disk)));
        machine.note_sync(Kind::SyncAll, (0, 0));
    }
    // SAFETY: no memory is touched.
    unsafe { libc::syscall(libc::SYS_syncfs, file) as c_int }
}
