//! Bundles as somebody may send them: an encoder that writes what it is told, right or wrong.

use hg_store::prepare::{Incoming, IncomingRevision};
use std::sync::atomic::{AtomicU32, Ordering};

/// A bundle2 of these parts.
pub fn bundle(parts: &[Vec<u8>]) -> Vec<u8> {
    with_parameters("", parts)
}

/// The same, with parameters of the stream; the parts are packed already where these say so.
pub fn with_parameters(parameters: &str, parts: &[Vec<u8>]) -> Vec<u8> {
    let length = (parameters.len() as u32).to_be_bytes();
    [b"HG20", &length[..], parameters.as_bytes(), &parts.concat(), &[0; 4]].concat()
}

/// A part with its payload in one chunk. An upper-case name makes the part mandatory, an upper-case key the parameter.
pub fn part(name: &str, parameters: &[(&str, &str)], payload: &[u8]) -> Vec<u8> {
    let chunk = if payload.is_empty() { Vec::new() } else { [&length_of(payload), payload].concat() };
    part_of(name, parameters, &[&chunk[..], &[0; 4]].concat())
}

/// A part with the bytes of its payload's chunks as they are. Each has an id of its own.
pub fn part_of(name: &str, parameters: &[(&str, &str)], chunks: &[u8]) -> Vec<u8> {
    static IDS: AtomicU32 = AtomicU32::new(0);
    let is_mandatory = |key: &str| key.bytes().all(|byte| byte.is_ascii_uppercase());
    let (mandatory, advisory): (Vec<_>, Vec<_>) = parameters.iter().partition(|(key, _)| is_mandatory(key));
    let mut header = vec![name.len() as u8];
    header.extend_from_slice(name.as_bytes());
    header.extend(IDS.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    header.extend([mandatory.len() as u8, advisory.len() as u8]);
    let all = || mandatory.iter().chain(&advisory);
    header.extend(all().flat_map(|(key, value)| [key.len() as u8, value.len() as u8]));
    for (key, value) in all() {
        header.extend([key.to_lowercase().as_bytes(), value.as_bytes()].concat());
    }
    [&length_of(&header), &header[..], chunks].concat()
}

/// A part with another id than all have that [`part`] makes.
pub fn with_id(part: &[u8], id: u32) -> Vec<u8> {
    let place = 4 + 1 + usize::from(part[4]);
    [&part[..place], &id.to_be_bytes(), &part[place + 4..]].concat()
}

/// A changegroup of version 02, in a part that must be understood.
pub fn changegroup(pieces: impl IntoIterator<Item = Incoming>) -> Vec<u8> {
    part("CHANGEGROUP", &[("VERSION", "02")], &changegroup_bytes(pieces, false))
}

/// The same in version 03, whose revisions have flags.
pub fn changegroup_with_flags(pieces: impl IntoIterator<Item = Incoming>) -> Vec<u8> {
    part("CHANGEGROUP", &[("VERSION", "03")], &changegroup_bytes(pieces, true))
}

/// The payload of such a part.
pub fn changegroup_bytes(pieces: impl IntoIterator<Item = Incoming>, with_flags: bool) -> Vec<u8> {
    let chunk = |content: &[u8]| [&(content.len() as u32 + 4).to_be_bytes(), content].concat();
    // Behind the manifests version 03 has those of folders, and an end of their list.
    let mut in_trees = with_flags;
    let bytes = pieces.into_iter().flat_map(|piece| {
        let ends = in_trees && matches!(piece, Incoming::File(_) | Incoming::End);
        in_trees &= !ends;
        let bytes = match piece {
            Incoming::Changelog | Incoming::Manifest => Vec::new(),
            Incoming::Tree(name) | Incoming::File(name) => chunk(&name),
            Incoming::Revision(revision) => chunk(&revision_bytes(&revision, with_flags)),
            Incoming::EndOfGroup | Incoming::End => vec![0; 4],
        };
        [vec![0; if ends { 4 } else { 0 }], bytes].concat()
    });
    bytes.collect()
}

/// A changegroup with manifests of folders, in a part that must be understood.
pub fn changegroup_with_trees(pieces: impl IntoIterator<Item = Incoming>) -> Vec<u8> {
    part("CHANGEGROUP", &[("VERSION", "03"), ("TREEMANIFEST", "1")], &changegroup_bytes(pieces, true))
}

fn revision_bytes(revision: &IncomingRevision, with_flags: bool) -> Vec<u8> {
    let nodes = [revision.node, revision.p1, revision.p2, revision.base, revision.link];
    let nodes: Vec<u8> = nodes.iter().flat_map(|node| *node.as_bytes()).collect();
    let flags = if with_flags { &revision.flags.to_be_bytes()[..] } else { &[] };
    [&nodes, flags, &revision.delta].concat()
}

fn length_of(bytes: &[u8]) -> [u8; 4] {
    (bytes.len() as u32).to_be_bytes()
}
