//! The fleet as a whole: its log, who is master, who serves.

use super::ConfigFile;
use clap::{Args, Subcommand};
use std::num::NonZeroU64;

/// `hgfleet log`
#[derive(Debug, Subcommand)]
pub enum Log {
    /// Print the last records, or those from a sequence on, one a line
    List {
        /// The first record to print [default: so many before the end]
        #[arg(long, value_name = "SEQUENCE")]
        from: Option<NonZeroU64>,
        /// Most records to print
        #[arg(long, value_name = "COUNT", default_value_t = 50)]
        limit: u64,
        #[command(flatten)]
        form: LogForm,
    },
    /// Print all that one record says
    Show {
        /// The record, as in `stored as 1234`
        sequence: NonZeroU64,
        #[command(flatten)]
        form: LogForm,
    },
    /// Print the last ten records, and each that comes, until it is told to stop
    Tail {
        #[command(flatten)]
        form: LogForm,
    },
}

/// How records are printed
#[derive(Debug, Args)]
pub struct LogForm {
    /// Print each as a JSON object on a line of its own
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub config: ConfigFile,
}

/// `hgfleet read-only`, `hgfleet repo read-only`
#[derive(Debug, Args)]
pub struct ReadOnly {
    /// Refuse pushes from now on, and give whoever pushes this reason
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Take pushes again
    #[arg(long, conflicts_with = "reason")]
    pub off: bool,
    #[command(flatten)]
    pub config: ConfigFile,
}

/// `hgfleet failover`
#[derive(Debug, Args)]
pub struct Failover {
    /// The standby that becomes master [default: the one that lags least]
    #[arg(long, value_name = "NAME")]
    pub to: Option<String>,
    #[command(flatten)]
    pub config: ConfigFile,
}

/// `hgfleet wait`
#[derive(Debug, Args)]
pub struct Wait {
    /// The record, as in `stored as 1234`
    #[arg(value_name = "SEQUENCE")]
    pub sequence: NonZeroU64,
    /// How long to wait, in seconds
    #[arg(long, value_name = "S", default_value_t = 10)]
    pub timeout: u64,
    #[command(flatten)]
    pub config: ConfigFile,
}

/// `hgfleet drain`, `undrain`
#[derive(Debug, Args)]
pub struct Drain {
    /// The mirror
    pub name: String,
    #[command(flatten)]
    pub config: ConfigFile,
}

/// `hgfleet status`
#[derive(Debug, Args)]
pub struct Status {
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub config: ConfigFile,
}
