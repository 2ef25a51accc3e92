//! The C library's own functions, past those that stand in for them.

use std::ffi::{CStr, c_int, c_long, c_void};
use std::mem::transmute;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

/// Finds a function behind the one of the same name that stands in for it.
pub(crate) fn find(kept: &AtomicUsize, name: &CStr) -> usize {
    let known = kept.load(Ordering::Relaxed);
    if known != 0 {
        return known;
    }
    // SAFETY: the name ends in a zero.
    let found = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) } as usize;
    assert!(found != 0, "the C library has no {name:?}");
    kept.store(found, Ordering::Relaxed);
    found
}

/// Declares a function of the C library that is called past its stand-in.
macro_rules! real {
    ($(fn $name:ident($($argument:ident: $type:ty),* $(,)?) -> $result:ty;)*) => {$(
        #[allow(clippy::too_many_arguments)]
        pub(crate) unsafe fn $name($($argument: $type),*) -> $result {
            static KEPT: AtomicUsize = AtomicUsize::new(0);
            let name = concat!(stringify!($name), "\0");
            // SAFETY: the literal ends in its only zero.
            let name = unsafe { CStr::from_bytes_with_nul_unchecked(name.as_bytes()) };
            // SAFETY: the C library's function of this name has this form.
            unsafe {
                let function: unsafe extern "C" fn($($type),*) -> $result = transmute(find(&KEPT, name));
                function($($argument),*)
            }
        }
    )*};
}

/// Functions as they are.
pub(crate) mod c {
    use super::*;

    real! {
        fn clock_gettime(clock: c_int, time: *mut libc::timespec) -> c_int;
        fn gettimeofday(time: *mut libc::timeval, zone: *mut c_void) -> c_int;
        fn time(into: *mut libc::time_t) -> libc::time_t;
        fn nanosleep(time: *const libc::timespec, left: *mut libc::timespec) -> c_int;
        fn clock_nanosleep(clock: c_int, flags: c_int, time: *const libc::timespec, left: *mut libc::timespec) -> c_int;
        fn usleep(microseconds: u32) -> c_int;
        fn epoll_wait(fd: c_int, events: *mut libc::epoll_event, most: c_int, timeout: c_int) -> c_int;
        fn poll(fds: *mut libc::pollfd, count: libc::nfds_t, timeout: c_int) -> c_int;
        fn pthread_create(thread: *mut libc::pthread_t, attributes: *const libc::pthread_attr_t, start: extern "C" fn(*mut c_void) -> *mut c_void, argument: *mut c_void) -> c_int;
        fn pthread_join(thread: libc::pthread_t, value: *mut *mut c_void) -> c_int;
        fn pthread_mutex_lock(mutex: *mut libc::pthread_mutex_t) -> c_int;
        fn pthread_mutex_trylock(mutex: *mut libc::pthread_mutex_t) -> c_int;
        fn pthread_mutex_unlock(mutex: *mut libc::pthread_mutex_t) -> c_int;
        fn syscall(number: c_long, a: usize, b: usize, c: usize, d: usize, e: usize, f: usize) -> c_long;
        fn getrandom(into: *mut c_void, bytes: usize, flags: u32) -> isize;
        fn sched_yield() -> c_int;
        fn fsync(fd: c_int) -> c_int;
        fn fdatasync(fd: c_int) -> c_int;
        fn read(fd: c_int, into: *mut c_void, bytes: usize) -> isize;
        fn recv(fd: c_int, into: *mut c_void, bytes: usize, flags: c_int) -> isize;
        fn write(fd: c_int, from: *const c_void, bytes: usize) -> isize;
        fn pwrite64(fd: c_int, from: *const c_void, bytes: usize, at: i64) -> isize;
        fn pwrite(fd: c_int, from: *const c_void, bytes: usize, at: i64) -> isize;
        fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int;
        fn accept4(fd: c_int, address: *mut libc::sockaddr, bytes: *mut libc::socklen_t, flags: c_int) -> c_int;
        fn setsockopt(fd: c_int, level: c_int, name: c_int, value: *const c_void, bytes: libc::socklen_t) -> c_int;
        fn fcntl(fd: c_int, command: c_int, argument: usize) -> c_int;
        fn close(fd: c_int) -> c_int;
    }
}

pub(crate) fn poll(fds: &mut [libc::pollfd], timeout: c_int) {
    // SAFETY: the slice is valid.
    unsafe { c::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, timeout) };
}

pub(crate) fn futex_wait(address: &AtomicU32, value: u32) {
    let operation = (libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG) as usize;
    // SAFETY: the address is an atomic's.
    unsafe { c::syscall(libc::SYS_futex, address.as_ptr() as usize, operation, value as usize, 0, 0, 0) };
}

pub(crate) fn futex_wake(address: &AtomicU32) {
    let operation = (libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG) as usize;
    // SAFETY: the address is an atomic's.
    unsafe { c::syscall(libc::SYS_futex, address.as_ptr() as usize, operation, 1, 0, 0, 0) };
}

pub(crate) fn shutdown(fd: c_int) {
    // SAFETY: no memory is involved.
    unsafe { libc::shutdown(fd, libc::SHUT_RDWR) };
}

pub(crate) fn close(fd: c_int) {
    // SAFETY: no memory is involved; who had it never goes on.
    unsafe { c::close(fd) };
}

pub(crate) fn listens(fd: c_int) -> bool {
    let mut value: c_int = 0;
    let mut bytes = size_of::<c_int>() as libc::socklen_t;
    // SAFETY: both are valid.
    let asked =
        unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_ACCEPTCONN, (&raw mut value).cast(), &raw mut bytes) };
    asked != 0 || value != 0
}

/// From here on this process runs on one core: one thread runs at a time, and how many cores there are makes no difference.
pub(crate) fn stay_on_one_core() {
    // SAFETY: the set is valid; all zeros are an empty one.
    unsafe {
        let core = libc::sched_getcpu();
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(usize::try_from(core).unwrap_or(0), &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set);
    }
}
