//! A repository's name, as users type it and as records carry it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A repository's name: components of ASCII letters, digits, `.`, `_` and `-`, divided by `/`.
///
/// It is also a path below a server's `repos/`, so the grammar leaves out whatever a file system, a
/// URL, a shell or Mercurial itself reads in another way. What [`RepositoryName::parse`] refuses is in
/// [`NameError`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RepositoryName(String);

/// Why a text names no repository. The texts are for users; what they typed is not repeated here, it is
/// for the log, escaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing, or nothing but slashes.
    #[error("the repository name is empty")]
    Empty,
    /// Longer than [`RepositoryName::BYTES_MAX`] bytes.
    #[error("the repository name is longer than 1024 bytes")]
    TooLong,
    /// More than [`RepositoryName::COMPONENTS_MAX`] components.
    #[error("the repository name has more than 32 components")]
    TooDeep,
    /// A component longer than [`RepositoryName::COMPONENT_BYTES_MAX`] bytes.
    #[error("a component of the repository name is longer than 200 bytes")]
    ComponentTooLong,
    /// A slash at the beginning, two in a row, or more than one at the end.
    #[error("the repository name has an empty component")]
    EmptyComponent,
    /// A character outside the grammar.
    #[error("only ASCII letters, digits, \".\", \"_\" and \"-\" are allowed in repository names")]
    Character,
    /// A component that begins with `.`, `_` or `-`.
    #[error("each component of a repository name begins with an ASCII letter or digit")]
    FirstCharacter,
    /// A component that ends in a dot, or in `.hg`, `.git`, `.i` or `.d` in any case.
    #[error("no component of a repository name ends in \".\", \".hg\", \".git\", \".i\" or \".d\"")]
    Ending,
    /// `con`, `nul`, `com1` and the like, alone or before a dot, in any case.
    #[error("a component of the repository name is a device name on Windows")]
    Device,
}

const ENDINGS: [&str; 5] = [".", ".hg", ".git", ".i", ".d"];
const DEVICES: [&str; 4] = ["con", "prn", "aux", "nul"];

impl RepositoryName {
    /// Longest name, in bytes.
    pub const BYTES_MAX: usize = 1024;
    /// Longest component, in bytes; it leaves room in a file name for a suffix of ours.
    pub const COMPONENT_BYTES_MAX: usize = 200;
    /// Most components.
    pub const COMPONENTS_MAX: usize = 32;

    /// Returns the name that these bytes spell. One slash at the end is allowed and dropped.
    ///
    /// # Errors
    /// Says which rule of the grammar is broken.
    pub fn parse(name: impl AsRef<[u8]>) -> Result<RepositoryName, NameError> {
        let name = name.as_ref();
        let name = name.strip_suffix(b"/").unwrap_or(name);
        if name.is_empty() {
            return Err(NameError::Empty);
        }
        if name.len() > Self::BYTES_MAX {
            return Err(NameError::TooLong);
        }
        let name = std::str::from_utf8(name).map_err(|_| NameError::Character)?;
        for (number, component) in name.split('/').enumerate() {
            if number >= Self::COMPONENTS_MAX {
                return Err(NameError::TooDeep);
            }
            check_component(component)?;
        }
        Ok(RepositoryName(name.to_owned()))
    }

    /// Returns the name, without a slash at either end.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the components, outermost first.
    pub fn components(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }

    /// Returns whether this name lies inside `other`, as `team/first` does in `team`.
    ///
    /// No repository may lie inside another: `team/first` could be a page of `team`.
    pub fn is_inside(&self, other: &RepositoryName) -> bool {
        self.0.strip_prefix(other.as_str()).is_some_and(|rest| rest.starts_with('/'))
    }
}

fn check_component(component: &str) -> Result<(), NameError> {
    let bytes = component.as_bytes();
    let Some(first) = bytes.first() else {
        return Err(NameError::EmptyComponent);
    };
    if bytes.len() > RepositoryName::COMPONENT_BYTES_MAX {
        return Err(NameError::ComponentTooLong);
    }
    if !bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(byte)) {
        return Err(NameError::Character);
    }
    if !first.is_ascii_alphanumeric() {
        return Err(NameError::FirstCharacter);
    }
    let lower = component.to_ascii_lowercase();
    if ENDINGS.iter().any(|ending| lower.ends_with(ending)) {
        return Err(NameError::Ending);
    }
    if is_device(lower.split('.').next().unwrap_or(&lower)) {
        return Err(NameError::Device);
    }
    Ok(())
}

fn is_device(stem: &str) -> bool {
    let numbered = |prefix| stem.strip_prefix(prefix).is_some_and(|rest| matches!(rest.as_bytes(), [b'1'..=b'9']));
    DEVICES.contains(&stem) || numbered("com") || numbered("lpt")
}

impl TryFrom<String> for RepositoryName {
    type Error = NameError;
    fn try_from(name: String) -> Result<RepositoryName, NameError> {
        // What a record or a peer carries is already in its one spelling.
        if name.ends_with('/') {
            return Err(NameError::EmptyComponent);
        }
        RepositoryName::parse(&name)
    }
}

impl From<RepositoryName> for String {
    fn from(name: RepositoryName) -> String {
        name.0
    }
}

impl AsRef<std::path::Path> for RepositoryName {
    fn as_ref(&self) -> &std::path::Path {
        self.0.as_ref()
    }
}

impl fmt::Display for RepositoryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RepositoryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_people_use_pass() {
        for name in [
            "reponame",
            "repo/name",
            "100repos",
            "1.repo.name",
            "a_b-c",
            "users/a_b.com/r",
            "idea",
            "hg",
            "console",
            "com10",
        ] {
            assert_eq!(RepositoryName::parse(name).expect(name).as_str(), name);
        }
        assert_eq!(RepositoryName::parse("reponame/").expect("slash").as_str(), "reponame");
    }

    /// Rows S6 to S11 of the list of bad input.
    #[test]
    fn names_that_mean_something_else_are_refused() {
        use NameError::*;
        let long = "a".repeat(4097);
        let deep = ["a"; 200].join("/");
        let component = "a".repeat(201);
        let table: &[(&[u8], NameError)] = &[
            // S6
            (b"../../etc", FirstCharacter),
            (b"a/../b", FirstCharacter),
            (b"a/./b", FirstCharacter),
            (b"/abs/path", EmptyComponent),
            (b"~root/x", Character),
            // S7
            (b"repo\n", Character),
            // S8
            (b"repo\r", Character),
            (b"re\tpo", Character),
            (b"re\0po", Character),
            (b"re\x1bpo", Character),
            (b"re\x7fpo", Character),
            ("re\u{202e}po".as_bytes(), Character),
            ("re\u{200c}po".as_bytes(), Character),
            (b"re\x82po", Character),
            // S9
            (b"repo ", Character),
            (b"repo.", Ending),
            (b"a..", Ending),
            (b"repo//x", EmptyComponent),
            (b"repo//", EmptyComponent),
            (b"", Empty),
            (b"/", Empty),
            (b"   ", Character),
            (long.as_bytes(), TooLong),
            (deep.as_bytes(), TooDeep),
            (component.as_bytes(), ComponentTooLong),
            // S10
            (b"repo.hg", Ending),
            (b".hg", FirstCharacter),
            (b"repo/.hg/store", FirstCharacter),
            (b"x.HG", Ending),
            (b"x/.Hg", FirstCharacter),
            (b"x.hg/y", Ending),
            (b"x.gIt", Ending),
            (b"repo.i", Ending),
            (b"repo.d", Ending),
            (b"con", Device),
            (b"nul", Device),
            (b"aux.txt", Device),
            (b"team/COM1", Device),
            (b"lpt9.x", Device),
            // S11
            (b"bundle:../x", Character),
            (b"bundle:/etc/passwd+/etc", Character),
            (b"union:a+b", Character),
            (b"static-http://h/", Character),
            (b"ssh://-oProxyCommand=x/", Character),
            (b"file:///etc", Character),
            (b"--debugger", FirstCharacter),
        ];
        for (name, error) in table {
            let escaped = name.escape_ascii();
            assert_eq!(RepositoryName::parse(name), Err(*error), "{escaped}");
        }
    }

    #[test]
    fn a_peer_may_use_one_spelling_only() {
        assert!(RepositoryName::try_from("team/first/".to_owned()).is_err());
        assert!(RepositoryName::try_from("team/first".to_owned()).is_ok());
    }

    #[test]
    fn inside_goes_by_component() {
        let name = |name: &str| RepositoryName::parse(name).expect("name");
        assert!(name("team/first").is_inside(&name("team")));
        assert!(!name("teams").is_inside(&name("team")));
        assert!(!name("team").is_inside(&name("team")));
    }
}
