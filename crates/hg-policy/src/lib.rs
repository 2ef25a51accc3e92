//! What a push may bring, by rules: checks over its changesets, files and names, while it is prepared.
//!
//! [`PolicyRules`] are read from a file; the first [`Rule`] that matches a repository's name counts for it. [`Checks`] are one rule at
//! work on one push: an [`Observer`](hg_store::observe::Observer) that is told what the push brings and says in the end whether it is
//! taken. All checks that a push fails are told at once, each with what it found: changeset and file, the first twenty of them.

mod asked;
mod checks;
mod external;
mod findings;
mod folding;
mod patterns;
mod pushed;
mod rule;
mod rules;
mod shown;
mod wanted;

pub use asked::{External, Tree, WhenUnknown};
pub use checks::Checks;
pub use external::{BUNDLE, ExternalChecks, Place};
pub use rule::{
    Authors, Bookmarks, Branches, Case, Changesets, Files, Limits, Messages, Names, Protected, References, Roots, Rule,
    Subrepositories, SubrepositoriesAllowed,
};
pub use rules::{PolicyControl, PolicyRules};

/// Whose push it is, and to what.
#[derive(Debug, Clone, Default)]
pub struct Pusher {
    /// The repository's name, for messages.
    pub repository: String,
    /// The account's mail address.
    pub account: String,
    /// Its groups.
    pub groups: Vec<String>,
}
