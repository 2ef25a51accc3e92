//! `getbundle`: changesets and whatever else a pull takes, as one bundle.
//!
//! Everything that can be wrong with a request is found before the first byte: the small parts are made at once, only
//! the changegroup is made while it is sent.

mod arguments;
mod caches;
mod markers;
mod phase_heads;

pub use arguments::GetbundleArguments;

use crate::CommandError;
use crate::bundle2_writer::{Bundle2Writer, PartHeader};
use crate::changegroup_writer::{self, Version};
use crate::commands;
use crate::outgoing::Outgoing;
use crate::stream_clone::StreamPart;
use hg_store::{Revision, Snapshot};
use std::io::Write;
use std::sync::Arc;

/// A bundle that is ready to be sent.
pub struct Bundle {
    snapshot: Arc<Snapshot>,
    /// In the place of changesets.
    stream: Option<StreamPart>,
    changegroup: Option<(Version, Outgoing)>,
    /// `None`: a raw changegroup of version 01.
    parts: Option<Vec<(PartHeader, Vec<u8>)>>,
}

impl Bundle {
    /// Finds what goes out, and makes all parts but the changegroup.
    pub fn new(snapshot: Arc<Snapshot>, arguments: &GetbundleArguments) -> Result<Bundle, CommandError> {
        let heads = wanted_heads(&snapshot, arguments)?;
        let changesets: Vec<Revision> = heads.iter().copied().flatten().collect();
        let capabilities = &arguments.capabilities;
        if !capabilities.bundle2 {
            changegroup_writer::check_version(&snapshot, Version::V01)?;
            let outgoing = outgoing(&snapshot, arguments, &changesets)?;
            return Ok(Bundle { snapshot, stream: None, changegroup: Some((Version::V01, outgoing)), parts: None });
        }
        let stream = match arguments.stream {
            true => Some(StreamPart::new(snapshot.clone(), capabilities)?),
            false => None,
        };
        let mut changegroup = None;
        if arguments.changegroup && !arguments.stream && !capabilities.is_empty() {
            let version = changegroup_version(arguments)?;
            changegroup_writer::check_version(&snapshot, version)?;
            let outgoing = outgoing(&snapshot, arguments, &changesets)?;
            changegroup = Some((version, outgoing)).filter(|(_, outgoing)| !outgoing.missing().is_empty());
        }
        // Whose phases and markers are told.
        let (heads, changesets) = match arguments.says_no_heads {
            true => (Vec::new(), Vec::new()),
            false => (heads, changesets),
        };
        let mut parts = Vec::new();
        if arguments.bookmarks {
            if capabilities.get("bookmarks").is_none() {
                return Err(CommandError::Refused(
                    "refused: no common bookmarks exchange method, with this client. Update Mercurial".to_owned(),
                ));
            }
            let payload = commands::listkeys::bookmarks_binary(&snapshot)?;
            if !payload.is_empty() {
                parts.push((PartHeader::new("BOOKMARKS"), payload));
            }
        }
        for namespace in &arguments.listkeys {
            let header = PartHeader::new("LISTKEYS").mandatory("namespace", namespace.clone());
            parts.push((header, commands::listkeys::listkeys(&snapshot, namespace)?));
        }
        if arguments.obsmarkers
            && snapshot.settings().exchanges_markers()
            && let Some(payload) = markers::payload(&snapshot, &changesets, capabilities)?
        {
            parts.push((PartHeader::new("OBSMARKERS"), payload));
        }
        if arguments.phases {
            if !capabilities.get("phases").is_some_and(|values| values.iter().any(|value| value == b"heads")) {
                return Err(CommandError::Refused(
                    "refused: no common phases exchange method, with this client. Update Mercurial".to_owned(),
                ));
            }
            parts.push((PartHeader::new("PHASE-HEADS"), phase_heads::payload(&snapshot, &heads)?));
        }
        if arguments.changegroup && capabilities.get("hgtagsfnodes").is_some() {
            let payload = caches::tags_file_nodes(&snapshot, &heads);
            if !payload.is_empty() {
                parts.push((PartHeader::new("hgtagsfnodes"), payload));
            }
        }
        if arguments.changegroup && capabilities.get("rev-branch-cache").is_some() {
            let missing = changegroup.as_ref().map_or(&[][..], |(_, outgoing)| outgoing.missing());
            parts.push((PartHeader::new("cache:rev-branch-cache"), caches::branches(&snapshot, missing)?));
        }
        Ok(Bundle { snapshot, stream, changegroup, parts: Some(parts) })
    }

    /// Returns whether the store's files are in it.
    pub fn has_stream(&self) -> bool {
        self.stream.is_some()
    }

    /// Writes the bundle. When the store fails in the middle, a bundle2 stream ends with an error that the client
    /// prints; the error is returned in either case.
    pub fn write(self, output: &mut dyn Write) -> Result<(), CommandError> {
        if self.parts.is_some() {
            return self.write_parts(Bundle2Writer::new(output)?);
        }
        let Some((version, mut outgoing)) = self.changegroup else { return Ok(()) };
        changegroup_writer::write(&self.snapshot, &mut outgoing, version, output)
    }

    /// Writes the parts of a bundle2 stream whose head is written, and its end.
    ///
    /// # Errors
    /// As for [`Bundle::write`].
    pub(crate) fn write_parts<W: Write>(self, mut bundle: Bundle2Writer<W>) -> Result<(), CommandError> {
        let Bundle { snapshot, stream, changegroup, parts } = self;
        let sent = match (stream, changegroup) {
            (Some(stream), _) => payload(&mut bundle, &stream.header(), |output| stream.write(output)),
            (None, Some((version, mut outgoing))) => {
                let header = PartHeader::new("CHANGEGROUP")
                    .mandatory("version", version.as_str())
                    .advisory("nbchanges", outgoing.missing().len().to_string());
                let header = match snapshot.repository().requirements().tree_manifests() {
                    true => header.mandatory("treemanifest", "1"),
                    false => header,
                };
                payload(&mut bundle, &header, |output| {
                    changegroup_writer::write(&snapshot, &mut outgoing, version, output)
                })
            }
            (None, None) => Ok(()),
        };
        match sent {
            Ok(()) => {}
            Err(CommandError::Output(error)) => return Err(error.into()),
            Err(error) => {
                bundle.finish()?;
                return Err(error);
            }
        }
        for (header, payload) in parts.iter().flatten() {
            bundle.part(header, payload)?;
        }
        bundle.finish()?;
        Ok(())
    }
}

/// Writes a part whose payload is made meanwhile. Where that fails, the part ends with an error that the client prints.
fn payload<W: Write>(
    bundle: &mut Bundle2Writer<W>,
    header: &PartHeader,
    write: impl FnOnce(&mut dyn Write) -> Result<(), CommandError>,
) -> Result<(), CommandError> {
    let mut part = bundle.begin(header)?;
    match write(&mut part) {
        Ok(()) => Ok(part.finish()?),
        Err(CommandError::Output(error)) => Err(error.into()),
        Err(error) => {
            part.abort(&error.client_text())?;
            Err(error)
        }
    }
}

/// Returns a bundle2 stream that says only why there is no other.
pub fn error_bundle(text: &str, hint: Option<&str>) -> Result<Vec<u8>, CommandError> {
    let mut bundle = Bundle2Writer::new(Vec::new())?;
    let mut part = PartHeader::new("ERROR:ABORT").mandatory("message", text);
    if let Some(hint) = hint {
        part = part.advisory("hint", hint);
    }
    bundle.part(&part, b"")?;
    Ok(bundle.finish()?)
}

/// Returns the heads that are asked for; all of them when none is named. `None` is the null revision.
fn wanted_heads(snapshot: &Snapshot, arguments: &GetbundleArguments) -> Result<Vec<Option<Revision>>, CommandError> {
    let served = snapshot.served()?;
    if arguments.heads.is_empty() {
        if served.heads().is_empty() {
            // The one head of an empty repository.
            return Ok(vec![None]);
        }
        return Ok(served.heads().iter().copied().map(Some).collect());
    }
    let changelog = snapshot.changelog();
    let mut heads = Vec::with_capacity(arguments.heads.len());
    for node in &arguments.heads {
        if node.is_null() {
            heads.push(None);
            continue;
        }
        match changelog.revision_of(node).filter(|revision| served.contains(*revision)) {
            Some(revision) => heads.push(Some(revision)),
            None => return Err(CommandError::Refused(format!("unknown revision '{node}'"))),
        }
    }
    heads.sort_unstable();
    heads.dedup();
    Ok(heads)
}

/// Returns the highest changegroup version in common.
fn changegroup_version(arguments: &GetbundleArguments) -> Result<Version, CommandError> {
    match arguments.capabilities.get("changegroup") {
        // Mercurial 3.1 and 3.2 name no version.
        None | Some([]) => Ok(Version::V01),
        Some(versions) => versions.iter().filter_map(|version| Version::parse(version)).max().ok_or_else(|| {
            CommandError::Refused(
                "refused: no common changegroup version, with this client. Update Mercurial".to_owned(),
            )
        }),
    }
}

/// Finds the changesets that go out. Of what the client has, only what is served counts.
fn outgoing(
    snapshot: &Snapshot,
    arguments: &GetbundleArguments,
    wanted: &[Revision],
) -> Result<Outgoing, CommandError> {
    let served = snapshot.served()?;
    let changelog = snapshot.changelog();
    let common: Vec<Revision> = arguments
        .common
        .iter()
        .filter_map(|node| changelog.revision_of(node))
        .filter(|revision| served.contains(*revision))
        .collect();
    let all_heads = served.excluded().is_empty().then(|| served.heads());
    Ok(Outgoing::new(changelog, &common, wanted, all_heads))
}
