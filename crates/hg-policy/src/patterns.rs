//! Patterns of a rule, made ready to be asked.

use globset::GlobSet;
use regex::bytes::{Regex, RegexBuilder};
pub(crate) use rules_file::globs;

/// Memory that one compiled expression may take, bytes.
const EXPRESSION_BYTES_MAX: usize = 1 << 20;

/// Whether a path matches. Paths are bytes; Unix takes them as they are.
pub(crate) fn matches(globs: &GlobSet, path: &[u8]) -> bool {
    use std::os::unix::ffi::OsStrExt;
    globs.is_match(std::ffi::OsStr::from_bytes(path))
}

/// A regular expression that is searched in time linear in the text, whatever it is.
///
/// # Errors
/// Why it is none.
pub(crate) fn expression(pattern: &str) -> Result<Regex, String> {
    let built =
        RegexBuilder::new(pattern).size_limit(EXPRESSION_BYTES_MAX).dfa_size_limit(EXPRESSION_BYTES_MAX).build();
    built.map_err(|error| {
        let error = error.to_string();
        // The library shows the place in several lines.
        let last = error.lines().last().unwrap_or_default();
        format!("the expression {pattern:?} is none: {}", last.trim_start_matches("error: "))
    })
}
