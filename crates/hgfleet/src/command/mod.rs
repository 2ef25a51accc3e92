//! One file per subcommand.

mod access;
mod account;
mod clone_bundle;
mod drain;
mod exec;
mod failover;
mod import;
mod init;
mod log;
mod master;
mod policy;
mod pull_bundle;
mod read_only;
mod repo;
mod resync;
mod roles;
mod serve;
mod session;
mod status;
mod token;
mod tunnel;
pub mod up;
mod wait;
mod web;

use crate::cli::{Cli, Command};
use std::process::ExitCode;

/// Runs the subcommand.
///
/// # Errors
///
/// What failed, on what, and what to do; printed as one line, exit status 1.
pub fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Up(options) => up::run(options),
        Command::Mirror(options) => roles::mirror(options),
        Command::Balancer(options) => roles::balancer(options),
        Command::Account(command) => account::run(command),
        Command::Access(command) => access::run(command),
        Command::Policy(command) => policy::run(command),
        Command::ReadOnly(options) => read_only::run(None, &options),
        Command::Token(command) => token::run(command),
        Command::Failover(options) => failover::run(options),
        Command::Init(options) => init::run(options),
        Command::Tunnel(options) => tunnel::run(options),
        Command::MachineKeys(options) => tunnel::make_keys(options),
        Command::Log(command) => log::run(command),
        Command::Wait(options) => wait::run(options),
        Command::Drain(options) => drain::run(options, true),
        Command::Undrain(options) => drain::run(options, false),
        Command::Status(options) => status::run(options),
        Command::Serve(options) => serve::run(options),
        Command::Web(options) => web::run(options),
        Command::Session(options) => session::run(options),
        Command::AuthorizedKeys(options) => session::print_keys(options),
        Command::Master(options) => master::run(options),
        Command::Repo(command) => repo::run(command),
    }
}
