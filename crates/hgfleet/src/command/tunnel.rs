//! `hgfleet tunnel` and `hgfleet machine-keys`: what makes several machines one fleet.

use super::roles::{block_on, stopped};
use crate::cli;
use crate::config::Config;
use anyhow::Context;
use hgfleet_tunnel::authority;
use std::process::ExitCode;

/// Carries the sockets of this machine's servers to the others, until a signal says stop.
///
/// # Errors
///
/// What keeps it from starting.
pub fn run(options: cli::Tunnel) -> anyhow::Result<ExitCode> {
    let config = Config::find(options.config.config.as_deref())?;
    let tunnel = config.tunnel_options(&options.machine)?;
    block_on(async move { hgfleet_tunnel::run(tunnel, stopped()?).await.context("tunnel") })
}

/// Makes a machine's certificate and key.
///
/// # Errors
///
/// No configuration; the name is none; what can't be read or written.
pub fn make_keys(options: cli::MachineKeys) -> anyhow::Result<ExitCode> {
    let config = Config::find(options.config.config.as_deref())?;
    let keys = config.keys_folder();
    let folder = options.out.as_deref().unwrap_or(&keys);
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    authority::issue(&keys, &options.machine, folder)?;
    println!("{} has the keys of {}", folder.display(), options.machine);
    Ok(ExitCode::SUCCESS)
}
