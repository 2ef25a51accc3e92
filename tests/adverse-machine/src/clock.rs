//! The wall clock, which the test sets wrong. The others go on as they are.

use std::sync::atomic::Ordering;

use libc::{c_int, clockid_t, timespec};

use crate::format::CLOCK_WORD;
use crate::machine::machine;

/// # Safety
/// As for the system's own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: clockid_t, time: *mut timespec) -> c_int {
    // SAFETY: the caller's promise.
    let result = unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) as c_int };
    if result == 0
        && (clock == libc::CLOCK_REALTIME || clock == libc::CLOCK_REALTIME_COARSE)
        && let Some(machine) = machine()
    {
        let error = machine.word(CLOCK_WORD).load(Ordering::Relaxed) as i64;
        // SAFETY: the system has just written there.
        unsafe { (*time).tv_sec += error };
    }
    result
}
