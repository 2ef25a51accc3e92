//! What a push did, for its client, the log and the hooks.

use std::fs::File;

use serde::{Deserialize, Serialize};

use crate::{Node, Phase};

/// What one changegroup brought, counted as Mercurial counts it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangegroupOutcome {
    /// New changesets, in order.
    pub added: Vec<Node>,
    /// Changesets of the group that the repository had, in order.
    pub known: Vec<Node>,
    /// New revisions of files.
    pub changes: u64,
    /// File groups in the stream, those that brought nothing new included.
    pub files: u64,
    /// Heads gained, less heads lost, less new heads that close their branch. Secret and hidden changesets count, and the null
    /// revision is the head of an empty repository.
    pub heads_change: i64,
}

impl ChangegroupOutcome {
    /// The number that a client gets for its changegroup: never 0.
    pub fn return_code(&self) -> i64 {
        match self.heads_change {
            lost if lost < 0 => lost - 1,
            gained => gained + 1,
        }
    }
}

/// A change, ready for the log.
#[derive(Debug)]
pub struct PreparedChange {
    /// An encoded [`crate::change`], from its first byte on.
    pub file: File,
    /// Its length.
    pub bytes: u64,
    /// What it does.
    pub summary: PushSummary,
}

/// What a push did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushSummary {
    /// New changesets, in order.
    pub changesets: Vec<Node>,
    /// Bookmarks that moved, sorted by name: before and after, `None` where there is none.
    pub bookmarks: Vec<(Vec<u8>, Option<Node>, Option<Node>)>,
    /// Changesets whose phase moved, in order: before and after. A new changeset has no phase before, and is listed only if it did
    /// not become public.
    pub phases: Vec<(Node, Option<Phase>, Phase)>,
    /// New obsolescence markers.
    pub markers: u32,
}
