//! `hgfleet master`, `mirror` and `balancer`: one role, from the configuration.

use crate::cli;
use crate::config::Config;
use crate::listeners::Passed;
use anyhow::Context;
use hgfleet_balancer::{BalancerOptions, BalancerTimes, Identity};
use hgfleet_log::sockets;
use hgfleet_mirror::{MirrorOptions, MirrorTimes};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// Runs a mirror until a signal says stop.
///
/// # Errors
///
/// What keeps it from starting.
pub fn mirror(options: cli::Role) -> anyhow::Result<ExitCode> {
    let config = Config::find(options.config.config.as_deref())?;
    let section = config.mirror_named(options.name.as_deref())?;
    let ssh = options.addresses.ssh.unwrap_or(config.ssh.listen);
    make_run_folder(&config)?;
    let listener = section.listen.map(|address| crate::listeners::bind("listen in [[mirror]]", address)).transpose()?;
    let options = MirrorOptions {
        name: section.name.clone(),
        data: config.path(&section.data_folder()),
        log: config.log_location(),
        run: config.run_folder(),
        listener,
        push_address: Some(config.push_url(ssh)),
        access: config.access_rules(),
        user_repositories: config.session.user_repositories,
        directory: config.directory_location(),
        tokens_stale: Duration::from_secs(config.http.tokens_stale_seconds),
        bundle_cache_bytes: config.http.bundle_cache_bytes,
        resync: config.resync_options(),
        times: MirrorTimes::default(),
    };
    block_on(async move { Ok(hgfleet_mirror::run(options, stopped()?).await?) })
}

/// Runs the balancer until a signal says stop.
///
/// # Errors
///
/// What keeps it from starting.
pub fn balancer(options: cli::Role) -> anyhow::Result<ExitCode> {
    let mut passed = Passed::take();
    let config = Config::find(options.config.config.as_deref())?;
    let ssh = options.addresses.ssh.unwrap_or(config.ssh.listen);
    let http = options.addresses.http.unwrap_or(config.http.listen);
    let https = options.addresses.https.unwrap_or(config.http.listen_https);
    let options = BalancerOptions {
        name: config.balancer_named(options.name.as_deref())?.name.clone(),
        log: config.log_location(),
        run: config.run_folder(),
        http: Some(passed.take_or_bind("http", "listen in [http]", http)?),
        https: Some(passed.take_or_bind("https", "listen_https in [http]", https)?),
        ssh: Some(passed.take_or_bind("ssh", "listen in [ssh]", ssh)?),
        identity: Some(Identity {
            certificate: config.path(&config.http.certificate),
            key: config.path(&config.http.key),
        }),
        host: match &config.http.host {
            Some(host) => host.clone(),
            None if https.ip().is_loopback() => "localhost".to_owned(),
            None => https.ip().to_string(),
        },
        hosts: vec![https.ip().to_string(), http.ip().to_string()],
        https_port: https.port(),
        masters: Vec::new(),
        mirrors: Vec::new(),
        trusted_proxy: config.trusted_proxy()?,
        trusted: config.proxy_protocol.from.clone(),
        times: BalancerTimes::default(),
    };
    block_on(async move { hgfleet_balancer::run(options, stopped()?).await.context("balancer") })
}

/// Makes the folder of the sockets: on a machine that has just begun, whichever role is first.
fn make_run_folder(config: &Config) -> anyhow::Result<()> {
    let folder = config.run_folder();
    sockets::make_folder(&folder).with_context(|| format!("cannot make {}", folder.display()))
}

/// Runs a role's future on a runtime of its own, with as many open files as the system allows: a connection takes two.
///
/// # Errors
///
/// The role's; no threads.
pub fn block_on(role: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<ExitCode> {
    let files = getrlimit(Resource::Nofile);
    // With fewer files a server still serves, only fewer at once.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: files.maximum, ..files });
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    runtime.block_on(role)?;
    Ok(ExitCode::SUCCESS)
}

/// Completes when SIGINT or SIGTERM arrives.
///
/// # Errors
///
/// The signals can't be handled.
pub fn stopped() -> anyhow::Result<impl Future<Output = ()> + Send> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot handle SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot handle SIGTERM")?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
