//! The file that a fresh data folder begins with.

use std::net::SocketAddr;

/// The configuration that `hgfleet up` writes into a fresh data folder.
pub fn template(ssh: SocketAddr, http: SocketAddr, https: SocketAddr) -> String {
    format!(
        r#"# hgfleet: one file for the whole fleet. Paths are relative to the folder that this file lies in.

[log]
backend = "embedded"                  # SQLite, one machine; or "jetstream": a NATS cluster
path = "log"
# servers = ["nats://n1:4222", "nats://n2:4222", "nats://n3:4222"]
# replicas = 3
retain_records = 100000               # the newest records, so many, are kept in any case
retain_seconds = 86400                # a server that was away for longer takes copies of what it lacks

[ssh]
listen = "{ssh}"              # where people push
host_key = "keys/ssh_host_ed25519_key"
login_grace_seconds = 30              # how long a client may take to log in

[http]
listen = "{http}"              # redirects to HTTPS
listen_https = "{https}"        # where people and machines read
certificate = "keys/https.certificate"
key = "keys/https.key"

[directory]
backend = "ldif"                      # or "ldap", with a section [directory.ldap]
ldif = "directory.ldif"               # accounts and their public keys; `hgfleet account` writes it

[master]
name = "master"
data = "master"
told_wait_ms = 5000                   # how long the answer to a push waits for the mirrors
append_wait_ms = 30000                # how long a push waits for a log that doesn't answer
lease_seconds = 5                     # how long the master may be silent before a standby takes over
lag_seconds_max = 15                  # a mirror that lags by more, or lacks more records, is left out
lag_records_max = 10000
push_bytes_max = 4294967296           # the largest bundle that a push may send

[repositories]
format = "7.x"                        # or "4.9": plainer ones, for old programs that open them in place
deletion_grace_seconds = 604800       # a deleted repository can be brought back for so long

[balancer]
name = "balancer"

[resync]
bytes_per_second = 209715200          # most that a server takes when it copies a repository from another

[scrub]
every_seconds = 72000                 # all files of all stores are read again, and compared, within this time

[[mirror]]
name = "mirror-1"
data = "mirror-1"

[[mirror]]
name = "mirror-2"
data = "mirror-2"
"#
    )
}
