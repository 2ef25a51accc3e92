//! The door's limits: what is told from outside, with defaults.

use std::time::Duration;

use ipnet::IpNet;

/// Limits of the SSH door. Each server counts for itself. Where addresses are counted, all of an IPv6 network of 64 bits are one.
#[derive(Debug, Clone)]
pub struct SshLimits {
    /// Connections at a time. Default 1,000.
    pub connections_max: usize,
    /// Connections at a time that have not logged in yet. Where there are more, the one ends that has waited longest. Default 100.
    pub unauthenticated_max: usize,
    /// The same from one address; what comes above is refused. Default 20.
    pub unauthenticated_per_address_max: usize,
    /// Time to log in. Default 30 s.
    pub login_grace: Duration,
    /// Keys that may be tried on one connection. Default 6.
    pub auth_attempts_max: usize,
    /// Channels open at a time on one connection. Default 10.
    pub channels_max: usize,
    /// Sessions at a time of one account, on all its connections. It may have twice as many connections. Default 100.
    pub sessions_per_account_max: usize,
    /// Sessions at a time from one address. Default 200.
    pub sessions_per_address_max: usize,
    /// A keepalive goes out after this long without a word from the client. Default 10 s.
    pub keepalive: Duration,
    /// Keepalives that may stay without an answer. Default 6.
    pub keepalive_max: usize,
    /// A client that takes nothing of what is there for it for so long is cut off, and so is a connection without a session.
    /// Default 10 minutes.
    pub idle: Duration,
    /// When an address is refused.
    pub bans: BanLimits,
}

/// When an address is refused because of its failed logins.
#[derive(Debug, Clone)]
pub struct BanLimits {
    /// Failed logins after which it is; 0: never. Default 20.
    pub failures: u32,
    /// Within this time. Default 10 minutes.
    pub within: Duration,
    /// For so long. Default 10 minutes.
    pub time: Duration,
    /// Addresses that never are: behind one there may be many people.
    pub never: Vec<IpNet>,
}

impl Default for SshLimits {
    fn default() -> Self {
        SshLimits {
            connections_max: 1_000,
            unauthenticated_max: 100,
            unauthenticated_per_address_max: 20,
            login_grace: Duration::from_secs(30),
            auth_attempts_max: 6,
            channels_max: 10,
            sessions_per_account_max: 100,
            sessions_per_address_max: 200,
            keepalive: Duration::from_secs(10),
            keepalive_max: 6,
            idle: Duration::from_secs(600),
            bans: BanLimits::default(),
        }
    }
}

impl Default for BanLimits {
    fn default() -> Self {
        BanLimits { failures: 20, within: Duration::from_secs(600), time: Duration::from_secs(600), never: Vec::new() }
    }
}
