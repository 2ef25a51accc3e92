//! What does not hold, from all who look.

use std::sync::{Mutex, PoisonError};

/// Violations, as they are found.
#[derive(Debug, Default)]
pub struct Found(Mutex<Vec<String>>);

impl Found {
    /// Adds one.
    pub fn add(&self, violation: impl Into<String>) {
        let violation = violation.into();
        let mut found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !found.contains(&violation) {
            found.push(violation);
        }
    }

    /// Adds what somebody who looked has died of.
    pub fn add_panic(&self, who: &str, panic: &(dyn std::any::Any + Send)) {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked");
        self.add(format!("{who}: {}", text.chars().take(600).collect::<String>()));
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// All so far.
    pub fn all(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
