//! `hgfleet web`: repositories over HTTP, without a fleet; in the place of `hg serve`.

mod configuration;
mod daemon;
mod sites;
mod tls;

use crate::cli::Web;
use anyhow::{Context, bail};
use configuration::Configuration;
use hg_store::Repository;
use hg_store::config::Config;
use hgfleet_mirror::http::{Folders, NoteAccess, Site, serve};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use time::OffsetDateTime;
use time::macros::format_description;
use tokio::net::{TcpListener, lookup_host};
use tokio::signal::unix::{SignalKind, signal};

pub use configuration::{Configuration as StandaloneConfiguration, user};

/// How long requests that run may take to end after the server was told to stop.
const DRAIN: Duration = Duration::from_secs(5);

/// What the server goes by, of its options and of `[web]`.
struct Server {
    address: String,
    port: u16,
    ipv6: bool,
    prefix: String,
    access_log: Option<PathBuf>,
    error_log: Option<PathBuf>,
    certificate: Option<PathBuf>,
}

/// Serves until SIGINT or SIGTERM.
///
/// # Errors
///
/// A path that is no repository and no folder, a file of configuration that can't be read, an address that can't be bound.
pub fn run(options: Web) -> anyhow::Result<ExitCode> {
    if options.daemon && !options.daemon_child {
        return daemon::start();
    }
    if let Some(folder) = &options.cwd {
        std::env::set_current_dir(folder).with_context(|| format!("can't go to {}", folder.display()))?;
    }
    let mut configuration = Configuration::read(options.web_conf.as_deref(), &options.config)?;
    if let Some(name) = &options.name {
        configuration.set("name", name);
    }
    // Stock's `hg serve` has no operands: with some, it is `hgfleet web` as it has always been.
    let is_plain = !options.paths.is_empty();
    let repository = match is_plain || options.web_conf.is_some() {
        true => None,
        false => Some(sites::repository(options.repository.as_deref())?),
    };
    let configuration = Arc::new(configuration);
    let config = match &repository {
        Some(root) => Repository::open_configured(root, configuration.clone())?.current_config()?,
        None => configuration.of_server(),
    };
    let server = server(&options, &config, is_plain)?;
    if let Some(path) = &server.error_log {
        errors_to(path)?;
    }
    let note = access_log(server.access_log.as_deref())?;
    let acceptor = server.certificate.as_deref().map(tls::acceptor).transpose()?;
    let folders = match (&repository, is_plain) {
        (Some(repository), _) => Folders::new(std::slice::from_ref(repository), Some(configuration))?,
        (None, true) => Folders::new(&options.paths, Some(configuration))?,
        (None, false) => Folders::of(sites::of_configuration(&config)?, Some(configuration))?,
    };
    let scheme = if acceptor.is_some() { "https" } else { "http" };
    let repositories = Arc::new(folders.at(&server.prefix, scheme));
    let site = Arc::new(Site { repositories, prefix: server.prefix.clone(), note });
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("can't start threads")?;
    runtime.block_on(async {
        let listener = listen(&server).await?;
        let bound = listener.local_addr()?;
        let url = format!("{scheme}://{}{}/", shown(bound), server.prefix);
        if options.print_url {
            println!("{url}");
        } else if is_plain {
            println!("listening at {url}");
        } else if options.verbose || (!options.quiet && options.port.as_deref().is_none_or(|port| port == "0")) {
            // What stock says when nobody has chosen the port.
            println!("listening at {url} (bound to {}:{})", bound_to(bound), bound.port());
        }
        std::io::stdout().flush()?;
        if let Some(path) = &options.pid_file {
            let id = format!("{}\n", std::process::id());
            std::fs::write(path, id).with_context(|| format!("can't write {}", path.display()))?;
        }
        if options.daemon_child {
            daemon::is_ready(server.error_log.is_some())?;
        }
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let shutdown = async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        };
        match acceptor {
            Some(acceptor) => serve(tls::TlsListener::new(listener, acceptor), site, shutdown, DRAIN).await,
            None => serve(listener, site, shutdown, DRAIN).await,
        }
        anyhow::Ok(())
    })?;
    // Threads that still make a stream for a client that is gone end with the process.
    runtime.shutdown_background();
    Ok(ExitCode::SUCCESS)
}

/// Puts options over `[web]`, and that over what there is without either.
fn server(options: &Web, config: &Config, is_plain: bool) -> anyhow::Result<Server> {
    let said = |key: &str| {
        let value = config.get(b"web", key.as_bytes()).filter(|value| !value.is_empty())?;
        Some(String::from_utf8_lossy(value).into_owned())
    };
    let path = |option: &Option<PathBuf>, key: &str| option.clone().or_else(|| said(key).map(PathBuf::from));
    let port = options.port.clone().or_else(|| said("port")).unwrap_or_else(|| "8000".to_owned());
    let port = match port.as_str() {
        "http" => 80,
        "https" => 443,
        number => number.parse().with_context(|| format!("{number:?} is no port"))?,
    };
    let prefix = options.prefix.clone().or_else(|| said("prefix")).unwrap_or_default();
    let prefix = prefix.trim_matches('/');
    let is_plain_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    if !prefix.bytes().all(is_plain_part) || prefix.split('/').any(|part| part.starts_with('.')) {
        bail!("{prefix:?} can't be the beginning of a path. Take letters, digits, -, _, ~ and single slashes");
    }
    // `hg serve` listens everywhere, and notes requests on standard output.
    let (everywhere, output) = if is_plain { ("127.0.0.1", None) } else { ("", Some(PathBuf::from("-"))) };
    let access_log = path(&options.access_log, "accesslog").or(output);
    Ok(Server {
        address: options.address.clone().or_else(|| said("address")).unwrap_or_else(|| everywhere.to_owned()),
        port,
        ipv6: options.ipv6 || config.get_bool(b"web", b"ipv6").unwrap_or(false),
        prefix: if prefix.is_empty() { String::new() } else { format!("/{prefix}") },
        // A daemon has no output.
        access_log: access_log.filter(|path| !(options.daemon_child && path == Path::new("-"))),
        error_log: path(&options.error_log, "errorlog").filter(|path| path != Path::new("-")),
        certificate: path(&options.certificate, "certificate"),
    })
}

async fn listen(server: &Server) -> anyhow::Result<TcpListener> {
    let host = server.address.trim_start_matches('[').trim_end_matches(']');
    let host = match (host, server.ipv6) {
        ("", false) => "0.0.0.0",
        ("", true) => "::",
        (host, _) => host,
    };
    let failed = || format!("can't listen on {host}:{}", server.port);
    let found: Vec<SocketAddr> = lookup_host((host, server.port)).await.with_context(failed)?.collect();
    // A name may stand for addresses of both kinds.
    let wanted = found.iter().find(|address| address.is_ipv6() == server.ipv6);
    let wanted = wanted.or(found.first().filter(|_| !server.ipv6)).copied();
    let wanted = wanted.context("it has no address of IPv6").with_context(failed)?;
    TcpListener::bind(wanted).await.with_context(failed)
}

/// The address as a client may write it.
fn shown(bound: SocketAddr) -> String {
    match bound.ip().is_unspecified() {
        true => format!("localhost:{}", bound.port()),
        false => bound.to_string(),
    }
}

fn bound_to(bound: SocketAddr) -> String {
    match bound {
        SocketAddr::V4(address) if address.ip().is_unspecified() => "*".to_owned(),
        SocketAddr::V4(address) => address.ip().to_string(),
        SocketAddr::V6(address) => format!("[{}]", address.ip()),
    }
}

fn appended(path: &Path) -> anyhow::Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| format!("can't write to {}", path.display()))
}

/// What goes to standard error goes to a file from now on.
fn errors_to(path: &Path) -> anyhow::Result<()> {
    daemon::errors_to(&appended(path)?).with_context(|| format!("can't write to {}", path.display()))
}

/// Returns what takes the lines of the access log: `-` is standard output.
fn access_log(path: Option<&Path>) -> anyhow::Result<Option<NoteAccess>> {
    let Some(path) = path else { return Ok(None) };
    let output: Mutex<Box<dyn Write + Send>> = Mutex::new(match path == Path::new("-") {
        true => Box::new(std::io::stdout()),
        false => Box::new(appended(path)?),
    });
    Ok(Some(Box::new(move |line| {
        let format = format_description!("[day]/[month repr:short]/[year] [hour]:[minute]:[second]");
        let time = OffsetDateTime::now_utc().format(format).unwrap_or_default();
        let (peer, rest) = line.split_once(' ').unwrap_or((line, ""));
        let mut output = output.lock().unwrap_or_else(PoisonError::into_inner);
        let whole = format!("{peer} - - [{time}] {rest}\n");
        if let Err(error) = output.write_all(whole.as_bytes()).and_then(|()| output.flush()) {
            tracing::warn!(%error, "a line of the access log is lost");
        }
    })))
}
