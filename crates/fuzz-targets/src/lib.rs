//! The parsers of what comes from outside, each as a function of bytes that must neither panic nor hang, whatever they are.
//!
//! `tests/any_bytes.rs` tries all of [`TARGETS`] for a second each in an ordinary `cargo test`; `fuzz/` tries one at a time with
//! libFuzzer, guided by coverage, for as long as one likes. A new parser joins both by a function here and a line in the table.

mod directory;
mod files;
mod http;
mod repository;
mod stream;
mod trees;
mod wire;

#[allow(dead_code, reason = "the end-to-end tests use all of it")]
#[path = "../../../tests/support/bundle.rs"]
mod bundle;
#[allow(dead_code, reason = "the store's own tests use all of it")]
#[path = "../../hg-store/tests/support/history.rs"]
mod history;
#[allow(dead_code, reason = "the store's own tests use all of it")]
#[path = "../../hg-store/tests/support/tree_history.rs"]
mod tree_history;

/// One parser.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name, here and in `fuzz/`
    pub name: &'static str,
    /// Tries it; what it must hold it asserts
    pub run: fn(&[u8]),
    /// Input that it takes, from which others are made
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All that there are.
pub const TARGETS: &[Target] = &[
    Target { name: "access_rules", run: files::access_rules, seeds: files::rules },
    Target { name: "authorized_key", run: directory::authorized_key, seeds: directory::authorized_keys },
    Target { name: "bundle2", run: stream::bundle2, seeds: stream::bundles },
    Target { name: "capabilities", run: wire::capabilities, seeds: wire::capability_lists },
    Target { name: "changegroup", run: stream::changegroup, seeds: stream::changegroups },
    Target { name: "clonebundles_manifest", run: wire::clonebundles_manifest, seeds: wire::clonebundles_manifests },
    Target { name: "delta", run: files::delta, seeds: files::deltas },
    Target { name: "hgrc", run: files::hgrc, seeds: files::hgrcs },
    Target { name: "http_request", run: http::request, seeds: http::requests },
    Target { name: "ldap_message", run: directory::ldap_message, seeds: directory::ldap_messages },
    Target { name: "ldif", run: directory::ldif, seeds: directory::ldifs },
    Target { name: "lfs_pointer", run: files::lfs_pointer, seeds: files::lfs_pointers },
    Target { name: "obsstore", run: files::obsstore, seeds: files::obsstores },
    Target { name: "policy_rules", run: files::policy_rules, seeds: files::rules },
    Target { name: "proxy_header", run: stream::proxy_header, seeds: stream::proxy_headers },
    Target { name: "pullbundles_manifest", run: wire::pullbundles_manifest, seeds: wire::pullbundles_manifests },
    Target { name: "store", run: repository::store, seeds: repository::stores },
    Target { name: "store_name", run: files::store_name, seeds: files::store_names },
    Target { name: "tokens", run: http::tokens, seeds: http::credentials },
    Target { name: "tree_changegroup", run: trees::changegroup, seeds: trees::changegroups },
    Target { name: "wire", run: wire::session, seeds: wire::sessions },
];

/// The target of this name.
///
/// # Panics
/// Where there is none.
pub fn target(name: &str) -> Target {
    *TARGETS.iter().find(|target| target.name == name).unwrap_or_else(|| panic!("there is no target {name}"))
}
