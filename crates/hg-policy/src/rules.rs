//! The file of rules: which rule counts for which repository.
//!
//! ```toml
//! [[rule]]
//! repositories = ["release/**"]
//! branches = { one_head = true, new = false }
//! messages = { pattern = '(?i)^bug \d+', remedy = "Begin with the number of the bug" }
//! ```

use std::path::PathBuf;
use std::sync::Arc;

use globset::GlobSet;
use rules_file::{FILE_BYTES_MAX, RulesError};
use watched_file::{WatchError, WatchedFile};

use crate::{Checks, Pusher, Rule};

/// Patterns of one rule.
const PATTERNS_MAX: usize = 1000;

#[derive(Debug)]
struct Entry {
    line: usize,
    patterns: GlobSet,
    rule: Arc<Rule>,
}

/// The rules, in order.
#[derive(Debug, Default)]
pub struct PolicyRules {
    rules: Vec<Entry>,
    unmatched: Arc<Rule>,
}

impl PolicyRules {
    /// Reads rules.
    ///
    /// # Errors
    /// What is wrong, and on which line.
    pub fn parse(text: &str) -> Result<PolicyRules, RulesError> {
        let rules = rules_file::parse(text, |line, rule: Rule| {
            match rule.repositories.len() {
                0 => {
                    let what = "a rule without `repositories` matches nothing; name patterns there, or remove it";
                    return Err(what.to_owned());
                }
                count if count > PATTERNS_MAX => {
                    return Err(format!("more than {PATTERNS_MAX} patterns of repositories; make two rules of it"));
                }
                _ => {}
            }
            let patterns = rules_file::globs(&rule.repositories)?;
            Checks::new(&rule, Pusher::default())?;
            Ok(Entry { line, patterns, rule: Arc::new(rule) })
        })?;
        Ok(PolicyRules { rules, unmatched: Arc::default() })
    }

    /// The rule that counts for a repository, and on which line of the file it begins; the default, without a line, where none matches.
    pub fn rule_for(&self, repository: &str) -> (Option<usize>, &Arc<Rule>) {
        match self.rules.iter().find(|entry| entry.patterns.is_match(repository)) {
            Some(entry) => (Some(entry.line), &entry.rule),
            None => (None, &self.unmatched),
        }
    }
}

/// The rules of a file, read again when it changes; or the default alone.
#[derive(Debug)]
pub enum PolicyControl {
    /// There is no file.
    Default(Arc<PolicyRules>),
    /// There is.
    File(WatchedFile<PolicyRules, RulesError>),
}

impl PolicyControl {
    /// Reads the file, which must be there and sound; no path: the default for all repositories.
    ///
    /// # Errors
    /// What keeps the file from being taken.
    pub fn of(path: Option<PathBuf>) -> Result<PolicyControl, WatchError<RulesError>> {
        Ok(match path {
            None => PolicyControl::Default(Arc::default()),
            Some(path) => PolicyControl::File(WatchedFile::open(path, FILE_BYTES_MAX, |bytes| {
                PolicyRules::parse(rules_file::text(bytes)?)
            })?),
        })
    }

    /// The rules as of now.
    pub fn rules(&self) -> Arc<PolicyRules> {
        match self {
            PolicyControl::Default(rules) => rules.clone(),
            PolicyControl::File(file) => file.content(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_that_matches_counts() {
        let rules = PolicyRules::parse(
            "[[rule]]\nrepositories = [\"a/**\"]\nbookmarks = { allowed = false }\n\n[[rule]]\nrepositories = [\"**\"]\n",
        )
        .expect("rules");
        let (line, rule) = rules.rule_for("a/b/c");
        assert_eq!((line, rule.bookmarks.allowed), (Some(1), false));
        let (line, rule) = rules.rule_for("b");
        assert_eq!((line, rule.bookmarks.allowed, rule.names.dangerous), (Some(5), true, true));
        assert_eq!(PolicyRules::default().rule_for("b"), (None, &Arc::new(Rule::default())));
    }

    #[test]
    fn what_a_rule_can_t_say_is_refused_with_its_line() {
        for (rest, told) in [
            ("", "line 2: a rule without `repositories`"),
            ("repositories = [\"{a\"]", "line 2: the pattern \"{a\" is none"),
            ("repositories = [\"a\"]\nbranch = {}", "unknown field `branch`"),
            (
                "repositories = [\"a\"]\nmessages = { pattern = \"(\" }",
                "line 2: the expression \"(\" is none: unclosed group",
            ),
            (
                "repositories = [\"a\"]\nmessages = { pattern = \"(a{1000}){1000}\" }",
                "is none: Compiled regex exceeds size limit",
            ),
            (
                "repositories = [\"a\"]\nroots = { allowed = [\"12\"] }",
                "line 2: \"12\" is no changeset: 40 digits are needed",
            ),
            ("repositories = [\"a\"]\ntree = {}", "line 2: `tree` needs either a `file` or a `url`"),
            ("repositories = [\"a\"]\ntree = { url = \"ftp://a/\" }", "line 2: \"ftp://a/\" begins neither with"),
            (
                "repositories = [\"a\"]\nexternal = [{ name = \"x\", program = [\"check\"] }]",
                "line 2: the program \"check\" of the check x needs its whole path",
            ),
            (
                "repositories = [\"a\"]\nexternal = [{ name = \"x\" }]",
                "line 2: the check x needs either a `program` or a `url`",
            ),
            (
                "repositories = [\"a\"]\nexternal = [{ name = \"x\\n\", url = \"http://a/\" }]",
                "is no name of an external check",
            ),
            (
                "repositories = [\"a\"]\nexternal = [{ name = \"x\", url = \"http://a/\", seconds_max = 601 }]",
                "line 2: the check x may take 1 to 600 seconds, not 601",
            ),
            (
                "repositories = [\"a\"]\nprotected = [{ paths = [], groups = [] }]",
                "line 2: `protected` without `paths`",
            ),
            ("repositories = [\"a\"]\nlimits = { heads_max = -1 }", "invalid value: integer `-1`"),
        ] {
            let error = PolicyRules::parse(&format!("\n[[rule]]\n{rest}\n")).expect_err(rest).to_string();
            assert!(error.contains(told), "{rest}: {error}");
        }
    }
}
