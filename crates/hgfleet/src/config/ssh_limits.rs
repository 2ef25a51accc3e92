//! `[ssh.limits]`: what a stranger can use up, and what an account can.

use super::proxy_protocol::networks;
use hgfleet_master::{BanLimits, SshLimits};
use ipnet::IpNet;
use serde::Deserialize;
use std::num::NonZero;
use std::time::Duration;

/// `[ssh.limits]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SshLimitsSection {
    /// Connections at a time
    pub connections: NonZero<usize>,
    /// Connections at a time that have not logged in yet
    pub logins: NonZero<usize>,
    /// The same from one address
    pub logins_per_address: NonZero<usize>,
    /// Keys that a client may try on one connection
    pub keys: NonZero<usize>,
    /// Channels at a time on one connection
    pub channels: NonZero<usize>,
    /// Sessions at a time of one account
    pub sessions_per_account: NonZero<usize>,
    /// Sessions at a time from one address
    pub sessions_per_address: NonZero<usize>,
    /// After how long without a word from a client it is asked whether it is still there, in seconds
    pub keepalive_seconds: NonZero<u64>,
    /// How often that may stay without an answer
    pub keepalives: NonZero<usize>,
    /// How long a client may take nothing of what is there for it, or have no session, in seconds
    pub idle_seconds: NonZero<u64>,
    /// Failed logins after which an address is banned; 0, never
    pub ban_failures: u32,
    /// Within how many seconds
    pub ban_within_seconds: NonZero<u64>,
    /// For how many seconds
    pub ban_seconds: NonZero<u64>,
    /// Addresses and networks that are never banned
    #[serde(deserialize_with = "networks")]
    pub never_banned: Vec<IpNet>,
}

impl Default for SshLimitsSection {
    fn default() -> Self {
        let limits = SshLimits::default();
        let number = |number| NonZero::new(number).unwrap_or(NonZero::<usize>::MIN);
        let seconds = |time: Duration| NonZero::new(time.as_secs()).unwrap_or(NonZero::<u64>::MIN);
        SshLimitsSection {
            connections: number(limits.connections_max),
            logins: number(limits.unauthenticated_max),
            logins_per_address: number(limits.unauthenticated_per_address_max),
            keys: number(limits.auth_attempts_max),
            channels: number(limits.channels_max),
            sessions_per_account: number(limits.sessions_per_account_max),
            sessions_per_address: number(limits.sessions_per_address_max),
            keepalive_seconds: seconds(limits.keepalive),
            keepalives: number(limits.keepalive_max),
            idle_seconds: seconds(limits.idle),
            ban_failures: limits.bans.failures,
            ban_within_seconds: seconds(limits.bans.within),
            ban_seconds: seconds(limits.bans.time),
            never_banned: limits.bans.never,
        }
    }
}

impl super::Config {
    /// The limits of the SSH door.
    pub fn ssh_limits(&self) -> SshLimits {
        let limits = &self.ssh.limits;
        let seconds = |seconds: NonZero<u64>| Duration::from_secs(seconds.get());
        SshLimits {
            connections_max: limits.connections.get(),
            unauthenticated_max: limits.logins.get(),
            unauthenticated_per_address_max: limits.logins_per_address.get(),
            login_grace: Duration::from_secs(self.ssh.login_grace_seconds),
            auth_attempts_max: limits.keys.get(),
            channels_max: limits.channels.get(),
            sessions_per_account_max: limits.sessions_per_account.get(),
            sessions_per_address_max: limits.sessions_per_address.get(),
            keepalive: seconds(limits.keepalive_seconds),
            keepalive_max: limits.keepalives.get(),
            idle: seconds(limits.idle_seconds),
            bans: BanLimits {
                failures: limits.ban_failures,
                within: seconds(limits.ban_within_seconds),
                time: seconds(limits.ban_seconds),
                // What is counted for these are their own checks: their clients have addresses of their own.
                never: limits.never_banned.iter().chain(&self.proxy_protocol.from).copied().collect(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::parse;

    #[test]
    fn limits_are_read_and_nothing_that_would_let_nobody_in() {
        let text = "[ssh.limits]\nlogins = 7\nnever_banned = ['192.0.2.1', '2001:db8::/32']\n[proxy_protocol]\nfrom = ['10.0.0.0/8']";
        let limits = parse(text).expect("parses").ssh_limits();
        assert_eq!((limits.unauthenticated_max, limits.connections_max), (7, 1_000));
        let never: Vec<String> = limits.bans.never.iter().map(ToString::to_string).collect();
        assert_eq!(never, ["192.0.2.1/32", "2001:db8::/32", "10.0.0.0/8"]);
        let message = |text| format!("{:#}", parse(text).expect_err("refused"));
        assert!(message("[ssh.limits]\nkeys = 0").contains("nonzero"));
        assert!(message("[ssh.limits]\nkey = 1").contains("keys"));
    }
}
