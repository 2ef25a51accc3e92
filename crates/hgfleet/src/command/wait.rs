//! `hgfleet wait`: until everybody can read a record.

use crate::cli;
use crate::config::Config;
use crate::fleet_state::open_log;
use anyhow::{Context, bail};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// How often to look.
const LOOK: Duration = Duration::from_millis(20);

/// Waits until the visible position has reached the record.
///
/// # Errors
///
/// It has not within the time limit; the log can't be read.
pub fn run(options: cli::Wait) -> anyhow::Result<ExitCode> {
    let config = Config::find(options.config.config.as_deref())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    runtime.block_on(async {
        let log = open_log(&config).await?;
        let started = Instant::now();
        let limit = Duration::from_secs(options.timeout);
        loop {
            let visible = log.view().await?.and_then(|view| view.visible).map_or(0, |visible| visible.get());
            if visible >= options.sequence.get() {
                println!("record {} is visible", options.sequence);
                return Ok(ExitCode::SUCCESS);
            }
            if started.elapsed() >= limit {
                bail!(
                    "record {} is not visible after {} s, the fleet shows {visible}",
                    options.sequence,
                    options.timeout
                );
            }
            tokio::time::sleep(LOOK.min(limit.saturating_sub(started.elapsed()))).await;
        }
    })
}
