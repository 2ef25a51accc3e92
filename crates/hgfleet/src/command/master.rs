//! `hgfleet master`: the master or a standby, from the configuration.

use super::roles::{block_on, stopped};
use crate::cli;
use crate::config::{Config, RepositoryFormat};
use anyhow::Context;
use hgfleet_master::{MasterOptions, SessionLimits, StoreFormatName};
use std::process::ExitCode;
use std::time::Duration;

/// How long a push waits for another one's write lock.
const LOCK_WAIT: Duration = Duration::from_secs(60);
/// How long a push may hold its lock before it hands its change over.
const LOCK_LIMIT: Duration = Duration::from_secs(3600);

/// Runs a master or standby until a signal says stop.
///
/// # Errors
///
/// What keeps it from starting or from going on.
pub fn run(options: cli::Role) -> anyhow::Result<ExitCode> {
    let config = Config::find(options.config.config.as_deref())?;
    let ssh = options.addresses.ssh.unwrap_or(config.ssh.listen);
    let standby = config.standby_named(options.name.as_deref())?;
    let (name, data, listen) = match standby {
        Some(standby) => (standby.name.clone(), standby.data_folder(), standby.listen),
        None => (config.master.name.clone(), config.master.data.clone(), None),
    };
    let options = MasterOptions {
        name: name.clone(),
        data: config.path(&data),
        volume: config.volume(),
        log: config.log_location(),
        run: config.run_folder(),
        directory: config.directory_location(),
        login: config.login(),
        access: config.access_rules(),
        policy: config.policy_rules(),
        host_key: config.path(&config.ssh.host_key),
        // The balancer has the public port; it hands connections over a socket.
        ssh_addresses: listen.into_iter().collect(),
        ssh_backend: config.ssh.backend,
        first: standby.is_none(),
        program: std::env::current_exe().context("cannot find this program's file")?,
        address: listen.unwrap_or(ssh).to_string(),
        landing: config.landing()?,
        ssh: config.ssh_limits(),
        session: SessionLimits::default(),
        commands: config.commands(),
        format: match config.repositories.format {
            RepositoryFormat::Current => StoreFormatName::Current,
            RepositoryFormat::Plain => StoreFormatName::Since49,
        },
        told_wait: Duration::from_millis(config.master.told_wait_ms),
        append_wait: Duration::from_millis(config.master.append_wait_ms),
        lock_wait: LOCK_WAIT,
        lock_limit: LOCK_LIMIT,
        lease: config.master.lease(),
        lag_max: Duration::from_secs(config.master.lag_seconds_max),
        lag_records_max: config.master.lag_records_max,
        retention: config.retention(),
        resync: config.resync_options(),
        deletion_grace: Duration::from_secs(config.repositories.deletion_grace_seconds),
        push_bytes_max: config.master.push_bytes_max,
    };
    block_on(async move { hgfleet_master::run(options, stopped()?).await.context(name) })
}
