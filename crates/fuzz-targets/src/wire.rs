//! What a client says to a session.

use std::fs::File;
use std::io::{self, Write};
use std::sync::{Arc, OnceLock};

use hg_store::prepare::PreparedChange;
use hg_store::{Repository, Snapshot};
use hg_wire::capabilities::BundleCapabilities;
use hg_wire::{CommitError, Host, HostError, Push, PushLimits};

use crate::history::History;
use crate::{bundle, repository, stream};

/// The capabilities that a client names.
pub(crate) fn capabilities(bytes: &[u8]) {
    if let Ok(named) = BundleCapabilities::parse(bytes) {
        named.get("changegroup");
    }
}

pub(crate) fn capability_lists() -> Vec<Vec<u8>> {
    let list = "HG20,bundle2=HG20%0Abookmarks%0Achangegroup%3D01%2C02%2C03%0Aphases%3Dheads,stream=v2";
    vec![list.as_bytes().to_vec()]
}

/// A manifest of clone bundles: what goes out is printable, and names nothing but what clients fetch.
pub(crate) fn clonebundles_manifest(bytes: &[u8]) {
    for entry in hg_wire::clone_bundles::entries(bytes).flatten() {
        assert!(
            entry.line.iter().all(|byte| (b' '..=b'~').contains(byte)) && entry.url.windows(3).any(|w| w == b"://")
        );
        entry.attributes().for_each(drop);
    }
}

pub(crate) fn clonebundles_manifests() -> Vec<Vec<u8>> {
    let stock = "https://e.org/a.hg BUNDLESPEC=zstd-v2 REQUIRESNI=true\npeer-bundle-cache://b-1.hg BUNDLESPEC=none-v2%3Bstream%3Dv2\r\n";
    vec![stock.as_bytes().to_vec()]
}

/// A manifest of pull bundles: each names a file below the repository.
pub(crate) fn pullbundles_manifest(bytes: &[u8]) {
    for entry in hg_wire::pull_bundles::entries(bytes) {
        assert!(entry.path.split(|byte| *byte == b'/').all(|part| part.first().is_some_and(|first| *first != b'.')));
    }
}

pub(crate) fn pullbundles_manifests() -> Vec<Vec<u8>> {
    let node = "0123456789abcdef0123456789abcdef01234567";
    let stock = format!(
        "0.hg BUNDLESPEC=none-v2 heads={node}\nbundle-cache/1.hg BUNDLESPEC=zstd-v2 heads={node}%3B{node} bases={node}\n"
    );
    vec![stock.into_bytes()]
}

/// A session's input, for a repository with two changesets. Pushes go up to where they would be stored.
pub(crate) fn session(bytes: &[u8]) {
    let _ = hg_wire::ssh::serve(bytes, io::sink(), io::sink(), &mut Frozen(snapshot()));
}

pub(crate) fn sessions() -> Vec<Vec<u8>> {
    let heads = stream::history().changesets[1].node.to_string();
    let argument = |name: &str, value: &str| format!("{name} {}\n{value}", value.len());
    let getbundle = format!(
        "getbundle\n* 3\n{}{}{}",
        argument("bundlecaps", "HG20,bundle2=HG20%0Achangegroup%3D01%2C02"),
        argument("heads", &heads),
        argument("cg", "1")
    );
    let batch = format!("batch\n* 0\n{}", argument("cmds", &format!("heads ;known nodes={heads};branchmap ")));
    let keys = [("namespace", "bookmarks"), ("key", "x"), ("old", ""), ("new", &heads)];
    let pushkey: String = keys.iter().map(|(name, value)| argument(name, value)).collect();
    let mut new = stream::history();
    new.commit(&[(b"new", b"text\n", "")]);
    let new = History {
        changesets: new.changesets.split_off(2),
        manifests: new.manifests.split_off(2),
        files: new.files.split_off(2),
        ..History::default()
    };
    let parts = [bundle::part("replycaps", &[], b"HG20\nerror=abort,pushkey"), bundle::changegroup(new.pieces())];
    let push = bundle::bundle(&parts);
    let push = [format!("unbundle\nheads 10\n666f726365{}\n", push.len()).as_bytes(), &push, b"0\n"].concat();
    let keyed = format!("hello\npushkey\n{pushkey}lookup\n{}", argument("key", "tip"));
    vec![format!("hello\n{getbundle}").into_bytes(), batch.into_bytes(), keyed.into_bytes(), push]
}

fn snapshot() -> Arc<Snapshot> {
    static SNAPSHOT: OnceLock<Arc<Snapshot>> = OnceLock::new();
    let open = || {
        let repository = Repository::open(repository::root()).expect("opened");
        Arc::new(repository.snapshot(repository.current_state().expect("read")).expect("opened"))
    };
    SNAPSHOT.get_or_init(open).clone()
}

/// A repository that stores nothing.
struct Frozen(Arc<Snapshot>);

impl Host for Frozen {
    fn snapshot(&mut self) -> Result<Arc<Snapshot>, HostError> {
        Ok(self.0.clone())
    }

    fn spool(&mut self) -> io::Result<File> {
        tempfile::tempfile()
    }

    fn push_limits(&self) -> PushLimits {
        PushLimits { bundle_bytes_max: 16 << 20, ..PushLimits::default() }
    }

    fn begin_push(&mut self) -> Result<Box<dyn Push + '_>, HostError> {
        Ok(Box::new(Frozen(self.0.clone())))
    }
}

impl Push for Frozen {
    fn snapshot(&self) -> Arc<Snapshot> {
        self.0.clone()
    }

    fn commit(self: Box<Self>, _: PreparedChange, _: &mut dyn Write) -> Result<(), CommitError> {
        Err(CommitError::Refused("refused: nothing is stored here, on this repository. Go on".to_owned()))
    }
}
