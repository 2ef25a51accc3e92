//! Pull bundles: files that are ready for whoever pulls a part of history, named by a manifest.
//!
//! `.hg/pullbundles.manifest` has a line for each: `PATH KEY=VALUE ...`, the path relative to `.hg`, with `BUNDLESPEC`, and `heads` and `bases` of what
//! is in it: hashes with `;` between. It is heeded with `server.pullbundle`, for clients that say `partial-pull`: they ask again for what is left.
//! A bundle goes out as the file holds it, if it brings something that the client asks for, nothing that it neither asks for nor has, and builds on
//! nothing that it lacks.

use crate::client::Client;
use crate::commands::FileAnswer;
use crate::getbundle::GetbundleArguments;
use crate::quoting::unquote;
use hg_store::{Node, Revision, Revlog, Snapshot, walk};
use std::os::unix::fs::FileExt;

/// Bytes of one line: a thousand heads and bases fit.
const LINE_BYTES_MAX: usize = 128 << 10;
/// Lines that are looked at.
const LINES_MAX: usize = 1000;
/// What a file must begin with, or it is no bundle that such a client takes.
const MAGIC: &[u8; 4] = b"HG20";

/// One bundle of a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<'m> {
    /// Where it is, relative to `.hg`.
    pub path: &'m [u8],
    /// How it is compressed, by the engine's name on the wire; unknown without `BUNDLESPEC`.
    pub compression: Option<&'static str>,
    /// The heads of what is in it, if the line says so.
    pub heads: Option<Vec<Node>>,
    /// The changesets on which it builds, if the line says so.
    pub bases: Option<Vec<Node>>,
}

impl<'m> Entry<'m> {
    /// Parses a line without its end. `None`: it is no line of a bundle that can be sent.
    pub fn parse(line: &'m [u8]) -> Option<Entry<'m>> {
        let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        let path = words.next().filter(|path| line.len() <= LINE_BYTES_MAX && is_plain_path(path))?;
        let mut entry = Entry { path, compression: None, heads: None, bases: None };
        for word in words {
            let at = word.iter().position(|byte| *byte == b'=')?;
            let value = unquote(&word[at + 1..]);
            match unquote(&word[..at]).as_slice() {
                b"BUNDLESPEC" => entry.compression = Some(compression(&value)?),
                b"heads" => entry.heads = Some(nodes(&value)?),
                b"bases" => entry.bases = Some(nodes(&value)?),
                // Compared with what a client says of its own store; none that pulls does.
                b"STORE-FINGERPRINT" => return None,
                _ => {}
            }
        }
        Some(entry)
    }
}

/// Returns the lines of a manifest that can be sent.
pub fn entries(manifest: &[u8]) -> impl Iterator<Item = Entry<'_>> {
    manifest.split(|byte| *byte == b'\n').take(LINES_MAX).filter_map(Entry::parse)
}

/// A relative path whose parts are names of files and folders that nobody hides.
fn is_plain_path(path: &[u8]) -> bool {
    let is_plain =
        |part: &[u8]| !part.is_empty() && part[0] != b'.' && part.iter().all(|byte| matches!(byte, b'!'..=b'~'));
    path.split(|byte| *byte == b'/').all(is_plain)
}

/// The compression of a bundle's specification, if such a bundle may be an answer: one of changesets, of version 2 or 3.
fn compression(spec: &[u8]) -> Option<&'static str> {
    let mut parameters = spec.split(|byte| *byte == b';');
    let mut kind = parameters.next()?.splitn(2, |byte| *byte == b'-');
    let engine = match kind.next()? {
        b"none" => "none",
        b"gzip" => "zlib",
        b"bzip2" => "bzip2",
        b"zstd" => "zstd",
        _ => return None,
    };
    let is_answer = matches!(kind.next()?, b"v2" | b"v3" | b"bundle2");
    let is_odd = parameters.any(|parameter| {
        [&b"stream="[..], b"store-fingerprint=", b"delta-compression="].iter().any(|odd| parameter.starts_with(odd))
    });
    (is_answer && !is_odd).then_some(engine)
}

fn nodes(list: &[u8]) -> Option<Vec<Node>> {
    list.split(|byte| *byte == b';').map(Node::from_hex).collect()
}

/// Finds the first bundle that serves a request. What is wrong with one is no reason to refuse: the answer is made then.
pub(crate) fn find(snapshot: &Snapshot, arguments: &GetbundleArguments, client: &Client) -> Option<FileAnswer> {
    let manifest = snapshot.state().pullbundles.as_deref().filter(|_| snapshot.settings().pull_bundles())?;
    if !client.takes_partial_pulls() || !arguments.capabilities.bundle2 {
        return None;
    }
    let changelog = snapshot.changelog();
    let served = snapshot.served().ok()?;
    let wanted = Ancestors::of(changelog, &arguments.heads, |revision| served.contains(revision))?;
    let known: Vec<Node> =
        arguments.common.iter().filter(|node| changelog.revision_of(node).is_some()).copied().collect();
    let common = Ancestors::of(changelog, &known, |_| true)?;
    let serves = |entry: &Entry<'_>| {
        let takes = entry.compression.is_none_or(|engine| client.takes(engine));
        let has_new = entry.heads.as_ref().is_none_or(|heads| {
            let all: Option<Vec<Revision>> = heads.iter().map(|head| changelog.revision_of(head)).collect();
            all.is_some_and(|heads| {
                heads.iter().any(|head| !common.has(*head))
                    && heads.iter().all(|head| wanted.has(*head) || common.has(*head))
            })
        });
        let is_based = entry.bases.as_ref().is_none_or(|bases| {
            bases.iter().all(|base| changelog.revision_of(base).is_some_and(|base| common.has(base)))
        });
        takes && has_new && is_based
    };
    entries(manifest).filter(serves).find_map(|entry| open(snapshot, entry.path))
}

fn open(snapshot: &Snapshot, path: &[u8]) -> Option<FileAnswer> {
    let warn = |why: String| {
        let (repository, path) = (snapshot.repository().root().display(), path.escape_ascii());
        tracing::warn!(%repository, %path, why, "a pull bundle is not sent");
    };
    let (file, bytes) = match snapshot.bundle_file(path) {
        Ok(Some(found)) => found,
        Ok(None) => {
            warn("there is no such file".to_owned());
            return None;
        }
        Err(error) => {
            warn(error.to_string());
            return None;
        }
    };
    let mut start = [0; MAGIC.len()];
    if file.read_exact_at(&mut start, 0).is_err() || start != *MAGIC {
        warn("it is no bundle of version 2".to_owned());
        return None;
    }
    Some(FileAnswer { head: Vec::new(), file, bytes })
}

/// Some changesets with all their ancestors.
struct Ancestors(Vec<bool>);

impl Ancestors {
    /// `None`: one of the changesets is not there.
    fn of(changelog: &Revlog, nodes: &[Node], is_there: impl Fn(Revision) -> bool) -> Option<Ancestors> {
        let nodes = nodes.iter().filter(|node| !node.is_null());
        let tops: Option<Vec<Revision>> =
            nodes.map(|node| changelog.revision_of(node).filter(|revision| is_there(*revision))).collect();
        let mut marks = vec![false; changelog.len()];
        for revision in walk::ancestors(changelog, &tops?) {
            marks[revision.index()] = true;
        }
        Some(Ancestors(marks))
    }

    fn has(&self, revision: Revision) -> bool {
        self.0[revision.index()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HASH: &str = "0123456789abcdef0123456789abcdef01234567";

    #[test]
    fn lines_are_understood_as_stock_understands_them() {
        let line = format!("0.hg BUNDLESPEC=gzip-v2 heads={HASH};{HASH} bases={HASH}");
        let entry = Entry::parse(line.as_bytes()).expect("a bundle");
        assert_eq!((entry.path, entry.compression), (b"0.hg".as_slice(), Some("zlib")));
        assert_eq!((entry.heads.map(|heads| heads.len()), entry.bases.map(|bases| bases.len())), (Some(2), Some(1)));
        assert_eq!(Entry::parse(b"bundle-cache/a.hg").map(|entry| entry.compression), Some(None));
        for odd in [
            "../hgrc",
            "/etc/passwd",
            ".hidden",
            "a//b",
            "a.hg word",
            "a.hg BUNDLESPEC=xz-v2",
            "a.hg BUNDLESPEC=zstd-v1",
            "a.hg BUNDLESPEC=none-v2%3Bstream%3Dv2",
            "a.hg heads=0123",
            "a.hg STORE-FINGERPRINT=ab",
            "",
        ] {
            assert_eq!(Entry::parse(odd.as_bytes()), None, "{odd}");
        }
    }

    proptest! {
        #[test]
        fn paths_stay_below_the_repository(manifest in proptest::collection::vec(any::<u8>(), 0..400)) {
            for entry in entries(&manifest) {
                prop_assert!(entry.path.split(|byte| *byte == b'/').all(|part| !part.is_empty() && part[0] != b'.'));
            }
        }
    }
}
