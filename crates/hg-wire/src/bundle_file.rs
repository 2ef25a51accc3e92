//! Bundles as files: what `hg bundle` makes of everything that is public, for whoever clones.
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
use hg_store::{Phase, Revision, Snapshot, walk};
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

/// A bundle of everything public, ready to be written.
pub struct FullBundle {
    kind: BundleType,
    bundle: Bundle,
    snapshot: Arc<Snapshot>,
    tip: Revision,
    changesets: usize,
}

impl FullBundle {
    /// Finds what is in it. `None`: nothing is public, so there is nothing to be cloned.
    ///
    /// # Errors
    /// A store that can't be read; a stream of a repository with changesets that nobody may see.
    pub fn new(snapshot: Arc<Snapshot>, kind: BundleType) -> Result<Option<FullBundle>, CommandError> {
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
        let Some(tip) = public.iter().max().copied() else { return Ok(None) };
        let is_stream = kind == BundleType::NoneStreamV2;
        let says: &[u8] = match is_stream {
            true => b"HG20,bundle2=stream%3Dv2%0Aobsmarkers%3DV0%2CV1",
            false => b"HG20,bundle2=changegroup%3D02",
        };
        let changesets = walk::ancestors(changelog, &public).len();
        let arguments = GetbundleArguments {
            heads: public.iter().map(|head| changelog.node(*head)).collect(),
            says_no_heads: false,
            common: Vec::new(),
            capabilities: BundleCapabilities::parse(says)?,
            stream: is_stream,
            changegroup: !is_stream,
            bookmarks: false,
            phases: false,
            obsmarkers: false,
            listkeys: Vec::new(),
        };
        let bundle = Bundle::new(snapshot.clone(), &arguments)?;
        Ok(Some(FullBundle { kind, bundle, snapshot, tip, changesets }))
    }

    /// Returns a file name that says what is in it, as stock names such files.
    pub fn file_name(&self) -> String {
        let tip = self.snapshot.changelog().node(self.tip).to_string();
        format!("{}-{}_revs-{}_tip.hg", self.kind.as_str(), self.changesets, &tip[..12])
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
