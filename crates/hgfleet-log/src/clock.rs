//! The clock by which leases and memberships are judged.

use std::time::Duration;

/// Returns the time since the machine was started, suspended or not.
///
/// It never goes back and nobody can set it. [`std::time::Instant`] stands still while the machine is suspended: a
/// server that wakes up would take an old right for a fresh one.
///
/// Asked of the C library, as the standard library asks it: so the simulation stands in for both at one place.
pub fn boot_time() -> Duration {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the place is valid. The call fails only for a clock that the kernel doesn't have.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut now) };
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_nanos(u64::try_from(now.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_on() {
        let begun = boot_time();
        std::thread::sleep(Duration::from_millis(2));
        let passed = boot_time() - begun;
        assert!(passed >= Duration::from_millis(2) && passed < Duration::from_secs(60));
    }
}
