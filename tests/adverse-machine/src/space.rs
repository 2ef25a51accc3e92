//! How much room there is.

use std::sync::atomic::Ordering;

use libc::{c_char, c_int, statvfs64 as Space};

use crate::format::{free_word, hidden_word};
use crate::machine::machine;

unsafe extern "C" {
    /// The C library's other name of it, which is not hooked.
    #[link_name = "fstatvfs64"]
    fn ask(file: c_int, found: *mut Space) -> c_int;
}

/// # Safety
/// As for the system's own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn statvfs64(path: *const c_char, found: *mut Space) -> c_int {
    let flags = libc::O_PATH | libc::O_CLOEXEC;
    // SAFETY: the caller's promise, here and below.
    let (asked, file) = unsafe {
        let asked = std::ffi::CStr::from_ptr(path);
        (asked, libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path, flags) as c_int)
    };
    if file < 0 {
        return -1;
    }
    // SAFETY: as above.
    let result = unsafe {
        let result = ask(file, found);
        libc::syscall(libc::SYS_close, file);
        result
    };
    if result == 0
        && let Some(machine) = machine()
        && let Some(disk) = machine.disk_of(asked.to_bytes())
        && machine.word(hidden_word(disk)).load(Ordering::Relaxed) == 0
    {
        let free = machine.word(free_word(disk)).load(Ordering::Relaxed);
        // SAFETY: the C library has just written there.
        unsafe {
            let blocks = free / (*found).f_frsize.max(1);
            (*found).f_bavail = (*found).f_bavail.min(blocks);
            (*found).f_bfree = (*found).f_bfree.min(blocks);
        }
    }
    result
}

/// The same struct where numbers have 64 bits.
///
/// # Safety
/// As for the system's own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn statvfs(path: *const c_char, found: *mut Space) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { statvfs64(path, found) }
}
