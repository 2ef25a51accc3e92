//! The fleet at a glance, read from the log: it needs no server of the fleet to answer.

use crate::config::{Config, LogBackend};
use anyhow::Context;
use hgfleet_log::membership::{Member, Role, SILENT_MS, ServerState};
use hgfleet_log::{Access, Log};
use rustix::process::{Pid, test_kill_process};
use serde::Serialize;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// What `hgfleet status --json` prints.
#[derive(Debug, Serialize)]
pub struct FleetState {
    /// The sequence up to which the whole fleet shows its users the log
    pub visible_position: Option<u64>,
    /// The log
    pub log: LogState,
    /// Who may append
    pub lease: LeaseState,
    /// The servers, by name
    pub servers: Vec<Server>,
}

/// The log's part of it.
#[derive(Debug, Serialize)]
pub struct LogState {
    /// The last record's sequence
    pub sequence: Option<u64>,
    /// Bytes on disk
    pub disk_bytes: u64,
}

/// The lease's part of it.
#[derive(Debug, Default, Serialize)]
pub struct LeaseState {
    /// The master's name
    pub holder: Option<String>,
    /// Its epoch
    pub epoch: Option<u64>,
}

/// One server.
#[derive(Debug, Serialize)]
pub struct Server {
    /// Its name in the configuration
    pub name: String,
    /// `master`, `standby`, `mirror` or `balancer`
    pub role: &'static str,
    /// `in-service`, `catching-up`, `draining` or `out`
    pub state: &'static str,
    /// Where it listens
    pub address: String,
    /// Its process
    pub pid: u32,
    /// Up to where the log is durable on its disk
    pub staged_position: Option<u64>,
    /// Up to where it has applied the log
    pub position: Option<u64>,
    /// How old the oldest record is that it has not applied, in seconds
    pub lag_seconds: f64,
    /// Why it isn't in service; empty when it is
    pub reason: String,
    /// Seconds since it was last heard of; none where it never was
    pub silent_seconds: Option<f64>,
    /// Bytes on its disk: staged records, stores, free
    pub disk: Disk,
}

/// Bytes on a server's disk.
#[derive(Debug, Default, Serialize)]
pub struct Disk {
    /// Records staged and not yet in the stores
    pub staged_bytes: u64,
    /// The stores
    pub store_bytes: u64,
    /// What is free
    pub free_bytes: u64,
}

impl FleetState {
    /// Opens the log where the configuration says, and reads it.
    ///
    /// # Errors
    ///
    /// There is no log there, or it can't be read.
    pub async fn read(config: &Config) -> anyhow::Result<FleetState> {
        FleetState::in_log(&*open_log(config).await?, config).await
    }

    /// Reads it from a log that is open.
    ///
    /// # Errors
    ///
    /// The log can't be read.
    pub async fn in_log(log: &dyn Log, config: &Config) -> anyhow::Result<FleetState> {
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis() as u64);
        let tail = log.end().await?;
        let view = log.view().await?;
        let lease = log.lease().await?;
        // The servers of an embedded log are all on this machine.
        let nearby = config.log.backend == LogBackend::Embedded;
        let mut servers: Vec<Server> =
            log.members().await?.into_iter().map(|member| Server::of(member, now_ms, nearby)).collect();
        for (name, role) in expected(config) {
            if !servers.iter().any(|server| server.name == name) {
                servers.push(Server::silent(name, role));
            }
        }
        servers.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(FleetState {
            visible_position: view.and_then(|view| view.visible).map(|sequence| sequence.get()),
            log: LogState { sequence: tail.map(|tail| tail.sequence.get()), disk_bytes: log.disk_bytes().await? },
            lease: LeaseState { epoch: tail.map(|tail| tail.epoch.get()), holder: lease.map(|lease| lease.holder) },
            servers,
        })
    }

    /// Takes those out that were last heard of more than `seconds` ago: what they said was said by an earlier run.
    pub fn heard_within(mut self, seconds: f64) -> FleetState {
        for server in &mut self.servers {
            if server.silent_seconds.is_some_and(|silent| silent > seconds) {
                server.state = ServerState::Out.as_str();
                server.reason = "not heard of since the start".to_owned();
            }
        }
        self
    }

    /// Whether every server that the configuration names is in service.
    pub fn is_whole(&self, config: &Config) -> bool {
        self.out_of_service(config).next().is_none()
    }

    /// The servers that are not in service, with the reasons, for one line.
    pub fn missing(&self, config: &Config) -> String {
        self.out_of_service(config)
            .map(|server| format!("{} ({})", server.name, server.reason))
            .collect::<Vec<_>>()
            .join(", ")
    }

    fn out_of_service(&self, config: &Config) -> impl Iterator<Item = &Server> {
        let named = expected(config);
        self.servers
            .iter()
            .filter(move |server| named.iter().any(|(name, _)| *name == server.name))
            .filter(|server| server.state != ServerState::InService.as_str())
    }
}

/// Opens the fleet's log for reading.
///
/// # Errors
///
/// There is no log where the configuration says, or it can't be reached.
pub async fn open_log(config: &Config) -> anyhow::Result<Arc<dyn Log>> {
    let location = config.log_location();
    let opened = location.open(Access::Read).await;
    opened.with_context(|| format!("cannot read the log in {location}; has the fleet been started?"))
}

/// The servers that the configuration names.
fn expected(config: &Config) -> Vec<(&str, Role)> {
    let mirrors = config.mirror.iter().map(|mirror| (mirror.name.as_str(), Role::Mirror));
    let balancers = config.balancer.iter().map(|balancer| (balancer.name.as_str(), Role::Balancer));
    let standbys = config.standby.iter().map(|standby| (standby.name.as_str(), Role::Standby));
    std::iter::once((config.master.name.as_str(), Role::Master))
        .chain(mirrors)
        .chain(standbys)
        .chain(balancers)
        .collect()
}

impl Server {
    /// A server that has said nothing since the fleet was made.
    fn silent(name: &str, role: Role) -> Server {
        Server {
            name: name.to_owned(),
            role: role.as_str(),
            state: ServerState::Out.as_str(),
            address: String::new(),
            pid: 0,
            staged_position: None,
            position: None,
            lag_seconds: 0.0,
            reason: "not heard of yet".to_owned(),
            silent_seconds: None,
            disk: Disk::default(),
        }
    }

    fn of(member: Member, now_ms: u64, nearby: bool) -> Server {
        let silent_ms = member.silent_ms(now_ms);
        let (state, reason) = if silent_ms > SILENT_MS {
            (ServerState::Out, format!("not heard of for {} seconds", silent_ms / 1000))
        } else if nearby && !runs(member.pid) {
            (ServerState::Out, format!("process {} has ended", member.pid))
        } else {
            (member.state, member.reason)
        };
        Server {
            name: member.name,
            role: member.role.as_str(),
            state: state.as_str(),
            address: member.address,
            pid: member.pid,
            staged_position: member.staged_position.map(|sequence| sequence.get()),
            position: member.position.map(|sequence| sequence.get()),
            lag_seconds: member.lag_seconds,
            reason,
            silent_seconds: Some(silent_ms as f64 / 1000.0),
            disk: Disk {
                staged_bytes: member.disk.staged_bytes,
                store_bytes: member.disk.store_bytes,
                free_bytes: member.disk.free_bytes,
            },
        }
    }
}

/// Whether there is such a process on this machine.
fn runs(pid: u32) -> bool {
    i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .is_some_and(|pid| test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
}
