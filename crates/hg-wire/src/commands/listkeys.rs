//! `listkeys`: the namespaces `bookmarks`, `namespaces`, `obsolete`, `phases`.

use crate::CommandError;
use crate::base85;
use hg_store::{Node, Phase, Snapshot};

/// Bytes of markers in one key of `obsolete`: what fits, as base85, into a header of HTTP.
const MARKERS_BYTES_MAX: usize = 5_300;

/// Returns lines `key TAB value`, without a newline at the end. A namespace that is not known is empty.
pub fn listkeys(snapshot: &Snapshot, namespace: &[u8]) -> Result<Vec<u8>, CommandError> {
    match namespace {
        b"bookmarks" => bookmarks(snapshot),
        b"namespaces" => Ok(namespaces(snapshot)),
        b"obsolete" if snapshot.settings().exchanges_markers() => obsolete(snapshot),
        b"phases" => phases(snapshot),
        _ => Ok(Vec::new()),
    }
}

fn line(text: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    if !text.is_empty() {
        text.push(b'\n');
    }
    text.extend_from_slice(key);
    text.push(b'\t');
    text.extend_from_slice(value);
}

/// Returns the bookmarks that are shown: on served changesets, and not `name@path`, which is how a client marks
/// divergence.
fn shown_bookmarks(snapshot: &Snapshot) -> Result<Vec<(&[u8], Node)>, CommandError> {
    let served = snapshot.served()?;
    let changelog = snapshot.changelog();
    let divergent = |name: &[u8]| name.contains(&b'@') && !name.ends_with(b"@");
    let is_served =
        |node: &Node| node.is_null() || changelog.revision_of(node).is_some_and(|revision| served.contains(revision));
    Ok(snapshot.bookmarks()?.iter().filter(|(name, node)| !divergent(name) && is_served(node)).collect())
}

fn bookmarks(snapshot: &Snapshot) -> Result<Vec<u8>, CommandError> {
    let mut text = Vec::new();
    for (name, node) in shown_bookmarks(snapshot)? {
        line(&mut text, name, &node.to_hex());
    }
    Ok(text)
}

/// Returns the payload of the part `bookmarks`: node, length of the name (2 bytes, BE), name.
pub fn bookmarks_binary(snapshot: &Snapshot) -> Result<Vec<u8>, CommandError> {
    let mut payload = Vec::new();
    for (name, node) in shown_bookmarks(snapshot)? {
        // A longer name has no place in the format; stock fails on it.
        if let Ok(bytes) = u16::try_from(name.len()) {
            payload.extend_from_slice(node.as_bytes());
            payload.extend_from_slice(&bytes.to_be_bytes());
            payload.extend_from_slice(name);
        }
    }
    Ok(payload)
}

fn namespaces(snapshot: &Snapshot) -> Vec<u8> {
    let mut text = Vec::new();
    line(&mut text, b"bookmarks", b"");
    line(&mut text, b"namespaces", b"");
    if snapshot.settings().exchanges_markers() {
        line(&mut text, b"obsolete", b"");
    }
    line(&mut text, b"phases", b"");
    text
}

/// Draft roots that are served, and whether the repository publishes.
fn phases(snapshot: &Snapshot) -> Result<Vec<u8>, CommandError> {
    let phases = snapshot.phases()?;
    let served = snapshot.served()?;
    let mut text = Vec::new();
    for (phase, revision, node) in phases.roots() {
        if *phase == Phase::Draft && phases.phase(*revision) == Phase::Draft && served.contains(*revision) {
            line(&mut text, &node.to_hex(), b"1");
        }
    }
    if snapshot.settings().publishing() {
        line(&mut text, b"publishing", b"True");
    }
    Ok(text)
}

/// Markers in the format of version 0, some in each key `dumpN`, base85.
fn obsolete(snapshot: &Snapshot) -> Result<Vec<u8>, CommandError> {
    let mut dumps: Vec<Vec<u8>> = Vec::new();
    for marker in snapshot.obsstore()?.markers() {
        let mut encoded = Vec::new();
        if marker.encode_v0(&mut encoded).is_err() {
            // It does not fit into version 0; clients that ask here know no other.
            continue;
        }
        match dumps.last_mut() {
            Some(dump) if dump.len() + encoded.len() <= MARKERS_BYTES_MAX => dump.extend_from_slice(&encoded),
            _ => {
                let mut dump = vec![0];
                dump.extend_from_slice(&encoded);
                dumps.push(dump);
            }
        }
    }
    let mut text = Vec::new();
    for (n, dump) in dumps.iter().enumerate() {
        line(&mut text, format!("dump{n}").as_bytes(), &base85::encode(dump));
    }
    Ok(text)
}
