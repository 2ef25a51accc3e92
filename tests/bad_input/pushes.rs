//! What is pushed by whom who means ill, at both SSH doors of one fleet.

use super::hostile_client::LANDING;
use super::{bundles, hostile_client};
use crate::support::fleet::Fleet;
use crate::support::store;
use crate::support::two_doors::TwoDoors;
use crate::support::wire_client::WireClient;
use std::collections::BTreeMap;

const ACCESS: &str = "[[rule]]\nrepositories = [\"locked\"]\nread = [\"*\"]\nwrite = [\"release\"]\n\n\
                      [[rule]]\nrepositories = [\"**\"]\nread = [\"*\"]\nwrite = [\"accounts\"]\n";

const POLICY: &str = "[[rule]]\nrepositories = [\"strict\"]\nfiles = { forbidden = [\"secret/**\"] }\n\
                      branches = { one_head = true }\nbookmarks = { allowed = false }\nlimits = { changesets_max = 2 }\n";

/// What is aimed at.
pub struct Target<'t> {
    pub two: &'t TwoDoors,
}

/// What no bad push may change.
pub struct State {
    files: BTreeMap<String, Vec<u8>>,
    end: serde_json::Value,
}

impl Target<'_> {
    fn fleet(&self) -> &Fleet {
        &self.two.fleet
    }

    /// Makes a repository and pushes its first bundle to it. Returns its head.
    pub fn start(&self, name: &str, bundle: &[u8]) -> String {
        self.start_as("id_ed25519", name, bundle)
    }

    /// The same, as who has a certain key.
    pub fn start_as(&self, key: &str, name: &str, bundle: &[u8]) -> String {
        self.fleet().hgfleet(&["repo", "create", name]).ok();
        let mut client = WireClient::begin(&self.two.doors()[0].1, key, name);
        let said = client.push("the first push", bundle, "stored as");
        let heads = said.find("41\n").expect("one head");
        self.fleet().assert_one_store(name);
        said[heads + 3..][..40].to_owned()
    }

    /// A repository's bytes at the master, and the log's end.
    pub fn state(&self, name: &str) -> State {
        State { files: self.files(name), end: self.fleet().status()["log"]["sequence"].clone() }
    }

    fn files(&self, name: &str) -> BTreeMap<String, Vec<u8>> {
        store::files(&self.fleet().copies(name)[0].join(".hg"))
    }

    #[track_caller]
    pub fn assert_untouched(&self, name: &str, before: &State, what: &str) {
        assert!(self.files(name) == before.files, "{what}: the store has changed");
    }

    #[track_caller]
    pub fn assert_log_untouched(&self, before: &State) {
        assert_eq!(self.fleet().status()["log"]["sequence"], before.end, "nothing was stored");
    }
}

#[test]
fn hostile_pushes_change_nothing_at_either_door() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.display().to_string()
    };
    let (access, policy) = (path("access.toml", ACCESS), path("policy.toml", POLICY));
    let two = TwoDoors::open(&format!(
        "[access]\nrules = \"{access}\"\n[policy]\nrules = \"{policy}\"\n[session]\nuser_repositories = true\nlanding_accounts = [\"{LANDING}\"]\n"
    ));
    let target = Target { two: &two };
    bundles::check(&target, "bundles");
    hostile_client::check(&target);
    let log = two.fleet.log();
    assert!(!log.contains("panicked"), "{log}");
    assert!(
        log.chars().all(|letter| !letter.is_control() || letter == '\n' || letter == '\t'),
        "the log is plain text"
    );
}
