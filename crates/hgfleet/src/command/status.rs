//! `hgfleet status`: the fleet at a glance.

use crate::cli;
use crate::config::Config;
use crate::fleet_state::FleetState;
use anyhow::Context;
use std::io::Write;
use std::process::ExitCode;

/// Prints it.
///
/// # Errors
///
/// No configuration, or no log where it says.
pub fn run(options: cli::Status) -> anyhow::Result<ExitCode> {
    let config = Config::find(options.config.config.as_deref())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    let state = runtime.block_on(FleetState::read(&config))?;
    let text = if options.json { serde_json::to_string_pretty(&state)? + "\n" } else { table(&state) };
    // Whoever closed our output has read enough.
    drop(std::io::stdout().write_all(text.as_bytes()));
    Ok(ExitCode::SUCCESS)
}

fn table(state: &FleetState) -> String {
    let number = |position: Option<u64>| position.map_or_else(|| "-".to_owned(), |position| position.to_string());
    let mut text = format!(
        "log at {}, visible {}, epoch {} held by {}\n",
        number(state.log.sequence),
        number(state.visible_position),
        number(state.lease.epoch),
        state.lease.holder.as_deref().unwrap_or("nobody"),
    );
    let mut rows =
        vec![["NAME", "ROLE", "STATE", "STAGED", "POSITION", "LAG", "PID", "ADDRESS", "REASON"].map(str::to_owned)];
    rows.extend(state.servers.iter().map(|server| {
        [
            server.name.clone(),
            server.role.to_owned(),
            server.state.to_owned(),
            number(server.staged_position),
            number(server.position),
            format!("{:.1} s", server.lag_seconds),
            server.pid.to_string(),
            server.address.clone(),
            server.reason.clone(),
        ]
    }));
    let mut widths = [0; 9];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    for row in &rows {
        let line: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        text.push_str(line.join("  ").trim_end());
        text.push('\n');
    }
    text
}
