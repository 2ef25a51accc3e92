//! Faults that are planted in the code, so that the fault harness can be tested: it must find each.
//!
//! Only a build with the feature `planted-faults` has them, and there only the one that the environment variable
//! `HGFLEET_PLANTED_FAULT` names. In every other build [`is`] is `false` when it is compiled, and nothing of a fault is left.

/// Whether this fault is planted.
#[cfg(feature = "planted-faults")]
pub fn is(fault: &str) -> bool {
    static PLANTED: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    let planted = PLANTED.get_or_init(|| std::env::var(VARIABLE).ok());
    planted.as_deref() == Some(fault)
}

/// Names the fault that is planted.
#[cfg(feature = "planted-faults")]
const VARIABLE: &str = "HGFLEET_PLANTED_FAULT";

/// What a process with an environment of its own needs in it.
pub fn environment() -> Option<(&'static str, std::ffi::OsString)> {
    #[cfg(feature = "planted-faults")]
    return std::env::var_os(VARIABLE).map(|fault| (VARIABLE, fault));
    #[cfg(not(feature = "planted-faults"))]
    None
}

/// Whether this fault is planted: never.
#[cfg(not(feature = "planted-faults"))]
pub const fn is(_fault: &str) -> bool {
    false
}
