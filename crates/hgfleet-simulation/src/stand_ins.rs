//! What stands in for the C library's functions of the same names: time, sleep, threads, locks, randomness, and where a disk or a
//! socket is waited for. In threads that are not simulated, each is the C library's own.

use std::ffi::{c_int, c_long, c_void};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::real::c;
use crate::world::{self, MS, Nanos, SECOND, Thread, Wait, Woken, me, world};

/// Unix time at a run's begin, in seconds.
const BEGIN: u64 = 1_795_550_400;
/// What the monotonic clocks show then.
const UPTIME: Nanos = 1_000 * SECOND;

fn fail(error: c_int) -> c_int {
    // SAFETY: the calling thread's own.
    unsafe { *libc::__errno_location() = error };
    -1
}

fn nanos(time: &libc::timespec) -> Nanos {
    u64::try_from(time.tv_sec).unwrap_or(0).saturating_mul(SECOND).saturating_add(time.tv_nsec as u64)
}

fn wall(me: &Thread) -> Nanos {
    let world = world();
    (BEGIN * SECOND + world.now).saturating_add_signed(world.nodes[me.node].wall_offset)
}

/// The moment of a clock's time.
fn moment(me: &Thread, clock: c_int, time: Nanos) -> Nanos {
    if clock == libc::CLOCK_REALTIME {
        world().now.saturating_add_signed(time as i64 - wall(me) as i64)
    } else {
        time.saturating_sub(UPTIME)
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(clock: c_int, time: *mut libc::timespec) -> c_int {
    let Some(me) = me() else { return unsafe { c::clock_gettime(clock, time) } };
    let now = match clock {
        libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_COARSE | libc::CLOCK_TAI => wall(me),
        libc::CLOCK_PROCESS_CPUTIME_ID | libc::CLOCK_THREAD_CPUTIME_ID => world().now,
        _ => UPTIME + world().now,
    };
    unsafe { *time = libc::timespec { tv_sec: (now / SECOND) as i64, tv_nsec: (now % SECOND) as i64 } };
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn gettimeofday(time: *mut libc::timeval, zone: *mut c_void) -> c_int {
    let Some(me) = me() else { return unsafe { c::gettimeofday(time, zone) } };
    let now = wall(me);
    unsafe { *time = libc::timeval { tv_sec: (now / SECOND) as i64, tv_usec: (now % SECOND / 1000) as i64 } };
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn time(into: *mut libc::time_t) -> libc::time_t {
    let Some(me) = me() else { return unsafe { c::time(into) } };
    let now = (wall(me) / SECOND) as libc::time_t;
    if !into.is_null() {
        unsafe { *into = now };
    }
    now
}

fn sleep(me: &'static mut Thread, deadline: Nanos) {
    if me.held == 0 {
        world::wait(me, Wait::Sleep { deadline });
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nanosleep(time: *const libc::timespec, left: *mut libc::timespec) -> c_int {
    let Some(me) = me() else { return unsafe { c::nanosleep(time, left) } };
    sleep(me, world().now + nanos(unsafe { &*time }));
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn clock_nanosleep(
    clock: c_int,
    flags: c_int,
    time: *const libc::timespec,
    left: *mut libc::timespec,
) -> c_int {
    let Some(me) = me() else { return unsafe { c::clock_nanosleep(clock, flags, time, left) } };
    let time = nanos(unsafe { &*time });
    let deadline = if flags & libc::TIMER_ABSTIME != 0 { moment(me, clock, time) } else { world().now + time };
    sleep(me, deadline);
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn usleep(microseconds: u32) -> c_int {
    let Some(me) = me() else { return unsafe { c::usleep(microseconds) } };
    sleep(me, world().now + u64::from(microseconds) * 1000);
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn sched_yield() -> c_int {
    match me() {
        Some(me) => world::pass(me),
        None => return unsafe { c::sched_yield() },
    }
    0
}

/// When a wait of this many milliseconds is over.
fn deadline(milliseconds: c_int) -> Option<Nanos> {
    u64::try_from(milliseconds).ok().map(|milliseconds| world().now + milliseconds * MS)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn epoll_wait(fd: c_int, events: *mut libc::epoll_event, most: c_int, timeout: c_int) -> c_int {
    if me().is_none() {
        return unsafe { c::epoll_wait(fd, events, most, timeout) };
    }
    let deadline = deadline(timeout);
    loop {
        let found = unsafe { c::epoll_wait(fd, events, most, 0) };
        if found != 0 || timeout == 0 {
            return found;
        }
        let Some(me) = me() else { return found };
        if world::wait(me, Wait::Epoll { fd, deadline }) == Woken::TimedOut {
            return unsafe { c::epoll_wait(fd, events, most, 0) };
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn poll(fds: *mut libc::pollfd, count: libc::nfds_t, timeout: c_int) -> c_int {
    let found = unsafe { c::poll(fds, count, if me().is_some() { 0 } else { timeout }) };
    let Some(me) = me() else { return found };
    if found != 0 || timeout == 0 || count != 1 {
        return found;
    }
    let (fd, events) = unsafe { ((*fds).fd, (*fds).events) };
    world::wait(me, Wait::Descriptor { fd, events, deadline: deadline(timeout) });
    unsafe { c::poll(fds, count, 0) }
}

struct Start {
    start: extern "C" fn(*mut c_void) -> *mut c_void,
    argument: *mut c_void,
    thread: *mut Thread,
}

unsafe extern "C" {
    fn __cxa_thread_atexit_impl(end: extern "C" fn(*mut c_void), object: *mut c_void, library: *mut c_void) -> c_int;
    static __dso_handle: u8;
}

extern "C" fn end(_: *mut c_void) {
    world::leave();
}

extern "C" fn run(start: *mut c_void) -> *mut c_void {
    let Start { start, argument, thread } = *unsafe { Box::from_raw(start.cast::<Start>()) };
    world::enter(thread);
    // The first to be noted is the last to be run: after the destructors of all that the thread keeps.
    unsafe { __cxa_thread_atexit_impl(end, std::ptr::null_mut(), (&raw const __dso_handle).cast_mut().cast()) };
    start(argument)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_create(
    handle: *mut libc::pthread_t,
    attributes: *const libc::pthread_attr_t,
    start: extern "C" fn(*mut c_void) -> *mut c_void,
    argument: *mut c_void,
) -> c_int {
    let Some(me) = me() else { return unsafe { c::pthread_create(handle, attributes, start, argument) } };
    let thread = world().add_thread(me.node);
    let start = Box::into_raw(Box::new(Start { start, argument, thread }));
    let created = unsafe { c::pthread_create(handle, attributes, run, start.cast()) };
    assert_eq!(created, 0, "no more threads");
    unsafe { (*thread).handle = *handle };
    world::pass_perhaps(me);
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_join(handle: libc::pthread_t, value: *mut *mut c_void) -> c_int {
    if let Some(me) = me() {
        // The newest: a handle is used again once its thread was joined.
        let found = world().threads.iter().rev().copied().find(|thread| unsafe { (**thread).handle } == handle);
        if let Some(thread) = found {
            let (id, finished) = unsafe { ((*thread).id, (*thread).finished) };
            if !finished {
                world::wait(me, Wait::Join { thread: id });
            }
        }
    }
    unsafe { c::pthread_join(handle, value) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_mutex_lock(mutex: *mut libc::pthread_mutex_t) -> c_int {
    if let Some(me) = me() {
        me.held += 1;
    }
    unsafe { c::pthread_mutex_lock(mutex) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_mutex_trylock(mutex: *mut libc::pthread_mutex_t) -> c_int {
    let locked = unsafe { c::pthread_mutex_trylock(mutex) };
    if let Some(me) = me().filter(|_| locked == 0) {
        me.held += 1;
    }
    locked
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_mutex_unlock(mutex: *mut libc::pthread_mutex_t) -> c_int {
    if let Some(me) = me() {
        me.held = me.held.saturating_sub(1);
    }
    unsafe { c::pthread_mutex_unlock(mutex) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn syscall(number: c_long, a: usize, b: usize, c: usize, d: usize, e: usize, f: usize) -> c_long {
    match me() {
        Some(me) if number == libc::SYS_futex => c_long::from(unsafe { futex(me, a, b as c_int, c, d) }),
        Some(_) if number == libc::SYS_getrandom => unsafe { getrandom(a as *mut c_void, b, c as u32) as c_long },
        _ => unsafe { c::syscall(number, a, b, c, d, e, f) },
    }
}

unsafe fn futex(me: &'static mut Thread, address: usize, operation: c_int, value: usize, time: usize) -> c_int {
    let kind = operation & 0x7f;
    if kind == libc::FUTEX_WAKE || kind == libc::FUTEX_WAKE_BITSET {
        let woken = world().wake(address, value as u32 as u64);
        world::pass_perhaps(me);
        return woken as c_int;
    }
    assert!(kind == libc::FUTEX_WAIT || kind == libc::FUTEX_WAIT_BITSET, "futex operation {operation}");
    if unsafe { &*(address as *const AtomicU32) }.load(Ordering::SeqCst) != value as u32 {
        return fail(libc::EAGAIN);
    }
    let deadline = (time != 0).then(|| {
        let time = nanos(unsafe { &*(time as *const libc::timespec) });
        match kind {
            libc::FUTEX_WAIT => world().now + time,
            _ if operation & libc::FUTEX_CLOCK_REALTIME != 0 => moment(me, libc::CLOCK_REALTIME, time),
            _ => moment(me, libc::CLOCK_MONOTONIC, time),
        }
    });
    match world::wait(me, Wait::Futex { address, deadline }) {
        Woken::Event => 0,
        Woken::TimedOut => fail(libc::ETIMEDOUT),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(into: *mut c_void, bytes: usize, flags: u32) -> isize {
    if me().is_none() {
        return unsafe { c::getrandom(into, bytes, flags) };
    }
    let mut at = 0;
    while at < bytes {
        let drawn = world().random.draw().to_le_bytes();
        let length = (bytes - at).min(8);
        unsafe { std::ptr::copy_nonoverlapping(drawn.as_ptr(), into.cast::<u8>().add(at), length) };
        at += length;
    }
    bytes as isize
}

/// Nothing is synced in earnest: a process that is killed keeps what it wrote, and here no machine loses power.
fn synced(me: &'static mut Thread) -> c_int {
    let world = world();
    let time = world.schedule.below(world.nodes[me.node].sync_max);
    if me.held == 0 && time > 0 {
        world::wait(me, Wait::Sleep { deadline: world.now + time });
    }
    if let Some(me) = world::me() {
        world::disk_step(me);
    }
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fsync(fd: c_int) -> c_int {
    me().map_or_else(|| unsafe { c::fsync(fd) }, synced)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fdatasync(fd: c_int) -> c_int {
    me().map_or_else(|| unsafe { c::fdatasync(fd) }, synced)
}

/// Whether the descriptor is a file on a disk.
fn is_file(fd: c_int) -> bool {
    if fd <= 2 || world().sockets.get(fd as usize).is_none_or(|socket| *socket != 0) {
        return false;
    }
    let mut stat = std::mem::MaybeUninit::<libc::stat>::uninit();
    // SAFETY: the place is valid.
    unsafe { libc::fstat(fd, stat.as_mut_ptr()) == 0 && stat.assume_init().st_mode & libc::S_IFMT == libc::S_IFREG }
}

/// Before bytes go to a file: `Some` is what comes of it instead.
fn before_write(fd: c_int) -> Option<isize> {
    let me = me()?;
    if !is_file(fd) {
        return None;
    }
    world::disk_step(me);
    world().nodes[world::me()?.node].disk_full.then(|| fail(libc::ENOSPC) as isize)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn write(fd: c_int, from: *const c_void, bytes: usize) -> isize {
    if let Some(instead) = before_write(fd) {
        return instead;
    }
    if waits_for(fd, libc::POLLOUT) {
        return fail(libc::EAGAIN) as isize;
    }
    unsafe { c::write(fd, from, bytes) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pwrite64(fd: c_int, from: *const c_void, bytes: usize, at: i64) -> isize {
    before_write(fd).unwrap_or_else(|| unsafe { c::pwrite64(fd, from, bytes, at) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pwrite(fd: c_int, from: *const c_void, bytes: usize, at: i64) -> isize {
    before_write(fd).unwrap_or_else(|| unsafe { c::pwrite(fd, from, bytes, at) })
}

/// Waits for a socket that blocks. True: its time was over.
fn waits_for(fd: c_int, events: i16) -> bool {
    let Some(me) = me() else { return false };
    let Some(Some(limit)) = usize::try_from(fd).ok().and_then(|fd| world().blocking.get(fd)) else { return false };
    let deadline = (*limit > 0).then(|| world().now + limit);
    let mut polled = [libc::pollfd { fd, events, revents: 0 }];
    crate::real::poll(&mut polled, 0);
    polled[0].revents == 0 && world::wait(me, Wait::Descriptor { fd, events, deadline }) == Woken::TimedOut
}

#[unsafe(no_mangle)]
unsafe extern "C" fn read(fd: c_int, into: *mut c_void, bytes: usize) -> isize {
    if waits_for(fd, libc::POLLIN) {
        return fail(libc::EAGAIN) as isize;
    }
    unsafe { c::read(fd, into, bytes) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn recv(fd: c_int, into: *mut c_void, bytes: usize, flags: c_int) -> isize {
    if waits_for(fd, libc::POLLIN) {
        return fail(libc::EAGAIN) as isize;
    }
    unsafe { c::recv(fd, into, bytes, flags) }
}

/// Takes note of a new socket: whose it is, and whether it blocks.
fn new_socket(fd: c_int, flags: c_int) -> c_int {
    if let (Some(me), Ok(place)) = (me(), usize::try_from(fd)) {
        world().sockets[place] = me.node as u8 + 1;
        world().blocking[place] = (flags & libc::SOCK_NONBLOCK == 0).then_some(0);
    }
    fd
}

#[unsafe(no_mangle)]
unsafe extern "C" fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int {
    new_socket(unsafe { c::socket(domain, kind, protocol) }, kind)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn accept4(
    fd: c_int,
    address: *mut libc::sockaddr,
    bytes: *mut libc::socklen_t,
    flags: c_int,
) -> c_int {
    new_socket(unsafe { c::accept4(fd, address, bytes, flags) }, flags)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn setsockopt(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *const c_void,
    bytes: libc::socklen_t,
) -> c_int {
    if me().is_some() && level == libc::SOL_SOCKET && name == libc::SO_RCVTIMEO {
        let time = unsafe { &*value.cast::<libc::timeval>() };
        if let Some(Some(limit)) = world().blocking.get_mut(fd as usize) {
            *limit = time.tv_sec as u64 * SECOND + time.tv_usec as u64 * 1000;
        }
        return 0;
    }
    unsafe { c::setsockopt(fd, level, name, value, bytes) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fcntl(fd: c_int, command: c_int, argument: usize) -> c_int {
    let answer = unsafe { c::fcntl(fd, command, argument) };
    if let (libc::F_DUPFD_CLOEXEC | libc::F_DUPFD, Some(me)) = (command, me())
        && let (Ok(from), Ok(to)) = (usize::try_from(fd), usize::try_from(answer))
        && world().sockets[from] != 0
    {
        world().sockets[to] = me.node as u8 + 1;
        world().blocking[to] = world().blocking[from];
    }
    answer
}

#[unsafe(no_mangle)]
unsafe extern "C" fn close(fd: c_int) -> c_int {
    if let (Some(_), Ok(place)) = (me(), usize::try_from(fd))
        && place < world().sockets.len()
    {
        world().sockets[place] = 0;
        world().blocking[place] = None;
    }
    unsafe { c::close(fd) }
}
