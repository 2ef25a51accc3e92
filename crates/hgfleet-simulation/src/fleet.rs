//! The fleet: real masters, mirrors and balancers, each on a simulated machine of its own.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hgfleet_balancer::authority::AuthorityFiles;
use hgfleet_balancer::{BalancerOptions, BalancerTimes};
use hgfleet_directory::DirectoryLocation;
use hgfleet_log::{LogId, LogLocation};
use hgfleet_master::{CommandOptions, Landing, MasterOptions, SessionLimits, SshLimits, StoreFormatName};
use hgfleet_mirror::{MirrorOptions, MirrorTimes};
use hgfleet_resync::ResyncOptions;

use crate::log::{Link, SimulatedLog};
use crate::world::{self, Chance};

/// What a server does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Master or standby.
    Master,
    /// A mirror.
    Mirror,
    /// A balancer.
    Balancer,
}

/// One server.
#[derive(Debug)]
pub struct Server {
    /// Its name.
    pub name: &'static str,
    /// What it does.
    pub kind: Kind,
    /// Its machine.
    pub node: usize,
    /// Its way to the log.
    pub link: Arc<Link>,
    /// Processes that it had.
    life: u32,
    running: bool,
    /// Why its process ended, once it has by itself.
    ended: Arc<Mutex<Option<String>>>,
    /// Where a balancer listens.
    address: Arc<Mutex<Option<SocketAddr>>>,
}

/// All servers.
#[derive(Debug)]
pub struct Fleet {
    /// The fleet's folder.
    pub folder: PathBuf,
    kit: PathBuf,
    /// The log.
    pub log: Arc<SimulatedLog>,
    /// The servers.
    pub servers: Vec<Server>,
    /// Threads of each server's runtime; none: all of it in one.
    workers: Option<usize>,
    /// How often mirrors and balancers look at the log by themselves.
    poll: Duration,
}

impl Fleet {
    /// A fleet of servers that do not run yet.
    pub fn new(
        folder: &Path,
        kit: &Path,
        servers: &[(&'static str, Kind)],
        workers: Option<usize>,
        seed: u64,
    ) -> Fleet {
        let log = SimulatedLog::new(LogId::from_bytes([7; 16]));
        let servers = servers.iter().enumerate().map(|(number, (name, kind))| Server {
            name,
            kind: *kind,
            node: world::add_node(name),
            link: Link::new(Chance::new(seed, 100 + number as u64)),
            life: 0,
            running: false,
            ended: Arc::default(),
            address: Arc::default(),
        });
        let servers = servers.collect();
        let poll = Duration::from_millis([20, 100, 250][Chance::new(seed, 99).below(3) as usize]);
        Fleet { folder: folder.to_owned(), kit: kit.to_owned(), log, servers, workers, poll }
    }

    /// Folder of the fleet's sockets.
    pub fn run_folder(&self) -> PathBuf {
        self.folder.join("run")
    }

    /// A server's folder, in its present life.
    pub fn data(&self, server: usize) -> PathBuf {
        let Server { name, life, .. } = &self.servers[server];
        self.folder.join(format!("{name}.{life}"))
    }

    /// Servers of this kind.
    pub fn of(&self, kind: Kind) -> Vec<usize> {
        (0..self.servers.len()).filter(|server| self.servers[*server].kind == kind).collect()
    }

    /// Where a balancer listens, once it does.
    pub fn address(&self, server: usize) -> Arc<Mutex<Option<SocketAddr>>> {
        self.servers[server].address.clone()
    }

    /// Whether a server's process runs; one that has ended is cleared away.
    pub fn runs(&mut self, server: usize) -> bool {
        let one = &mut self.servers[server];
        if one.running {
            let ended = one.ended.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if ended.is_some() || !world::is_alive(one.node) {
                world::kill(one.node);
                one.running = false;
                say(&format!("{} has ended: {}", one.name, ended.as_deref().unwrap_or("dead")));
            }
        }
        one.running
    }

    /// Kills a server's process.
    pub fn kill(&mut self, server: usize) {
        world::kill(self.servers[server].node);
        self.runs(server);
    }

    /// Takes a dead server's disk away: its next process finds nothing.
    pub fn empty_disk(&mut self, server: usize) {
        self.servers[server].life += 1;
    }

    /// Starts a server that does not run.
    ///
    /// # Errors
    /// Its folder can't be used.
    pub fn start(&mut self, server: usize) -> io::Result<()> {
        let before = self.data(server);
        self.servers[server].life += 1;
        let data = self.data(server);
        if before.exists() {
            self.take_over_disk(&before, &data)?;
        }
        let one = &mut self.servers[server];
        (one.running, one.ended, one.link) = (true, Arc::default(), one.link.clone());
        world::spare(one.node);
        say(&format!("{} starts", one.name));
        let log = LogLocation::Other(self.log.reached_over(&one.link));
        let (run, name, ended) = (self.folder.join("run"), one.name.to_owned(), one.ended.clone());
        let (workers, poll, kind, address) = (self.workers, self.poll, one.kind, one.address.clone());
        let (node, kit, first) = (one.node, self.kit.clone(), server == 0);
        world::spawn_on(node, move || {
            let why = match kind {
                Kind::Master => {
                    let options = master_options(name, data, log, run, &kit, first);
                    serve(workers, hgfleet_master::run(options, std::future::pending()))
                }
                Kind::Mirror => {
                    let times = MirrorTimes { poll, ..MirrorTimes::default() };
                    let resync = ResyncOptions::new(run.clone());
                    let options = MirrorOptions {
                        name,
                        data,
                        log,
                        run,
                        listener: None,
                        push_address: None,
                        access: None,
                        user_repositories: false,
                        directory: DirectoryLocation::Ldif(kit.join("directory.ldif")),
                        tokens_stale: Duration::from_secs(900),
                        bundle_cache_bytes: 0,
                        resync,
                        times,
                    };
                    serve(workers, hgfleet_mirror::run(options, std::future::pending()))
                }
                Kind::Balancer => {
                    let options = balancer_options(name, log, run, &kit, poll);
                    let bound = options.https.as_ref().and_then(|listener| listener.local_addr().ok());
                    *address.lock().unwrap_or_else(PoisonError::into_inner) = bound;
                    serve(workers, hgfleet_balancer::run(options, std::future::pending()))
                }
            };
            *ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
        });
        Ok(())
    }

    /// A dead process's files are the next one's. Those of SQLite are copied: the dead one, within this very process, seems to have
    /// them open still.
    fn take_over_disk(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::create_dir_all(to)?;
        let mut entries = fs::read_dir(from)?.collect::<io::Result<Vec<_>>>()?;
        entries.sort_by_key(|entry| entry.file_name());
        for entry in entries {
            let name = entry.file_name();
            let text = name.to_string_lossy();
            if text.ends_with("-shm") || text == "lock" {
                // Memory of the dead process, and its lock.
            } else if text.contains(".sqlite") {
                fs::copy(entry.path(), to.join(&name))?;
            } else {
                fs::rename(entry.path(), to.join(&name))?;
            }
        }
        // Locks in a store are told apart by its folder, and seem to be held by a live part of this process: it gets another folder.
        for hg in stores(to)? {
            let before = hg.with_extension("before");
            fs::rename(&hg, &before)?;
            fs::create_dir(&hg)?;
            for entry in fs::read_dir(&before)? {
                let name = entry?.file_name();
                fs::rename(before.join(&name), hg.join(&name))?;
            }
            fs::remove_dir(&before)?;
        }
        Ok(())
    }
}

/// The `.hg` folders of all repositories of a server.
///
/// # Errors
/// A folder can't be read.
pub fn stores(data: &Path) -> io::Result<Vec<PathBuf>> {
    let repositories = data.join("repos");
    if !repositories.exists() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(repositories)?.collect::<io::Result<Vec<_>>>()?;
    let mut found: Vec<PathBuf> =
        entries.iter().map(|entry| entry.path().join(".hg")).filter(|path| path.exists()).collect();
    found.sort();
    Ok(found)
}

/// Runs a role to its end, and says why it has ended.
fn serve<E: std::fmt::Display>(workers: Option<usize>, role: impl Future<Output = Result<(), E>>) -> String {
    let mut builder = match workers {
        Some(workers) => {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            builder.worker_threads(workers);
            builder
        }
        None => tokio::runtime::Builder::new_current_thread(),
    };
    let runtime = builder.enable_all().build().expect("a runtime");
    match runtime.block_on(role) {
        Ok(()) => "it was told to".to_owned(),
        Err(error) => error.to_string(),
    }
}

fn master_options(
    name: String,
    data: PathBuf,
    log: LogLocation,
    run: PathBuf,
    kit: &Path,
    first: bool,
) -> MasterOptions {
    MasterOptions {
        name,
        data,
        volume: None,
        log,
        retention: hgfleet_master::Retention::default(),
        resync: ResyncOptions::new(run.clone()),
        run,
        directory: DirectoryLocation::Ldif(kit.join("directory.ldif")),
        login: hgfleet_master::login::LoginOptions::default(),
        access: None,
        policy: None,
        host_key: kit.join("host"),
        ssh_addresses: Vec::new(),
        ssh_backend: None,
        program: "/bin/false".into(),
        first,
        address: "127.0.0.1:0".to_owned(),
        landing: Landing::default(),
        ssh: SshLimits::default(),
        session: SessionLimits::default(),
        commands: CommandOptions::default(),
        format: StoreFormatName::Current,
        told_wait: Duration::from_secs(5),
        append_wait: Duration::from_secs(30),
        lock_wait: Duration::from_secs(60),
        lock_limit: Duration::from_secs(3600),
        lease: Duration::from_secs(5),
        lag_max: Duration::from_secs(15),
        lag_records_max: 10_000,
        deletion_grace: Duration::from_secs(600),
        push_bytes_max: 1 << 20,
    }
}

fn balancer_options(name: String, log: LogLocation, run: PathBuf, kit: &Path, poll: Duration) -> BalancerOptions {
    BalancerOptions {
        name,
        log,
        run,
        http: None,
        https: TcpListener::bind("127.0.0.1:0").ok(),
        ssh: None,
        identity: Some(AuthorityFiles::below(kit).server),
        host: "localhost".to_owned(),
        hosts: Vec::new(),
        https_port: 443,
        masters: Vec::new(),
        mirrors: Vec::new(),
        trusted_proxy: None,
        trusted: Vec::new(),
        times: BalancerTimes { poll, ..BalancerTimes::default() },
    }
}

/// Says what happens, for who follows a run.
pub fn say(what: &str) {
    if std::env::var_os("HGFLEET_SIMULATION_LOG").is_some() {
        eprintln!("{:>10.6} {what}", world::now() as f64 / world::SECOND as f64);
    }
}
