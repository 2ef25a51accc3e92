//! What a rule says of others who are asked: a file, a program, a server.

use serde::{Deserialize, Serialize};

/// What counts while nobody can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WhenUnknown {
    /// Pushes are refused.
    #[default]
    Refuse,
    /// Pushes are taken.
    Take,
}

/// Whether the tree is open. The answer is its state (`open`, `closed` or `approval`), and behind a blank why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tree {
    /// The file that has the answer; or
    #[serde(default)]
    pub file: Option<std::path::PathBuf>,
    /// where it is read, over HTTP or HTTPS.
    #[serde(default)]
    pub url: Option<String>,
    /// Seconds that a server may take for it.
    #[serde(default = "tree_seconds")]
    pub seconds_max: u32,
    /// What counts without an answer.
    #[serde(default)]
    pub unknown: WhenUnknown,
    /// Words in the tip's message by which a push is taken though the tree is closed; empty: none.
    #[serde(rename = "override", default = "closed_tree")]
    pub pardon: String,
    /// What the tip's message must match where approval is required.
    #[serde(default = "approved")]
    pub approval: String,
}

/// A program or a server that is asked whether a push is taken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct External {
    /// What messages call it.
    pub name: String,
    /// A program with its whole path, and its arguments; or
    #[serde(default)]
    pub program: Vec<String>,
    /// where the push is described to, over HTTP or HTTPS.
    #[serde(default)]
    pub url: Option<String>,
    /// Seconds that it may take.
    #[serde(default = "external_seconds")]
    pub seconds_max: u32,
    /// What counts where it gives no answer.
    #[serde(default)]
    pub unknown: WhenUnknown,
}

fn external_seconds() -> u32 {
    30
}

fn tree_seconds() -> u32 {
    5
}

fn closed_tree() -> String {
    "CLOSED TREE".to_owned()
}

fn approved() -> String {
    r"\ba=\S+".to_owned()
}
