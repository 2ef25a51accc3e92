//! What changes a file's content.

use std::sync::atomic::Ordering;

use libc::{c_char, c_int, c_long, c_void, iovec, mode_t, off_t, off64_t, size_t, ssize_t};

use crate::format::{Entry, Kind, free_word};
use crate::machine::{Machine, fail, look, machine, read_old};

/// A write of `bytes` bytes at an offset (none: where the file stands) is about to happen. `Err`: there is no room.
///
/// # Safety
/// `from` points to so many bytes.
unsafe fn before_write(file: c_int, from: *const c_void, bytes: size_t, offset: Option<u64>) -> Result<(), ()> {
    let Some(machine) = machine() else { return Ok(()) };
    if bytes == 0 {
        return Ok(());
    }
    let Some(looked) = look(file) else { return Ok(()) };
    let Some(disk) = machine.disk(file) else { return Ok(()) };
    let offset = match offset {
        Some(offset) => offset,
        None => standing(file, looked.bytes),
    };
    let grown = (offset + bytes as u64).saturating_sub(looked.bytes);
    take_room(machine, disk, grown)?;
    let old = usize::try_from(looked.bytes.saturating_sub(offset)).unwrap_or(0).min(bytes);
    let old = if old > 0 { read_old(file, offset, old) } else { Vec::new() };
    // SAFETY: the caller's promise.
    let new = unsafe { std::slice::from_raw_parts(from.cast::<u8>(), bytes) }.to_vec();
    machine.note(&Entry { kind: Kind::Write, file: looked.file, offset, length: looked.bytes, old, new });
    Ok(())
}

/// Where a write without an offset goes.
fn standing(file: c_int, length: u64) -> u64 {
    // SAFETY: neither call touches memory.
    let (flags, at) = unsafe {
        let flags = libc::syscall(libc::SYS_fcntl, file, libc::F_GETFL);
        (flags, libc::syscall(libc::SYS_lseek, file, 0, libc::SEEK_CUR))
    };
    if flags & c_long::from(libc::O_APPEND) != 0 { length } else { u64::try_from(at).unwrap_or(0) }
}

fn take_room(machine: &Machine, disk: usize, bytes: u64) -> Result<(), ()> {
    let take = |free: u64| match free {
        u64::MAX => Some(free),
        free => free.checked_sub(bytes),
    };
    let taken = machine.word(free_word(disk)).fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
    taken.map(drop).map_err(drop)
}

/// A file is about to get another length.
fn before_cut(file: c_int, length: u64) {
    let Some(machine) = machine() else { return };
    let Some(looked) = look(file).filter(|looked| looked.bytes != length) else { return };
    if machine.disk(file).is_none() {
        return;
    }
    let lost = usize::try_from(looked.bytes.saturating_sub(length)).unwrap_or(0);
    let old = if lost > 0 { read_old(file, length, lost) } else { Vec::new() };
    let kind = Kind::Cut;
    machine.note(&Entry { kind, file: looked.file, offset: length, length: looked.bytes, old, new: Vec::new() });
}

/// # Safety
/// As for the system's own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn write(file: c_int, from: *const c_void, bytes: size_t) -> ssize_t {
    // SAFETY: the caller's promise, here and below.
    if unsafe { before_write(file, from, bytes, None) }.is_err() {
        return fail(libc::ENOSPC) as ssize_t;
    }
    // SAFETY: as above.
    unsafe { libc::syscall(libc::SYS_write, file, from, bytes) as ssize_t }
}

/// # Safety
/// As for the system's own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pwrite64(file: c_int, from: *const c_void, bytes: size_t, offset: off64_t) -> ssize_t {
    // SAFETY: the caller's promise, here and below.
    if unsafe { before_write(file, from, bytes, u64::try_from(offset).ok()) }.is_err() {
        return fail(libc::ENOSPC) as ssize_t;
    }
    // SAFETY: as above.
    unsafe { libc::syscall(libc::SYS_pwrite64, file, from, bytes, offset) as ssize_t }
}

/// # Safety
/// As for the system's own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pwrite(file: c_int, from: *const c_void, bytes: size_t, offset: off_t) -> ssize_t {
    // SAFETY: the caller's promise.
    unsafe { pwrite64(file, from, bytes, offset) }
}

/// # Safety
/// As for the system's own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn writev(file: c_int, parts: *const iovec, count: c_int) -> ssize_t {
    if look(file).is_none() || count <= 0 {
        // SAFETY: the caller's promise.
        return unsafe { libc::syscall(libc::SYS_writev, file, parts, count) as ssize_t };
    }
    // The first part that is not empty: fewer bytes than asked for may be written.
    // SAFETY: the caller's promise.
    let parts = unsafe { std::slice::from_raw_parts(parts, count as usize) };
    match parts.iter().find(|part| part.iov_len > 0) {
        // SAFETY: the caller's promise.
        Some(part) => unsafe { write(file, part.iov_base, part.iov_len) },
        None => 0,
    }
}

/// # Safety
/// As for the system's own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ftruncate64(file: c_int, length: off64_t) -> c_int {
    before_cut(file, u64::try_from(length).unwrap_or(0));
    // SAFETY: no memory is touched.
    unsafe { libc::syscall(libc::SYS_ftruncate, file, length) as c_int }
}

/// # Safety
/// As for the system's own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ftruncate(file: c_int, length: off_t) -> c_int {
    // SAFETY: no memory is touched.
    unsafe { ftruncate64(file, length) }
}

/// Whoever copies is to read and write.
///
/// # Safety
/// As for the system's own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn copy_file_range(
    from: c_int,
    from_offset: *mut off64_t,
    to: c_int,
    to_offset: *mut off64_t,
    bytes: size_t,
    flags: libc::c_uint,
) -> ssize_t {
    if machine().is_some() {
        return fail(libc::ENOSYS) as ssize_t;
    }
    // SAFETY: the caller's promise.
    unsafe { libc::syscall(libc::SYS_copy_file_range, from, from_offset, to, to_offset, bytes, flags) as ssize_t }
}

/// As for [`copy_file_range`], where a file is what is written.
///
/// # Safety
/// As for the system's own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sendfile64(to: c_int, from: c_int, offset: *mut off64_t, bytes: size_t) -> ssize_t {
    if machine().is_some() && look(to).is_some() {
        return fail(libc::EINVAL) as ssize_t;
    }
    // SAFETY: the caller's promise.
    unsafe { libc::syscall(libc::SYS_sendfile, to, from, offset, bytes) as ssize_t }
}

/// Opens a file; one whose content is to go is cut where that is noted.
///
/// # Safety
/// `path` is a string.
unsafe fn opened(folder: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    let mut path = path;
    if let Some(machine) = machine() {
        // SAFETY: the caller's promise.
        let asked = unsafe { std::ffi::CStr::from_ptr(path) };
        if asked == c"/proc/sys/kernel/random/boot_id" {
            path = machine.boot_id.as_ptr();
        }
    }
    let cut = flags & libc::O_TRUNC != 0 && flags & libc::O_ACCMODE != libc::O_RDONLY;
    let flags = if cut { flags & !libc::O_TRUNC } else { flags };
    // SAFETY: the caller's promise.
    let file = unsafe { libc::syscall(libc::SYS_openat, folder, path, flags, mode) as c_int };
    if cut && file >= 0 && look(file).is_some() {
        // SAFETY: a file that was just opened.
        unsafe { ftruncate64(file, 0) };
    }
    file
}

/// The mode is there or not; it is passed where any argument of that place is.
///
/// # Safety
/// As for the system's own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn open64(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { opened(libc::AT_FDCWD, path, flags, mode) }
}

/// # Safety
/// As for the system's own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { opened(libc::AT_FDCWD, path, flags, mode) }
}

/// # Safety
/// As for the system's own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn openat64(folder: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { opened(folder, path, flags, mode) }
}

/// # Safety
/// As for the system's own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn openat(folder: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { opened(folder, path, flags, mode) }
}
