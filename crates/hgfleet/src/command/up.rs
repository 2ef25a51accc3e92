//! `hgfleet up`: the whole fleet on one machine.

use crate::config::{self, Config};
use crate::data_folder::DataFolder;
use crate::listeners;
use crate::make_missing::{self, Made};
use crate::supervise::{Role, keep_running};
use crate::{cli, ready};
use anyhow::{Context, bail};
use std::ffi::OsString;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::LocalSet;

/// How long the first lines wait for the fleet to be ready, before they are printed with what is missing.
const READY_WAIT: Duration = Duration::from_secs(20);

/// How long roles that a killed fleet left behind may still hold its addresses: the longest that a balancer drains.
const LEFT_BEHIND_WAIT: Duration = Duration::from_secs(7);

/// Makes what is missing, binds the public addresses, and runs the roles until a signal says stop.
///
/// # Errors
///
/// The data folder is another fleet's, or can't be written; an address is in use.
pub fn run(options: cli::Up) -> anyhow::Result<ExitCode> {
    let file = options.data.join(config::FILE_NAME);
    // Everything that can refuse comes before anything is made.
    let existing = if file.exists() { Some(Config::read(&file)?) } else { None };
    if existing.as_ref().is_some_and(|config| !config.machine.is_empty()) {
        bail!(
            "{} has several machines: start this one's servers one by one, and its tunnel (docs/several-machines.md)",
            file.display()
        );
    }
    let folder = if options.data.exists() { Some(DataFolder::open(&options.data)?) } else { None };
    let doors = if folder.is_some() {
        Doors::bind_patiently(&options, existing.as_ref())?
    } else {
        Doors::bind(&options, existing.as_ref())?
    };
    let folder = match folder {
        Some(folder) => folder,
        None => DataFolder::open(&options.data)?,
    };
    let made = make_missing::in_folder(&folder, &doors.addresses)?;
    let config = Config::read(&folder.path().join(config::FILE_NAME))?;

    // One thread: children are bound to the thread that starts them.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    LocalSet::new().block_on(&runtime, supervise(&config, doors, &made))?;
    Ok(ExitCode::SUCCESS)
}

/// The public addresses.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    /// SSH
    pub ssh: SocketAddr,
    /// HTTP, redirects
    pub http: SocketAddr,
    /// HTTPS
    pub https: SocketAddr,
}

struct Doors {
    addresses: Addresses,
    sockets: Vec<(&'static str, TcpListener)>,
}

impl Doors {
    /// Binds them, and waits where an address is in use: a fleet that was killed leaves roles that end by themselves,
    /// but not at once.
    fn bind_patiently(options: &cli::Up, existing: Option<&Config>) -> anyhow::Result<Doors> {
        let start = Instant::now();
        loop {
            match Doors::bind(options, existing) {
                Err(_) if start.elapsed() < LEFT_BEHIND_WAIT => std::thread::sleep(Duration::from_millis(50)),
                bound => return bound,
            }
        }
    }

    fn bind(options: &cli::Up, existing: Option<&Config>) -> anyhow::Result<Doors> {
        let ssh = existing.map(|config| config.ssh.clone()).unwrap_or_default().listen;
        let http = existing.map(|config| config.http.clone()).unwrap_or_default();
        let mut addresses = Addresses {
            ssh: options.ssh.unwrap_or(ssh),
            http: options.http.unwrap_or(http.listen),
            https: options.https.unwrap_or(http.listen_https),
        };
        let mut sockets = Vec::new();
        for (name, option, address) in [
            ("http", "--http", &mut addresses.http),
            ("https", "--https", &mut addresses.https),
            ("ssh", "--ssh", &mut addresses.ssh),
        ] {
            let socket = listeners::bind(option, *address)?;
            // Port 0 asks for any free port.
            *address = socket.local_addr().context("cannot tell the address of a listening socket")?;
            sockets.push((name, socket));
        }
        Ok(Doors { addresses, sockets })
    }
}

async fn supervise(config: &Config, doors: Doors, made: &Made) -> anyhow::Result<()> {
    let (stop, stopped) = watch::channel(false);
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot handle SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot handle SIGTERM")?;
    let running: Vec<_> = roles(config, doors.addresses, doors.sockets)?
        .into_iter()
        .map(|role| tokio::task::spawn_local(keep_running(role, stopped.clone())))
        .collect();

    let ready = async {
        let state = ready::wait(config, doors.addresses.https, READY_WAIT).await;
        print!("{}", crate::welcome::text(config, doors.addresses, made, &state));
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = ready => {}
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    // The receivers are gone only where every role has ended by itself, which none does.
    let _ = stop.send(true);
    for role in running {
        role.await.context("a role's supervision failed")?;
    }
    Ok(())
}

fn roles(
    config: &Config,
    addresses: Addresses,
    sockets: Vec<(&'static str, TcpListener)>,
) -> anyhow::Result<Vec<Role>> {
    let program = std::env::current_exe().context("cannot tell where this program lies")?;
    let file = config.folder.join(config::FILE_NAME);
    let role = |subcommand: &str, name: &str, sockets| Role {
        name: name.to_owned(),
        program: program.clone(),
        arguments: arguments(subcommand, name, &file, addresses),
        sockets,
    };
    let mut roles = vec![role("master", &config.master.name, Vec::new())];
    roles.extend(config.standby.iter().map(|standby| role("master", &standby.name, Vec::new())));
    roles.extend(config.mirror.iter().map(|mirror| role("mirror", &mirror.name, Vec::new())));
    roles.push(role("balancer", &config.balancer_named(None)?.name, sockets));
    Ok(roles)
}

fn arguments(subcommand: &str, name: &str, file: &Path, addresses: Addresses) -> Vec<OsString> {
    let mut arguments: Vec<OsString> =
        vec![subcommand.into(), "--config".into(), file.into(), "--name".into(), name.into()];
    for (option, address) in [("--ssh", addresses.ssh), ("--http", addresses.http), ("--https", addresses.https)] {
        arguments.push(option.into());
        arguments.push(address.to_string().into());
    }
    arguments
}
