//! `hgfleet web`: repositories over HTTP, without a fleet.

use crate::cli::Web;
use anyhow::Context;
use hgfleet_mirror::http::{Folders, FromRepositories, serve};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// How long requests that run may take to end after the server was told to stop.
const DRAIN: Duration = Duration::from_secs(5);

/// Serves until SIGINT or SIGTERM.
///
/// # Errors
///
/// A path that is no repository and no folder, an address that can't be bound.
pub fn run(options: Web) -> anyhow::Result<ExitCode> {
    let folders = Folders::new(&options.paths)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("can't start threads")?;
    runtime.block_on(async {
        let host = options.address.trim_start_matches('[').trim_end_matches(']');
        let listener = TcpListener::bind((host, options.port))
            .await
            .with_context(|| format!("can't listen on {}:{}", options.address, options.port))?;
        println!("listening at http://{}/", listener.local_addr()?);
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let shutdown = async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        };
        serve(listener, Arc::new(FromRepositories(Arc::new(folders))), shutdown, DRAIN).await;
        anyhow::Ok(())
    })?;
    // Threads that still make a stream for a client that is gone end with the process.
    runtime.shutdown_background();
    Ok(ExitCode::SUCCESS)
}
