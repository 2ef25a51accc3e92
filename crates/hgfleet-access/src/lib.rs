//! Who may do what with which repository.
//!
//! The rules stand in one TOML file; the first one that matches a repository's name decides, and what it does not grant is
//! refused. Without a file everybody reads, and every account writes.
//!
//! ```toml
//! [[rule]]
//! repositories = ["private/**"]
//! read = ["staff"]
//! write = ["release", "jane@example.com"]
//!
//! [[rule]]
//! repositories = ["**"]
//! read = ["*"]
//! write = ["accounts"]
//! ```
//!
//! In a pattern `*` stands for any letters of one part of a name, `**` for any number of parts, `{a,b}` for either. Who is granted
//! something is a group's name, an account's mail address, `accounts` (every account that is enabled) or `*` (everybody, without an
//! account too).

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use globset::GlobSet;
use rules_file::FILE_BYTES_MAX;
pub use rules_file::RulesError;
use serde::Deserialize;
use watched_file::{WatchError, WatchedFile};

mod own;

pub use own::{NoFolder, is_user_repository, user_folder};

/// Patterns of one rule, and names in one of its lists.
const NAMES_MAX: usize = 1000;
const NAME_BYTES_MAX: usize = 500;
/// Everybody.
const EVERYBODY: &str = "*";
/// Every account.
const ACCOUNTS: &str = "accounts";

/// What somebody wants to do with a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Clone, pull, look at.
    Read,
    /// Push.
    Write,
    /// Make one of this name.
    Create,
    /// Rename, delete, change the settings.
    Administer,
}

impl Action {
    /// All of them.
    pub const ALL: [Action; 4] = [Action::Read, Action::Write, Action::Create, Action::Administer];

    /// The rules' word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Action::Read => "read",
            Action::Write => "write",
            Action::Create => "create",
            Action::Administer => "administer",
        }
    }
}

/// Who wants it.
#[derive(Debug, Clone, Copy)]
pub enum Caller<'a> {
    /// Somebody who did not say.
    Anonymous,
    /// An enabled account.
    Account {
        /// Its name.
        mail: &'a str,
        /// The groups that it is in.
        groups: &'a [String],
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleText {
    repositories: Vec<String>,
    #[serde(default)]
    read: Vec<String>,
    #[serde(default)]
    write: Vec<String>,
    #[serde(default)]
    create: Vec<String>,
    #[serde(default)]
    administer: Vec<String>,
}

#[derive(Debug)]
struct Rule {
    /// Where it begins; `None` for the one that counts without a file.
    line: Option<usize>,
    shown: String,
    patterns: RepositoryPatterns,
    /// Who is granted each of [`Action::ALL`].
    granted: [Vec<String>; 4],
}

/// The rules, in order.
#[derive(Debug)]
pub struct AccessRules {
    rules: Vec<Rule>,
    /// Whether `users/FOLDER/…` belongs to the account that has that folder.
    user_repositories: bool,
}

/// The families of repositories that rules tell apart, by their patterns, in order.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Families {
    /// Those in which the action is granted.
    pub granted: Vec<String>,
    /// The others that may be read.
    pub others: Vec<String>,
}

/// Patterns of repositories' names, as rules have them.
#[derive(Debug, Clone)]
pub struct RepositoryPatterns(GlobSet);

impl RepositoryPatterns {
    /// Reads patterns.
    ///
    /// # Errors
    /// The first that is none.
    pub fn new(patterns: &[String]) -> Result<RepositoryPatterns, PatternError> {
        rules_file::globs(patterns).map(RepositoryPatterns).map_err(PatternError)
    }

    /// Whether one of them matches a repository's name.
    pub fn is_match(&self, repository: &str) -> bool {
        self.0.is_match(repository)
    }
}

/// Why patterns are not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PatternError(String);

impl AccessRules {
    /// What counts without a file: everybody reads, every account writes.
    pub fn open() -> AccessRules {
        let text = "[[rule]]\nrepositories = [\"**\"]\nread = [\"*\"]\nwrite = [\"accounts\"]\n";
        // A constant, and a test reads it.
        let mut rules = AccessRules::parse(text).unwrap_or(AccessRules { rules: Vec::new(), user_repositories: false });
        rules.rules.iter_mut().for_each(|rule| rule.line = None);
        rules
    }

    /// Reads rules.
    ///
    /// # Errors
    /// What is wrong, and on which line.
    pub fn parse(text: &str) -> Result<AccessRules, RulesError> {
        Ok(AccessRules { rules: rules_file::parse(text, Rule::new)?, user_repositories: false })
    }

    /// Gives each account what lies in its folder ([`user_folder`]), whatever the rules say: all actions to its owner, and all but
    /// reading to nobody else.
    #[must_use]
    pub fn with_user_repositories(self, user_repositories: bool) -> AccessRules {
        AccessRules { user_repositories, ..self }
    }

    /// Tells the families of repositories apart in which an action is granted, and in which it is not. Where patterns overlap, the
    /// first rule decides, which this does not show. A family of which the caller may do neither that nor read is in no list: its
    /// pattern may be a repository's name.
    pub fn families(&self, caller: Caller<'_>, action: Action) -> Families {
        let mut families = Families::default();
        for rule in &self.rules {
            let is_granted = |action| rule.granted(action).iter().any(|name| is_meant(name, caller));
            if is_granted(action) {
                families.granted.push(rule.shown.clone());
            } else if is_granted(Action::Read) {
                families.others.push(rule.shown.clone());
            }
        }
        families
    }

    /// Whether there is anything that an account may read, and whoever has none may not: whether it is of use to say who one is.
    pub fn have_private(&self) -> bool {
        let is_kept = |rule: &Rule| !rule.granted(Action::Read).iter().any(|name| name == EVERYBODY);
        let kept_for_some = |rule: &Rule| is_kept(rule) && !rule.granted(Action::Read).is_empty();
        // An owner reads also what no rule lets anybody read.
        let is_owners = || {
            let any = self.decide(Caller::Anonymous, "users/a_b/c", Action::Read);
            self.rules.iter().any(is_kept) || !any.is_allowed()
        };
        self.rules.iter().any(kept_for_some) || (self.user_repositories && is_owners())
    }

    /// Decides, and says by which rule.
    pub fn decide(&self, caller: Caller<'_>, repository: &str, action: Action) -> Decision<'_> {
        if self.user_repositories && is_user_repository(repository) {
            let is_owner = matches!(caller, Caller::Account { mail, .. } if own::is_owned_by(repository, mail));
            if is_owner || action != Action::Read {
                return Decision { action, ground: Ground::Owner(is_owner) };
            }
        }
        let rule = self.rules.iter().enumerate().find(|(_, rule)| rule.patterns.is_match(repository));
        let granted = rule.and_then(|(_, rule)| rule.granted(action).iter().find(|name| is_meant(name, caller)));
        Decision { action, ground: Ground::Rule(rule.map(|(number, rule)| (number + 1, rule)), granted) }
    }
}

impl Rule {
    fn new(line: usize, text: RuleText) -> Result<Rule, String> {
        let RuleText { repositories, read, write, create, administer } = text;
        let granted = [read, write, create, administer];
        if repositories.is_empty() {
            return Err("a rule without `repositories` matches nothing; name patterns there, or remove it".to_owned());
        }
        for list in granted.iter().chain([&repositories]) {
            if list.len() > NAMES_MAX {
                return Err(format!("a list has more than {NAMES_MAX} names; make a group of them"));
            }
            if let Some(name) = list.iter().find(|name| name.is_empty() || name.len() > NAME_BYTES_MAX) {
                let shown: String = name.chars().take(40).collect();
                return Err(format!("{shown:?} is empty, or has more than {NAME_BYTES_MAX} bytes"));
            }
        }
        for (action, list) in Action::ALL.iter().zip(&granted) {
            if *action != Action::Read && list.iter().any(|name| name == EVERYBODY) {
                let action = action.as_str();
                return Err(format!(
                    "`{action}` can't be granted to `*`, who may have no account; `accounts` are all that have one"
                ));
            }
            if let Some(name) = list.iter().find(|name| name.contains('@') && !is_mail(name)) {
                return Err(format!("{name:?} is no mail address"));
            }
        }
        let patterns = RepositoryPatterns::new(&repositories).map_err(|error| error.to_string())?;
        Ok(Rule { line: Some(line), shown: repositories.join(", "), patterns, granted })
    }

    fn granted(&self, action: Action) -> &[String] {
        let [read, write, create, administer] = &self.granted;
        match action {
            Action::Read => read,
            Action::Write => write,
            Action::Create => create,
            Action::Administer => administer,
        }
    }
}

fn is_mail(name: &str) -> bool {
    let parts: Vec<&str> = name.split('@').collect();
    parts.len() == 2 && parts.iter().all(|part| !part.is_empty()) && name.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Whether a name in a list means this caller.
fn is_meant(name: &str, caller: Caller<'_>) -> bool {
    match caller {
        _ if name == EVERYBODY => true,
        Caller::Anonymous => false,
        Caller::Account { mail, groups } => match name {
            ACCOUNTS => true,
            name if name.contains('@') => name == mail,
            name => groups.iter().any(|group| group == name),
        },
    }
}

/// What the rules say.
#[derive(Debug)]
pub struct Decision<'r> {
    action: Action,
    ground: Ground<'r>,
}

/// By what something is decided.
#[derive(Debug)]
enum Ground<'r> {
    /// By the rule that matches, with its number, and by whom of those that it grants it to.
    Rule(Option<(usize, &'r Rule)>, Option<&'r String>),
    /// By whose repository it is.
    Owner(bool),
}

impl Decision<'_> {
    /// Whether it may be done.
    pub fn is_allowed(&self) -> bool {
        matches!(self.ground, Ground::Rule(_, Some(_)) | Ground::Owner(true))
    }

    /// Who may do it: names as the rule has them; empty where nobody may, or none but the owner.
    pub fn granted(&self) -> &[String] {
        match self.ground {
            Ground::Rule(Some((_, rule)), _) => rule.granted(self.action),
            Ground::Rule(None, _) | Ground::Owner(_) => &[],
        }
    }
}

/// Which rule decides, and why, as `hgfleet access explain` prints it.
impl fmt::Display for Decision<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let action = self.action.as_str();
        write!(f, "{action}: {}; ", if self.is_allowed() { "yes" } else { "no" })?;
        let (number, rule, granted) = match self.ground {
            Ground::Owner(true) => return write!(f, "it is the account's own repository"),
            Ground::Owner(false) => return write!(f, "it is another account's repository"),
            Ground::Rule(None, _) => return write!(f, "no rule matches"),
            Ground::Rule(Some((number, rule)), granted) => (number, rule, granted),
        };
        match rule.line {
            Some(line) => write!(f, "rule {number}, line {line} ({})", rule.shown)?,
            None => write!(f, "there is no file of rules, so everybody reads and every account writes")?,
        }
        match (granted, rule.granted(self.action)) {
            (Some(name), _) => write!(f, ", grants it to {name}"),
            (None, []) => write!(f, ", grants it to nobody"),
            (None, names) => write!(f, ", grants it to {} alone", names.join(", ")),
        }
    }
}

/// The rules of a file, read again when it changes; or those that count without one.
#[derive(Debug)]
pub enum AccessControl {
    /// There is no file.
    Open(Arc<AccessRules>),
    /// There is.
    File(WatchedFile<AccessRules, RulesError>),
}

impl AccessControl {
    /// Reads the file, which must be there and sound; no path: [`AccessRules::open`]. `user_repositories` is for
    /// [`AccessRules::with_user_repositories`].
    ///
    /// # Errors
    /// What keeps the file from being taken.
    pub fn of(path: Option<PathBuf>, user_repositories: bool) -> Result<AccessControl, WatchError<RulesError>> {
        Ok(match path {
            None => AccessControl::Open(Arc::new(AccessRules::open().with_user_repositories(user_repositories))),
            Some(path) => {
                let read = if user_repositories { read_with_user_repositories } else { read };
                AccessControl::File(WatchedFile::open(path, FILE_BYTES_MAX, read)?)
            }
        })
    }

    /// The rules as of now.
    pub fn rules(&self) -> Arc<AccessRules> {
        match self {
            AccessControl::Open(rules) => rules.clone(),
            AccessControl::File(file) => file.content(),
        }
    }
}

fn read(bytes: &[u8]) -> Result<AccessRules, RulesError> {
    AccessRules::parse(rules_file::text(bytes)?)
}

fn read_with_user_repositories(bytes: &[u8]) -> Result<AccessRules, RulesError> {
    read(bytes).map(|rules| rules.with_user_repositories(true))
}

#[cfg(test)]
mod tests;
