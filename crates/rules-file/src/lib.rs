//! Files of rules: tables `[[rule]]` (TOML), each for the repositories whose names match its patterns. The first that matches decides.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::Spanned;

/// Longest file that is read, bytes.
pub const FILE_BYTES_MAX: u64 = 4 << 20;
const RULES_MAX: usize = 10_000;

/// Why rules are not taken.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    /// It is no TOML, or has other keys than rules have.
    #[error("{0}")]
    Syntax(String),
    /// A rule says what can't be.
    #[error("line {line}: {what}")]
    Rule {
        /// Where the rule begins.
        line: usize,
        /// What is wrong, and what to do.
        what: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileText<R> {
    #[serde(default = "Vec::new")]
    rule: Vec<Spanned<R>>,
}

/// A file's content as text.
///
/// # Errors
/// It is not UTF-8.
pub fn text(bytes: &[u8]) -> Result<&str, RulesError> {
    std::str::from_utf8(bytes).map_err(|_| RulesError::Syntax("it is not UTF-8".to_owned()))
}

/// Reads rules in order. `make` gets each with the line on which it begins, and says what is wrong with it.
///
/// # Errors
/// What is wrong, and on which line.
pub fn parse<R: DeserializeOwned, T>(
    text: &str,
    mut make: impl FnMut(usize, R) -> Result<T, String>,
) -> Result<Vec<T>, RulesError> {
    let file: FileText<R> = toml::from_str(text).map_err(|error| RulesError::Syntax(error.to_string()))?;
    let mut rules = Vec::new();
    for rule in file.rule {
        let line = text[..rule.span().start.min(text.len())].matches('\n').count() + 1;
        let wrong = |what: String| RulesError::Rule { line, what };
        if rules.len() == RULES_MAX {
            return Err(wrong(format!("more than {RULES_MAX} rules; use patterns")));
        }
        rules.push(make(line, rule.into_inner()).map_err(wrong)?);
    }
    Ok(rules)
}

/// Patterns of names and paths: `*` stands for letters of one part, `**` for any number of parts, `{a,b}` for either.
///
/// # Errors
/// Which pattern is none, and why.
pub fn globs(patterns: &[String]) -> Result<GlobSet, String> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        let glob = GlobBuilder::new(pattern).literal_separator(true).backslash_escape(false).build();
        set.add(glob.map_err(|error| format!("the pattern {pattern:?} is none: {}", error.kind()))?);
    }
    set.build().map_err(|error| error.to_string())
}
