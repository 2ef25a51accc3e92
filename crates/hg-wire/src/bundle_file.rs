//! Bundles as files: what `hg bundle` makes of everything that is public, for whoever clones, or of a part of it, for whoever pulls.
//!
//! ```text
//! "HG20", length of stream parameters (4, BE), "Compression=ZS" or the like, then, compressed: parts, 00000000
//! ```

use crate::CommandError;
use crate::bundle2_writer::Bundle2Writer;
use crate::capabilities::BundleCapabilities;
use crate::compression::Engine;
use crate::getbundle::{Bundle, GetbundleArguments};
use crate::quoting::quote;
use crate::stream_clone;
use hg_store::{Node, Phase, Revision, Snapshot, walk};
use std::io::Write;
use std::sync::Arc;

/// What a bundle holds and how it is compressed, by the names of `hg bundle --type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BundleType {
    /// `zstd-v2`.
    ZstdV2,
    /// `gzip-v2`.
    GzipV2,
    /// `none-v2`.
    NoneV2,
    /// `none-streamv2`: the store's files.
    NoneStreamV2,
}

impl BundleType {
    /// All that can be made.
    pub const ALL: [BundleType; 4] =
        [BundleType::ZstdV2, BundleType::GzipV2, BundleType::NoneV2, BundleType::NoneStreamV2];

    /// Returns the name.
    pub fn as_str(self) -> &'static str {
        match self {
            BundleType::ZstdV2 => "zstd-v2",
            BundleType::GzipV2 => "gzip-v2",
            BundleType::NoneV2 => "none-v2",
            BundleType::NoneStreamV2 => "none-streamv2",
        }
    }

    /// Returns the type of that name.
    pub fn parse(name: &str) -> Option<BundleType> {
        BundleType::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// Returns the `BUNDLESPEC` of such a bundle of a repository, from which a client tells whether it can use it.
    pub fn spec(self, snapshot: &Snapshot) -> String {
        match self {
            BundleType::NoneStreamV2 => {
                format!("none-v2;stream=v2;requirements%3D{}", quote(stream_clone::requirements(snapshot).as_bytes()))
            }
            other => other.as_str().to_owned(),
        }
    }

    fn engine(self) -> Engine {
        match self {
            BundleType::ZstdV2 => Engine::Zstd,
            BundleType::GzipV2 => Engine::Zlib,
            BundleType::NoneV2 | BundleType::NoneStreamV2 => Engine::None,
        }
    }

    /// Stream parameters that say how what follows is compressed.
    fn parameters(self) -> &'static [u8] {
        match self {
            BundleType::ZstdV2 => b"Compression=ZS",
            BundleType::GzipV2 => b"Compression=GZ",
            BundleType::NoneV2 | BundleType::NoneStreamV2 => b"",
        }
    }
}

/// A bundle of public changesets, ready to be written.
pub struct BundleFile {
    kind: BundleType,
    bundle: Bundle,
    snapshot: Arc<Snapshot>,
    tip: Revision,
    changesets: usize,
    heads: Vec<Node>,
    bases: Vec<Node>,
}

impl BundleFile {
    /// Finds what is in one of everything public. `None`: nothing is public, so there is nothing to be cloned.
    ///
    /// # Errors
    /// A store that can't be read; a stream of a repository with changesets that nobody may see.
    pub fn full(snapshot: Arc<Snapshot>, kind: BundleType) -> Result<Option<BundleFile>, CommandError> {
        let changelog = snapshot.changelog();
        let (served, phases) = (snapshot.served()?, snapshot.phases()?);
        let is_public = |revision: &Revision| phases.phase(*revision) == Phase::Public;
        let public = match snapshot.settings().publishing() || phases.non_public().is_empty() {
            true => served.heads().to_vec(),
            // Ancestors of a public changeset are public.
            false => {
                let all: Vec<Revision> = changelog.revisions().filter(is_public).collect();
                walk::heads_of(changelog, &all).into_iter().filter(|head| served.contains(*head)).collect()
            }
        };
        BundleFile::of(snapshot, kind, &public, &[])
    }

    /// Finds what is in one of these changesets and their ancestors, without `bases` and theirs. `None`: nothing is left.
    ///
    /// # Errors
    /// One that is not public, or not shown; a bundle of the store's files, which has no parts; a store that can't be read.
    pub fn part(
        snapshot: Arc<Snapshot>,
        kind: BundleType,
        heads: &[Revision],
        bases: &[Revision],
    ) -> Result<Option<BundleFile>, CommandError> {
        let refused = |text: String| Err(CommandError::Refused(text));
        if kind == BundleType::NoneStreamV2 {
            return refused("a bundle of the store's files is no answer to a pull".to_owned());
        }
        let (served, phases) = (snapshot.served()?, snapshot.phases()?);
        let is_seen_by_all = |revision: &&Revision| {
            served.contains(**revision)
                && (snapshot.settings().publishing() || phases.phase(**revision) == Phase::Public)
        };
        if let Some(other) = heads.iter().chain(bases).find(|revision| !is_seen_by_all(revision)) {
            return refused(format!("{} is not public", snapshot.changelog().node(*other)));
        }
        let changelog = snapshot.changelog();
        let (heads, bases) = (walk::heads_of(changelog, heads), walk::heads_of(changelog, bases));
        BundleFile::of(snapshot, kind, &heads, &bases)
    }

    /// Neither list has an ancestor of another in it.
    fn of(
        snapshot: Arc<Snapshot>,
        kind: BundleType,
        heads: &[Revision],
        bases: &[Revision],
    ) -> Result<Option<BundleFile>, CommandError> {
        let changelog = snapshot.changelog();
        let changesets = walk::missing(changelog, bases, heads).len();
        let Some(tip) = heads.iter().max().copied().filter(|_| changesets > 0) else { return Ok(None) };
        let is_stream = kind == BundleType::NoneStreamV2;
        let says: &[u8] = match is_stream {
            true => b"HG20,bundle2=stream%3Dv2%0Aobsmarkers%3DV0%2CV1",
            false => b"HG20,bundle2=changegroup%3D02",
        };
        let nodes = |revisions: &[Revision]| revisions.iter().map(|revision| changelog.node(*revision)).collect();
        let (heads, bases): (Vec<Node>, Vec<Node>) = (nodes(heads), nodes(bases));
        let arguments = GetbundleArguments {
            heads: heads.clone(),
            says_no_heads: false,
            common: bases.clone(),
            capabilities: BundleCapabilities::parse(says)?,
            stream: is_stream,
            changegroup: !is_stream,
            bookmarks: false,
            phases: false,
            obsmarkers: false,
            listkeys: Vec::new(),
        };
        let bundle = Bundle::new(snapshot.clone(), &arguments)?;
        Ok(Some(BundleFile { kind, bundle, snapshot, tip, changesets, heads, bases }))
    }

    /// Returns a file name that says what is in it, as stock names such files.
    pub fn file_name(&self) -> String {
        let tip = self.snapshot.changelog().node(self.tip).to_string();
        format!("{}-{}_revs-{}_tip.hg", self.kind.as_str(), self.changesets, &tip[..12])
    }

    /// Returns the heads of what is in it.
    pub fn heads(&self) -> &[Node] {
        &self.heads
    }

    /// Returns the changesets on which it builds; they and their ancestors are not in it.
    pub fn bases(&self) -> &[Node] {
        &self.bases
    }

    /// Writes it.
    ///
    /// # Errors
    /// A store that can't be read; `output` fails.
    pub fn write(self, output: &mut dyn Write) -> Result<(), CommandError> {
        let parameters = self.kind.parameters();
        output.write_all(b"HG20")?;
        output.write_all(&(parameters.len() as u32).to_be_bytes())?;
        output.write_all(parameters)?;
        let bundle = self.bundle;
        self.kind
            .engine()
            .compress(self.snapshot.settings(), output, |output| bundle.write_parts(Bundle2Writer::behind_head(output)))
    }
}
