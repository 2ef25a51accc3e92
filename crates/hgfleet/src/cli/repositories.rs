//! `hgfleet repo`.

use super::{ConfigFile, ReadOnly};
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// What belongs to one repository.
#[derive(Debug, Args)]
pub struct OfRepository {
    /// Name of the repository
    pub name: String,
    #[command(flatten)]
    pub config: ConfigFile,
}

/// `hgfleet repo clone-bundle`
#[derive(Debug, Subcommand)]
pub enum CloneBundle {
    /// Make a bundle of all public changesets, which every server hands out as a file; or name one that lies elsewhere
    Add {
        /// Name of the repository
        name: String,
        /// What it is: zstd-v2, gzip-v2, none-v2 or none-streamv2; with --url any BUNDLESPEC
        #[arg(long = "type", value_name = "TYPE", default_value = "zstd-v2")]
        kind: String,
        /// Where it lies already; nothing is made then
        #[arg(long, value_name = "URL")]
        url: Option<String>,
        /// Say more of it to clients, such as `REQUIRESNI=true`; may be given several times
        #[arg(long, value_name = "KEY=VALUE")]
        attribute: Vec<String>,
        /// In the place of those of this type
        #[arg(long)]
        replace: bool,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Print the manifest, as clients get it
    List(OfRepository),
    /// Remove a bundle
    Remove {
        /// Name of the repository
        name: String,
        /// Its URL, or its file name
        bundle: String,
        #[command(flatten)]
        config: ConfigFile,
    },
}

/// `hgfleet repo pull-bundle`
#[derive(Debug, Subcommand)]
pub enum PullBundle {
    /// Make a bundle of these changesets and their ancestors, which who pulls gets as a file
    Add {
        /// Name of the repository
        name: String,
        /// What ends it: a hash, bookmark, tag or branch
        #[arg(value_name = "REV", required = true)]
        heads: Vec<String>,
        /// What is not in it, with its ancestors; may be given several times
        #[arg(long = "base", value_name = "REV")]
        bases: Vec<String>,
        /// What it is: zstd-v2, gzip-v2 or none-v2
        #[arg(long = "type", value_name = "TYPE", default_value = "zstd-v2")]
        kind: String,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Print the manifest
    List(OfRepository),
    /// Remove a bundle
    Remove {
        /// Name of the repository
        name: String,
        /// Its file name
        bundle: String,
        #[command(flatten)]
        config: ConfigFile,
    },
}

/// `hgfleet repo`
#[derive(Debug, Subcommand)]
pub enum Repo {
    /// Create an empty repository
    Create {
        /// Name, such as `team/first`
        name: String,
        /// Keep pushed draft changesets draft
        #[arg(long)]
        non_publishing: bool,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Delete a repository; it is kept for a while, and its name is free at once
    Delete {
        /// Name
        name: String,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Bring back a deleted repository as it was
    Restore {
        /// The name that it had; of several, the one that was deleted last
        name: String,
        /// Another name to give it
        #[arg(long = "as", value_name = "NAME")]
        new_name: Option<String>,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Give a repository another name
    Rename {
        /// Name
        name: String,
        /// New name
        new_name: String,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Show a repository's `hgrc`, or change it on every server
    Config {
        /// Name
        name: String,
        /// Set a key, such as `phases.publish=False`; may be given several times
        #[arg(long, value_name = "SECTION.NAME=VALUE")]
        set: Vec<String>,
        /// Remove a key; may be given several times
        #[arg(long, value_name = "SECTION.NAME")]
        unset: Vec<String>,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Bundles that clients clone from, in the place of asking the servers for one each
    #[command(subcommand)]
    CloneBundle(CloneBundle),
    /// Bundles that clients get when they pull a part of history
    #[command(subcommand)]
    PullBundle(PullBundle),
    /// Describe a repository in one line, for its page and for lists
    Describe {
        /// Name
        name: String,
        /// The description; empty: none
        text: String,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Show whether a repository is read only, or make it so, or end that
    ReadOnly {
        /// Name
        name: String,
        #[command(flatten)]
        options: ReadOnly,
    },
    /// Run a command that rewrites a repository (strip, censor, debugupgraderepo, …) on a copy, and exchange it on every
    /// server; pushes to it wait meanwhile
    Exec {
        /// Name
        name: String,
        #[command(flatten)]
        config: ConfigFile,
        /// The command: `-- hg …`
        #[arg(last = true, required = true, value_name = "COMMAND")]
        command: Vec<std::ffi::OsString>,
    },
    /// List the repositories
    List {
        /// Those that were deleted and can be brought back, with the times of both
        #[arg(long)]
        deleted: bool,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Take in an existing repository from a folder on this machine, or all that lie below a folder
    Import {
        /// The folder with the `.hg`, or one with such folders in it
        path: PathBuf,
        /// Name to give it [default: the folder's name]; of a folder of repositories, what their names begin with
        name: Option<String>,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Rebuild and hash every revision, check links, compare the digests of all servers; nothing waits for it
    Verify {
        /// Name
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        name: Option<String>,
        /// All repositories, one after the other
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Put a fresh copy of a repository in the place of what a server has
    Resync {
        /// Name
        name: String,
        /// The server that is to take the copy [default: each on which the repository is in quarantine]
        #[arg(long, value_name = "SERVER")]
        server: Option<String>,
        #[command(flatten)]
        config: ConfigFile,
    },
}
