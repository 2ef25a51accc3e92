//! Who may do what: accounts, rules, tokens.

use super::ConfigFile;
use clap::Subcommand;
use std::num::NonZeroU64;
use std::path::PathBuf;

/// `hgfleet access`
#[derive(Debug, Subcommand)]
pub enum Access {
    /// Say which rule decides what an account may do with a repository, and why
    Explain {
        /// The account's mail address; `-` for whoever has none
        mail: String,
        /// The repository's name; there need not be one
        repository: String,
        #[command(flatten)]
        config: ConfigFile,
    },
}

/// `hgfleet policy`
#[derive(Debug, Subcommand)]
pub enum Policy {
    /// Run the checks over pushes that the log has, and say which would be refused
    Test {
        /// How many of the repository's last pushes
        #[arg(long, value_name = "N", default_value = "20")]
        last: NonZeroU64,
        /// The repository's name
        repository: String,
        /// Rules to try, in place of those of the configuration
        #[arg(long, value_name = "FILE")]
        rules: Option<PathBuf>,
        #[command(flatten)]
        config: ConfigFile,
    },
}

/// `hgfleet token`
#[derive(Debug, Subcommand)]
pub enum Token {
    /// Make a token for an account, and print it, this once
    Create {
        /// The account's mail address
        mail: String,
        /// What it is for, in your words
        #[arg(long, value_name = "TEXT")]
        name: Option<String>,
        /// After how many days it ends [default: when it is revoked]
        #[arg(long, value_name = "DAYS")]
        expires: Option<u64>,
        /// The repositories that it is for, as patterns of the access rules [default: all]
        #[arg(long, value_name = "PATTERN", num_args = 1..)]
        repositories: Vec<String>,
        /// Let it bring LFS objects to repositories that the account may push to; without this it only reads
        #[arg(long)]
        uploads: bool,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// List the tokens: name, account, what for, when made, when they end, the day of the last use, for which repositories, `uploads` where they may
    List {
        /// Those of this account alone
        mail: Option<String>,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Refuse a token from now on
    Revoke {
        /// Its name in the list, 12 hexadecimal digits
        id: String,
        #[command(flatten)]
        config: ConfigFile,
    },
}

/// `hgfleet account`
#[derive(Debug, Subcommand)]
pub enum Account {
    /// Add an account, or another key to an account
    Add {
        /// The account's mail address
        mail: String,
        /// File with the public key (OpenSSH's format, `.pub`)
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// List the accounts
    List {
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Show an account: its state, its groups, its keys
    Show {
        /// The account's mail address
        mail: String,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// An account's keys
    #[command(subcommand)]
    Key(AccountKey),
    /// An account's groups
    #[command(subcommand)]
    Group(AccountGroup),
    /// Refuse an account's logins from now on
    Disable {
        /// The account's mail address
        mail: String,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Allow a disabled account's logins again
    Enable {
        /// The account's mail address
        mail: String,
        #[command(flatten)]
        config: ConfigFile,
    },
}

/// `hgfleet account key`
#[derive(Debug, Subcommand)]
pub enum AccountKey {
    /// Add a key to an account
    Add {
        /// The account's mail address
        mail: String,
        /// File with the public key (OpenSSH's format, `.pub`)
        file: PathBuf,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Take a key from an account
    Remove {
        /// The account's mail address
        mail: String,
        /// The key, as `account show` and `ssh-keygen -l` print it: `SHA256:…`
        fingerprint: String,
        #[command(flatten)]
        config: ConfigFile,
    },
}

/// `hgfleet account group`
#[derive(Debug, Subcommand)]
pub enum AccountGroup {
    /// Put an account into a group; the group is made where there is none
    Add {
        /// The account's mail address
        mail: String,
        /// The group's name
        group: String,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Take an account out of a group
    Remove {
        /// The account's mail address
        mail: String,
        /// The group's name
        group: String,
        #[command(flatten)]
        config: ConfigFile,
    },
}
