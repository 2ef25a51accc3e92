//! What this server says that it can do, and what a client says that it can.

use crate::CommandError;
use crate::clone_bundles;
use crate::compression::Engine;
use crate::limits;
use crate::quoting::{quote, unquote};
use crate::stream_clone;
use hg_store::Snapshot;

/// How a client is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// One session of many commands.
    Ssh,
    /// One request.
    Http,
}

/// Returns the capability string: words with one blank between, sorted.
pub fn capabilities(snapshot: &Snapshot, transport: Transport) -> String {
    let mut words = vec![
        "batch".to_owned(),
        "branchmap".to_owned(),
        format!("bundle2={}", quote(bundle2_blob(snapshot).as_bytes())),
        "changegroupsubset".to_owned(),
        "getbundle".to_owned(),
        "known".to_owned(),
        "lookup".to_owned(),
        // Over HTTP a write is answered by a refusal that says where to push. A client that did not see these two
        // would say less.
        "pushkey".to_owned(),
        "unbundle=HG10GZ,HG10BZ,HG10UN".to_owned(),
        "unbundlehash".to_owned(),
    ];
    if clone_bundles::are_served(snapshot) {
        words.extend(["clonebundles".to_owned(), "clonebundles_manifest".to_owned()]);
    }
    match transport {
        Transport::Ssh => words.push("protocaps".to_owned()),
        Transport::Http => words.extend([
            compression(snapshot),
            format!("httpheader={}", snapshot.settings().http_header_bytes()),
            "httpmediatype=0.1rx,0.1tx,0.2tx".to_owned(),
        ]),
    }
    if transport == Transport::Http && snapshot.settings().post_arguments() {
        words.push("httppostargs".to_owned());
    }
    if snapshot.serves_largefiles() {
        words.push("largefiles=serve".to_owned());
    }
    if snapshot.serves_lfs() {
        words.push("lfs".to_owned());
    }
    if snapshot.repository().requirements().lfs() {
        // It says that a client must have the extension.
        words.push("lfs-serve".to_owned());
    }
    if stream_clone::is_allowed(snapshot) {
        if snapshot.settings().prefers_stream_clones() {
            words.push("stream-preferred".to_owned());
        }
        words.push(match stream_clone::requirements(snapshot).as_str() {
            "revlogv1" => "stream".to_owned(),
            requirements => format!("streamreqs={requirements}"),
        });
    }
    words.sort_unstable();
    words.join(" ")
}

/// Returns the word that names the engines of answers over HTTP.
fn compression(snapshot: &Snapshot) -> String {
    let engines: Vec<&str> = Engine::served(snapshot.settings()).into_iter().map(Engine::as_str).collect();
    format!("compression={}", engines.join(","))
}

/// Returns the bundle2 capabilities: lines `name` or `name=value,value`, sorted.
fn bundle2_blob(snapshot: &Snapshot) -> String {
    let mut lines = vec![
        "HG20",
        "bookmarks",
        "changegroup=01,02,03",
        "error=abort,unsupportedcontent,pushraced,pushkey",
        "listkeys",
        "phases=heads",
        "pushkey",
    ];
    if snapshot.settings().lets_unrelated_pushes_pass() {
        lines.push("checkheads=related");
    }
    if snapshot.settings().exchanges_markers() {
        lines.push("obsmarkers=V0,V1");
    }
    if stream_clone::is_allowed(snapshot) {
        lines.push(if snapshot.settings().stream_v3() { "stream=v2,v3-exp" } else { "stream=v2" });
    }
    lines.sort_unstable();
    lines.join("\n")
}

/// What a client's `bundlecaps` say.
#[derive(Debug, Clone, Default)]
pub struct BundleCapabilities {
    /// It takes bundle2 (`HG20`).
    pub bundle2: bool,
    /// Its bundle2 capabilities: names and their values.
    names: Vec<(Vec<u8>, Vec<Vec<u8>>)>,
}

impl BundleCapabilities {
    /// Parses a comma list such as `HG20,bundle2=HG20%0Achangegroup%3D01%2C02`. Words that are not known here are left
    /// out.
    pub fn parse(list: &[u8]) -> Result<BundleCapabilities, CommandError> {
        let too_many = || CommandError::TooLarge("too many bundle capabilities".to_owned());
        let mut parsed = BundleCapabilities::default();
        for (n, word) in list.split(|byte| *byte == b',').enumerate() {
            if n == limits::BUNDLECAPS_MAX {
                return Err(too_many());
            }
            if word == b"HG20" {
                parsed.bundle2 = true;
            } else if let Some(blob) = word.strip_prefix(b"bundle2=") {
                for line in unquote(blob).split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                    if parsed.names.len() == limits::BUNDLECAPS_MAX {
                        return Err(too_many());
                    }
                    let mut halves = line.splitn(2, |byte| *byte == b'=');
                    let name = unquote(halves.next().unwrap_or_default());
                    let values =
                        halves.next().unwrap_or_default().split(|byte| *byte == b',').filter(|v| !v.is_empty());
                    let values: Vec<_> = values.take(limits::BUNDLECAPS_MAX).map(unquote).collect();
                    parsed.names.push((name, values));
                }
            }
        }
        Ok(parsed)
    }

    /// Returns the values of a bundle2 capability; `None` when the client lacks it.
    pub fn get(&self, name: &str) -> Option<&[Vec<u8>]> {
        self.names.iter().find(|(other, _)| other == name.as_bytes()).map(|(_, values)| values.as_slice())
    }

    /// Returns whether the client named no bundle2 capability at all.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_of_a_recorded_client_are_understood() {
        let caps =
            BundleCapabilities::parse(b"HG20,bundle2=HG20%0Abookmarks%0Achangegroup%3D01%2C02%2C03%0Aphases%3Dheads")
                .expect("well-formed");
        assert!(caps.bundle2);
        assert_eq!(caps.get("changegroup").map(<[_]>::len), Some(3));
        assert_eq!(caps.get("phases"), Some([b"heads".to_vec()].as_slice()));
        assert_eq!(caps.get("bookmarks"), Some([].as_slice()));
        assert_eq!(caps.get("obsmarkers"), None);
    }

    #[test]
    fn unknown_words_and_bad_escapes_are_left_out() {
        let caps = BundleCapabilities::parse(b"HG99,what,bundle2=%ZZ%0Achangegroup%3D99,,").expect("tolerated");
        assert!(!caps.bundle2);
        assert_eq!(caps.get("changegroup"), Some([b"99".to_vec()].as_slice()));
    }

    #[test]
    fn too_many_words_are_refused() {
        assert!(BundleCapabilities::parse(&vec![b','; 1 << 20]).is_err());
        let blob = "a%0A".repeat(5_000);
        assert!(BundleCapabilities::parse(format!("bundle2={blob}").as_bytes()).is_err());
    }
}
