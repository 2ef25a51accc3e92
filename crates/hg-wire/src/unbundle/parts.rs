//! The parts of a bundle2 push, applied in the order of the stream to what is prepared.

use super::copy::BundleCopy;
use super::failure::{BROKEN, PushFailure};
use super::narrate::Narrated;
use super::payloads::{self, ReplyCapabilities};
use super::summary::Totals;
use super::{keys, race};
use crate::bundle2_reader::{Part, PartHeader as IncomingHeader};
use crate::bundle2_writer::PartHeader;
use crate::changegroup_reader::{ChangegroupLimits, ChangegroupReader, ChangegroupVersion};
use crate::error::shown;
use hg_store::prepare::{ChangegroupOutcome, IncomingChangegroup, Place, Preparation, PrepareError, Refusal};
use hg_store::{Node, Snapshot, obsstore};
use std::io::{Read, Write};

/// Bytes of one part that is not a changegroup.
const SMALL_PART_BYTES_MAX: u64 = 64 << 20;
/// Bytes of the client's capabilities.
const CAPABILITIES_BYTES_MAX: u64 = 1 << 20;

/// A push as far as its parts were read.
pub(super) struct Application<'a> {
    pub preparation: Preparation<'a>,
    pub snapshot: &'a Snapshot,
    pub limits: ChangegroupLimits,
    /// What the client understands of replies; it gets none before it has said so.
    pub capabilities: Option<ReplyCapabilities>,
    pub replies: Vec<PartHeader>,
    pub totals: Totals,
    /// Where the changesets are written down again.
    pub copy: Option<BundleCopy>,
    /// Whether a part has changed something: what the client expects can't be checked after that.
    pub changed: bool,
}

/// Parameters that a part may have as mandatory ones; `None` for a type that isn't known.
fn known_parameters(kind: &str) -> Option<&'static [&'static str]> {
    Some(match kind {
        "changegroup" => {
            &["version", "nbchanges", "exp-sidedata", "exp-wanted-sidedata", "treemanifest", "targetphase"]
        }
        "replycaps" | "pushvars" | "check:heads" | "check:updated-heads" | "check:phases" | "check:bookmarks" => &[],
        "phase-heads" | "bookmarks" | "obsmarkers" | "hgtagsfnodes" | "cache:rev-branch-cache" | "output" => &[],
        "listkeys" => &["namespace"],
        "pushkey" => &["namespace", "key", "old", "new"],
        "error:abort" => &["message", "hint"],
        "error:unsupportedcontent" => &["parttype", "params"],
        "error:pushraced" => &["message"],
        "error:pushkey" => &["namespace", "key", "new", "old", "ret", "in-reply-to"],
        "reply:changegroup" | "reply:pushkey" => &["return", "in-reply-to"],
        "reply:obsmarkers" => &["new", "in-reply-to"],
        _ => return None,
    })
}

/// Whether the part is one to apply. A part that isn't known, or has a mandatory parameter that isn't, is passed over if it is advisory.
fn understood(header: &IncomingHeader) -> Result<bool, PushFailure> {
    let kind = header.name();
    let Some(known) = known_parameters(&kind) else {
        return if header.is_mandatory() {
            Err(PushFailure::Unsupported { part: kind, parameters: vec![] })
        } else {
            Ok(false)
        };
    };
    let mut unknown: Vec<String> = header
        .parameters
        .iter()
        .filter(|parameter| parameter.mandatory && !known.iter().any(|name| name.as_bytes() == parameter.key))
        .map(|parameter| shown(&parameter.key))
        .collect();
    if unknown.is_empty() {
        return Ok(true);
    }
    unknown.sort();
    if header.is_mandatory() { Err(PushFailure::Unsupported { part: kind, parameters: unknown }) } else { Ok(false) }
}

impl Application<'_> {
    /// Applies one part.
    pub(super) fn apply<R: Read>(
        &mut self,
        part: &mut Part<'_, R>,
        messages: &mut dyn Write,
    ) -> Result<(), PushFailure> {
        if !understood(&part.header)? {
            return Ok(());
        }
        let kind = part.header.name();
        if kind.starts_with("check:") && self.changed {
            return Err(late(&kind));
        }
        match kind.as_str() {
            "replycaps" => {
                let payload = part.read_all(CAPABILITIES_BYTES_MAX)?;
                self.capabilities.get_or_insert_with(|| ReplyCapabilities::parse(&payload));
                Ok(())
            }
            "pushvars" if self.changed => Err(late(&kind)),
            "check:heads" => race::check_heads(self.snapshot, &part.read_all(SMALL_PART_BYTES_MAX)?),
            "check:updated-heads" => race::check_updated_heads(self.snapshot, &part.read_all(SMALL_PART_BYTES_MAX)?),
            "check:bookmarks" => race::check_bookmarks(self.snapshot, &part.read_all(SMALL_PART_BYTES_MAX)?),
            "check:phases" => race::check_phases(self.snapshot, &part.read_all(SMALL_PART_BYTES_MAX)?),
            "changegroup" => self.changegroup(part, messages),
            "phase-heads" => self.phase_heads(&part.read_all(SMALL_PART_BYTES_MAX)?),
            "bookmarks" => self.bookmarks(&part.read_all(SMALL_PART_BYTES_MAX)?),
            "obsmarkers" => self.markers(part),
            "pushkey" => self.pushkey(&part.header, messages),
            "error:abort" => Err(PushFailure::Abort {
                message: text(&part.header, "message").unwrap_or_default(),
                hint: text(&part.header, "hint"),
            }),
            "error:unsupportedcontent" => Err(PushFailure::Unsupported {
                part: text(&part.header, "parttype").unwrap_or_default(),
                parameters: text(&part.header, "params")
                    .map(|names| names.split('\0').map(str::to_owned).collect())
                    .unwrap_or_default(),
            }),
            "error:pushraced" | "error:pushkey" => {
                Err(PushFailure::abort(text(&part.header, "message").unwrap_or_else(|| "the client gave up".into())))
            }
            // What is left says nothing to a server: caches that it makes itself, lists, words, replies to what it never asked, variables for hooks that
            // don't run here.
            _ => Ok(()),
        }
    }

    fn changegroup<R: Read>(&mut self, part: &mut Part<'_, R>, messages: &mut dyn Write) -> Result<(), PushFailure> {
        let version = part.header.parameter("version").unwrap_or(b"01");
        let version = ChangegroupVersion::from_name(version).ok_or_else(|| {
            let what = format!("changegroup version {} is not supported", shown(version));
            PushFailure::refused(what, "in the bundle", "Push with a Mercurial client of version 4.9 or later")
        })?;
        self.check_format(part.header.parameter("treemanifest").is_some())?;
        if let Some(count) = part.header.parameter("nbchanges")
            && !count.iter().all(u8::is_ascii_digit)
        {
            let what = format!("malformed number of changesets: {}", shown(count));
            return Err(PushFailure::refused(what, "in the changegroup", BROKEN));
        }
        let reply_to = part.header.id;
        let outcome = self.add_changegroup(ChangegroupReader::new(&mut *part, version, self.limits), messages)?;
        if part.read(&mut [0]).map_err(crate::bundle2_reader::BundleError::from)? > 0 {
            return Err(PushFailure::refused("other bytes follow its end", "in the changegroup", BROKEN));
        }
        self.changed = true;
        self.reply(
            PartHeader::new("reply:changegroup")
                .advisory("in-reply-to", reply_to.to_string())
                .advisory("return", outcome.return_code().to_string()),
        );
        Ok(())
    }

    /// Checks that manifests come as the repository has them: in trees or not. Stock takes flat ones into a repository with trees, which
    /// then has both; and makes an empty repository one with trees.
    pub(super) fn check_format(&self, in_trees: bool) -> Result<(), PushFailure> {
        let what = match (in_trees, self.snapshot.repository().requirements().tree_manifests()) {
            (true, false) => Refusal::Trees,
            (false, true) => Refusal::FlatManifests,
            _ => return Ok(()),
        };
        Err(PrepareError::Refused { what, place: Place::Changegroup }.into())
    }

    /// Prepares what a changegroup brings, and says how far it was read.
    pub(super) fn add_changegroup(
        &mut self,
        reader: impl IncomingChangegroup,
        messages: &mut dyn Write,
    ) -> Result<ChangegroupOutcome, PushFailure> {
        let mut source = Narrated::new(reader, messages);
        let outcome = match &mut self.copy {
            None => self.preparation.add_changegroup(&mut source).map_err(PushFailure::from),
            Some(copy) => {
                let mut copied = copy.begin(&mut source)?;
                let outcome = self.preparation.add_changegroup(&mut copied).map_err(PushFailure::from);
                outcome.and_then(|outcome| copied.finish().map(|()| outcome))
            }
        };
        self.totals.seen(source.revisions(), outcome.is_ok());
        let outcome = outcome?;
        self.totals.add(&outcome);
        Ok(outcome)
    }

    fn phase_heads(&mut self, payload: &[u8]) -> Result<(), PushFailure> {
        let heads = payloads::phases(payload)?;
        for group in heads.chunk_by(|a, b| a.0 == b.0) {
            let mut revisions = Vec::with_capacity(group.len());
            for (_, node) in group.iter().filter(|(_, node)| !node.is_null()) {
                let revision = self.preparation.changelog().revision_of(node);
                revisions.push(revision.ok_or_else(|| unknown_revision(node))?);
            }
            self.changed |= self.preparation.advance_phases(group[0].0, &revisions)?;
        }
        Ok(())
    }

    fn bookmarks(&mut self, payload: &[u8]) -> Result<(), PushFailure> {
        let bookmarks = payloads::bookmarks(payload)?;
        for (name, node) in &bookmarks {
            keys::check_bookmark_name(name)?;
            self.check_bookmark_node(name, *node)?;
        }
        for (name, node) in &bookmarks {
            self.preparation.set_bookmark(name, *node)?;
        }
        self.changed |= !bookmarks.is_empty();
        Ok(())
    }

    /// Stock writes a bookmark on a changeset that it doesn't have, and drops it the next time it writes.
    fn check_bookmark_node(&self, name: &[u8], node: Option<Node>) -> Result<(), PushFailure> {
        match node {
            Some(node) if !node.is_null() && self.preparation.changelog().revision_of(&node).is_none() => {
                let what = format!("unknown revision {}", race::short(&node));
                let place = format!("bookmark {}", shown(name));
                Err(PushFailure::refused(what, place, "Push that changeset too, or pull and push again"))
            }
            _ => Ok(()),
        }
    }

    fn markers<R: Read>(&mut self, part: &mut Part<'_, R>) -> Result<(), PushFailure> {
        let payload = part.read_all(SMALL_PART_BYTES_MAX)?;
        if !self.snapshot.settings().creates_markers() {
            return if part.header.is_mandatory() {
                Err(PushFailure::abort("creating obsolete markers is not enabled on this repo"))
            } else {
                Ok(())
            };
        }
        let new = self.add_markers(&payload)?;
        self.reply(
            PartHeader::new("REPLY:OBSMARKERS")
                .advisory("in-reply-to", part.header.id.to_string())
                .advisory("new", new.to_string()),
        );
        Ok(())
    }

    /// Adds encoded markers; returns how many of them are new.
    pub(super) fn add_markers(&mut self, encoded: &[u8]) -> Result<usize, PushFailure> {
        let markers = obsstore::parse(encoded)
            .map_err(|error| PushFailure::refused(error, "in the obsolescence markers", BROKEN))?;
        if markers.iter().any(|marker| marker.successors.iter().any(Node::is_null)) {
            return Err(PushFailure::refused(
                "bad obsolescence marker detected: invalid successors nullid",
                "in the push",
                "Look at hg debugobsolete, and push without that marker",
            ));
        }
        let new = self.preparation.add_markers(&markers)?;
        self.changed |= new > 0;
        self.totals.add_markers(markers, new);
        Ok(new)
    }

    fn pushkey(&mut self, header: &IncomingHeader, messages: &mut dyn Write) -> Result<(), PushFailure> {
        let missing = |key: &str| PushFailure::refused(format!("no {key}"), "in a part pushkey", BROKEN);
        let value = |key: &str| header.parameter(key).ok_or_else(|| missing(key));
        let arguments = crate::pushkey::Arguments {
            namespace: value("namespace")?,
            key: value("key")?,
            old: value("old")?,
            new: value("new")?,
        };
        let moved = self.push_key(&arguments, messages)?;
        self.reply(
            PartHeader::new("REPLY:PUSHKEY")
                .advisory("in-reply-to", header.id.to_string())
                .advisory("return", if moved { "1" } else { "0" }),
        );
        if header.is_mandatory() && !moved {
            let text = |key| text(header, key).unwrap_or_default();
            let failure = PushFailure::Pushkey {
                part: header.id,
                namespace: text("namespace"),
                key: text("key"),
                old: text("old"),
                new: text("new"),
            };
            let known = self.capabilities.as_ref().is_none_or(|capabilities| capabilities.knows_error("pushkey"));
            return Err(if known { failure } else { PushFailure::abort(failure.to_string()) });
        }
        Ok(())
    }

    fn reply(&mut self, part: PartHeader) {
        if self.capabilities.is_some() {
            self.replies.push(part);
        }
    }
}

/// A part that only counts before the first one that changes something.
fn late(kind: &str) -> PushFailure {
    PushFailure::refused(format!("{kind} comes after a part that changes something"), "in the bundle", BROKEN)
}

/// Phases are pushed, or expected, of a changeset that is neither here nor in the push.
pub(super) fn unknown_revision(node: &Node) -> PushFailure {
    PushFailure::refused(format!("unknown revision '{node}'"), "in the phases of the push", "Pull, and push again")
}

fn text(header: &IncomingHeader, key: &str) -> Option<String> {
    header.parameter(key).map(|value| String::from_utf8_lossy(value).into_owned())
}
