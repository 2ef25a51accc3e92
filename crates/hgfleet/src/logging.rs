//! Structured logs, on standard error.

use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// What is logged where `HGFLEET_LOG` says nothing: `info` of ours, `warn` of the libraries.
const DEFAULT_FILTER: &str = "warn,hgfleet=info,hgfleet_master=info,hgfleet_mirror=info,hgfleet_balancer=info,\
                              hgfleet_replica=info,hgfleet_log=info,hgfleet_directory=info,hg_wire=info";

/// Starts logging: one line an event for a terminal, one JSON object an event where `HGFLEET_LOG_FORMAT=json`.
///
/// `HGFLEET_LOG` filters as `tracing_subscriber::EnvFilter` does, for example `debug` or `hgfleet_master=trace`.
pub fn start() {
    let filter = EnvFilter::try_from_env("HGFLEET_LOG").unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    if std::env::var("HGFLEET_LOG_FORMAT").is_ok_and(|format| format == "json") {
        builder.json().init();
    } else {
        builder.init();
    }
}
