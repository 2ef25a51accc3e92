//! Waits until a fleet that was just started serves.

use crate::config::Config;
use crate::fleet_state::{FleetState, open_log};
use hgfleet_log::Log;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

/// How often to look.
const LOOK: Duration = Duration::from_millis(20);

/// Waits until every server is in service and the HTTPS door is open, at most `limit`; says how it ended, in one line.
pub async fn wait(config: &Config, https: SocketAddr, limit: Duration) -> String {
    let start = Instant::now();
    let mut log = None;
    loop {
        let state = look(&mut log, config).await.map(|state| state.heard_within(start.elapsed().as_secs_f64()));
        let whole = state.as_ref().is_ok_and(|state| state.is_whole(config));
        if whole && TcpStream::connect(https).await.is_ok() {
            return format!("The fleet is ready after {:.1} s.", start.elapsed().as_secs_f64());
        }
        if start.elapsed() >= limit {
            let missing = state.map_or_else(|error| format!("{error:#}"), |state| state.missing(config));
            return format!("The fleet is not whole after {} s: {missing}.", limit.as_secs());
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Looks at the fleet. The log is opened once it is there, and kept.
async fn look(log: &mut Option<Arc<dyn Log>>, config: &Config) -> anyhow::Result<FleetState> {
    let open = match log.take() {
        Some(open) => open,
        None => open_log(config).await?,
    };
    FleetState::in_log(&**log.insert(open), config).await
}
