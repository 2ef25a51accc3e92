//! `hgfleet serve`: the wire protocol for one repository on standard input and output.

use super::web::{StandaloneConfiguration, user};
use crate::cli::Serve;
use anyhow::Context;
use hg_wire::standalone::StandaloneHost;
use std::io;
use std::process::ExitCode;
use std::sync::Arc;

/// Serves one client until it closes its side.
///
/// # Errors
///
/// The repository can't be served, or the client's connection broke in the middle of a command.
pub fn run(options: Serve) -> anyhow::Result<ExitCode> {
    let root = &options.repository;
    let configuration = Arc::new(StandaloneConfiguration::read(None, &options.config)?);
    let mut host = StandaloneHost::open_configured(root, configuration, |line| eprint!("{line}"))
        .with_context(|| format!("can't serve {}", root.display()))?;
    let hidden_for = options.hidden.then(user);
    hg_wire::ssh::serve_for(io::stdin().lock(), io::stdout().lock(), io::stderr(), &mut host, hidden_for.as_deref())?;
    Ok(ExitCode::SUCCESS)
}
