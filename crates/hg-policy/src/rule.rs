//! What one rule can say. Each table is one kind of check; what a rule does not say is off, but for [`Names`], [`Limits`] and the sources of
//! subrepositories that are never taken.

use serde::{Deserialize, Serialize};

use crate::asked::{External, Tree};

/// One rule: for which repositories, and which checks.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rule {
    /// Patterns of names.
    pub repositories: Vec<String>,
    /// Names that hurt a client.
    pub names: Names,
    /// How much one push may bring.
    pub limits: Limits,
    /// Subrepositories.
    pub subrepositories: Subrepositories,
    /// Named branches and their heads.
    pub branches: Branches,
    /// Changesets without parents.
    pub roots: Roots,
    /// Names that differ by case alone.
    pub case: Case,
    /// What commit messages must be like.
    pub messages: Messages,
    /// What commit messages must refer to.
    pub references: References,
    /// Who made the changesets.
    pub authors: Authors,
    /// Files.
    pub files: Files,
    /// Paths that only some groups change.
    pub protected: Vec<Protected>,
    /// Changesets as such.
    pub changesets: Changesets,
    /// Bookmarks.
    pub bookmarks: Bookmarks,
    /// Whether the tree is open.
    pub tree: Option<Tree>,
    /// Programs and servers that are asked, once all else is fine.
    pub external: Vec<External>,
}

/// Names that hurt a client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Names {
    /// Whether names are refused that some file system takes for a part `.hg`, that have control characters, that stand for a file and a
    /// folder at once; branches that a command takes for something else; links to what is no path.
    pub dangerous: bool,
    /// Whether names are refused that Windows can't make, or makes something else of.
    pub windows: bool,
    /// Bytes of a path.
    pub path_bytes_max: u32,
    /// Parts of a path.
    pub depth_max: u32,
}

impl Default for Names {
    fn default() -> Names {
        Names { dangerous: true, windows: true, path_bytes_max: 1024, depth_max: 100 }
    }
}

/// How much one push may bring. `None`: as much as the server takes at all.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// New changesets.
    pub changesets_max: Option<u64>,
    /// New file revisions.
    pub files_max: Option<u64>,
    /// Bytes of new file revisions, as a checkout writes them.
    pub bytes_max: Option<u64>,
    /// Paths that one changeset adds, changes or removes.
    pub changeset_files_max: Option<u64>,
    /// New heads.
    pub heads_max: Option<u64>,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            changesets_max: None,
            files_max: None,
            bytes_max: None,
            changeset_files_max: Some(1_000_000),
            heads_max: Some(10_000),
        }
    }
}

/// Which subrepositories may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SubrepositoriesAllowed {
    /// Those that need Mercurial alone.
    #[default]
    All,
    /// Those on [`Subrepositories::hosts`], and on the repository's own server.
    Hosts,
    /// None.
    None,
}

/// Subrepositories.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Subrepositories {
    /// Which.
    pub allowed: SubrepositoriesAllowed,
    /// Hosts.
    pub hosts: Vec<String>,
}

/// Named branches and their heads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Branches {
    /// Whether each branch may have one open head at most.
    pub one_head: bool,
    /// Whether a push may bring branches that the repository does not have.
    pub new: bool,
    /// Whether a push may have changesets of several branches.
    pub several: bool,
}

impl Default for Branches {
    fn default() -> Branches {
        Branches { one_head: false, new: true, several: true }
    }
}

/// Changesets without parents.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Roots {
    /// Whether a repository that has changesets may get another root.
    pub new: bool,
    /// Roots that it may get even so, 40 digits each.
    pub allowed: Vec<String>,
}

impl Default for Roots {
    fn default() -> Roots {
        Roots { new: true, allowed: Vec::new() }
    }
}

/// Names that differ by case alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Case {
    /// Whether a changeset may rename a file so that only the case of its name changes.
    pub renames: bool,
    /// Whether a manifest may have two names that are one to a file system which folds case or normalises.
    pub collisions: bool,
}

impl Default for Case {
    fn default() -> Case {
        Case { renames: true, collisions: true }
    }
}

/// What commit messages must be like.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Messages {
    /// What each must match.
    pub pattern: Option<String>,
    /// What none may match.
    pub forbidden: Option<String>,
    /// What the client is told to do.
    pub remedy: Option<String>,
    /// Whether those of merges are looked at too.
    pub merges: bool,
    /// Words that pardon the changeset that has them, and those before it in the push.
    #[serde(rename = "override")]
    pub pardon: Option<String>,
}

/// What commit messages must refer to.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct References {
    /// Whether each needs a line `Signed-off-by:` of its author.
    pub sign_off: bool,
    /// What a reference to a bug looks like; each needs one.
    pub bug: Option<String>,
}

/// Who made the changesets.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Authors {
    /// Whether they must be of the form `name <mail@host>`.
    pub form: bool,
    /// What they must match.
    pub pattern: Option<String>,
}

/// Files.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Files {
    /// Bytes of one file.
    pub bytes_max: Option<u64>,
    /// Patterns of paths that nobody may add or change.
    pub forbidden: Vec<String>,
    /// Whether symbolic links may be added or changed.
    pub symlinks: bool,
}

impl Default for Files {
    fn default() -> Files {
        Files { bytes_max: None, forbidden: Vec::new(), symlinks: true }
    }
}

/// Paths that only some groups change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Protected {
    /// Patterns.
    pub paths: Vec<String>,
    /// Groups, and mail addresses of accounts.
    pub groups: Vec<String>,
    /// Words that pardon the changeset that has them.
    #[serde(rename = "override", default)]
    pub pardon: Option<String>,
}

/// Changesets as such.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Changesets {
    /// Those that must not come (again), 40 digits each.
    pub forbidden: Vec<String>,
    /// Whether merges may come.
    pub merges: bool,
}

impl Default for Changesets {
    fn default() -> Changesets {
        Changesets { forbidden: Vec::new(), merges: true }
    }
}

/// Bookmarks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Bookmarks {
    /// Whether they may be moved.
    pub allowed: bool,
}

impl Default for Bookmarks {
    fn default() -> Bookmarks {
        Bookmarks { allowed: true }
    }
}
