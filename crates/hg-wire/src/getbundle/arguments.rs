//! The arguments of `getbundle`.

use crate::CommandError;
use crate::arguments::{self, Arguments};
use crate::capabilities::BundleCapabilities;
use crate::error::shown;
use hg_store::{Node, Snapshot};

/// Namespaces that one request may ask for.
const NAMESPACES_MAX: usize = 16;

/// What a client asks for.
#[derive(Debug, Clone)]
pub struct GetbundleArguments {
    /// Wanted heads; none means all.
    pub heads: Vec<Node>,
    /// It says that it wants no head, as a client of an empty repository does: for phases and markers that is none.
    pub says_no_heads: bool,
    /// What the client has.
    pub common: Vec<Node>,
    /// What it understands.
    pub capabilities: BundleCapabilities,
    /// It wants the store's files.
    pub stream: bool,
    /// It wants changesets.
    pub changegroup: bool,
    /// It wants the part with bookmarks.
    pub bookmarks: bool,
    /// It wants the part with phases.
    pub phases: bool,
    /// It wants the part with obsolescence markers.
    pub obsmarkers: bool,
    /// Namespaces of which it wants a part each.
    pub listkeys: Vec<Vec<u8>>,
}

impl GetbundleArguments {
    /// Parses the arguments. Those that no version of Mercurial's protocol knows are ignored, as stock does; those that
    /// ask for what is not served are refused.
    pub fn parse(arguments: &Arguments) -> Result<GetbundleArguments, CommandError> {
        let nodes = |name: &str| arguments::nodes(arguments.get(name.as_bytes()).unwrap_or_default());
        let boolean = |name: &str, default: bool| match arguments.get(name.as_bytes()) {
            None => Ok(default),
            Some(value) => arguments::boolean(name, value),
        };
        for name in ["includepats", "excludepats"] {
            if arguments.get(name.as_bytes()).is_some_and(|value| !value.is_empty()) {
                return Err(CommandError::Refused(
                    "refused: narrow clones are not served, on this server. Clone without --include and --exclude"
                        .to_owned(),
                ));
            }
        }
        boolean("cbattempted", false)?;
        let listkeys: Vec<Vec<u8>> = match arguments.get(b"listkeys") {
            None | Some(b"") => Vec::new(),
            Some(list) => list.split(|byte| *byte == b',').map(<[u8]>::to_vec).collect(),
        };
        if listkeys.len() > NAMESPACES_MAX {
            return Err(CommandError::TooLarge(format!("more than {NAMESPACES_MAX} namespaces")));
        }
        if let Some(long) = listkeys.iter().find(|name| name.len() > 255) {
            return Err(CommandError::Malformed(format!("not a namespace: '{}'", shown(long))));
        }
        Ok(GetbundleArguments {
            heads: nodes("heads")?,
            says_no_heads: arguments.get(b"heads").is_some_and(<[u8]>::is_empty),
            common: nodes("common")?,
            capabilities: BundleCapabilities::parse(arguments.get(b"bundlecaps").unwrap_or_default())?,
            stream: boolean("stream", false)?,
            changegroup: boolean("cg", true)?,
            bookmarks: boolean("bookmarks", false)?,
            phases: boolean("phases", false)?,
            obsmarkers: boolean("obsmarkers", false)?,
            listkeys,
        })
    }

    /// Whether all changesets that are served are asked for, by somebody who has none.
    ///
    /// # Errors
    /// A store that can't be read.
    pub fn is_full_clone(&self, snapshot: &Snapshot) -> Result<bool, CommandError> {
        if !self.changegroup || self.common.iter().any(|node| !node.is_null()) {
            return Ok(false);
        }
        let changelog = snapshot.changelog();
        let served = snapshot.served()?.heads().iter().map(|head| changelog.node(*head));
        let mut served: Vec<Node> = served.collect();
        if served.is_empty() {
            served.push(Node::NULL);
        }
        let mut asked = self.heads.clone();
        served.sort_unstable();
        asked.sort_unstable();
        asked.dedup();
        Ok(asked == served)
    }
}
