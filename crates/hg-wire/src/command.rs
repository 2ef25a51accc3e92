//! The commands that are served, and the arguments that each declares.

/// A command's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CommandName {
    /// Several reads in one request.
    Batch,
    /// Legacy discovery: samples between two changesets.
    Between,
    /// Legacy discovery: linear runs.
    Branches,
    /// Branch names and their heads.
    Branchmap,
    /// The capability string.
    Capabilities,
    /// Legacy pull: all descendants of some roots.
    Changegroup,
    /// Legacy pull: ancestors of some heads, without those of some bases.
    Changegroupsubset,
    /// The manifest of clone bundles, without what old clients don't know.
    Clonebundles,
    /// The manifest of clone bundles.
    ClonebundlesManifest,
    /// A clone bundle, over the connection itself.
    GetCachedBundleInline,
    /// Changesets and whatever else a pull takes, as one bundle.
    Getbundle,
    /// One largefile.
    Getlfile,
    /// The heads that are served.
    Heads,
    /// The capability string, in the form that opens a session over SSH.
    Hello,
    /// Which of some changesets are here.
    Known,
    /// The heads, for clients that know largefiles.
    Lheads,
    /// One namespace of keys.
    Listkeys,
    /// The hash that a name stands for.
    Lookup,
    /// What the client can do, over SSH.
    Protocaps,
    /// Moves one key of a namespace.
    Pushkey,
    /// Takes a largefile.
    Putlfile,
    /// Whether a largefile is here.
    Statlfile,
    /// The store's files as they are.
    StreamOut,
    /// Takes a bundle.
    Unbundle,
}

impl CommandName {
    /// Returns the command of that name, if it is served.
    pub fn parse(name: &[u8]) -> Option<CommandName> {
        Some(match name {
            b"batch" => CommandName::Batch,
            b"between" => CommandName::Between,
            b"branches" => CommandName::Branches,
            b"branchmap" => CommandName::Branchmap,
            b"capabilities" => CommandName::Capabilities,
            b"changegroup" => CommandName::Changegroup,
            b"changegroupsubset" => CommandName::Changegroupsubset,
            b"clonebundles" => CommandName::Clonebundles,
            b"clonebundles_manifest" => CommandName::ClonebundlesManifest,
            b"get_cached_bundle_inline" => CommandName::GetCachedBundleInline,
            b"getbundle" => CommandName::Getbundle,
            b"getlfile" => CommandName::Getlfile,
            b"heads" => CommandName::Heads,
            b"hello" => CommandName::Hello,
            b"known" => CommandName::Known,
            b"lheads" => CommandName::Lheads,
            b"listkeys" => CommandName::Listkeys,
            b"lookup" => CommandName::Lookup,
            b"protocaps" => CommandName::Protocaps,
            b"pushkey" => CommandName::Pushkey,
            b"putlfile" => CommandName::Putlfile,
            b"statlfile" => CommandName::Statlfile,
            b"stream_out" => CommandName::StreamOut,
            b"unbundle" => CommandName::Unbundle,
            _ => return None,
        })
    }

    /// Returns the name as it is on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            CommandName::Batch => "batch",
            CommandName::Between => "between",
            CommandName::Branches => "branches",
            CommandName::Branchmap => "branchmap",
            CommandName::Capabilities => "capabilities",
            CommandName::Changegroup => "changegroup",
            CommandName::Changegroupsubset => "changegroupsubset",
            CommandName::Clonebundles => "clonebundles",
            CommandName::ClonebundlesManifest => "clonebundles_manifest",
            CommandName::GetCachedBundleInline => "get_cached_bundle_inline",
            CommandName::Getbundle => "getbundle",
            CommandName::Getlfile => "getlfile",
            CommandName::Heads => "heads",
            CommandName::Hello => "hello",
            CommandName::Known => "known",
            CommandName::Lheads => "lheads",
            CommandName::Listkeys => "listkeys",
            CommandName::Lookup => "lookup",
            CommandName::Protocaps => "protocaps",
            CommandName::Pushkey => "pushkey",
            CommandName::Putlfile => "putlfile",
            CommandName::Statlfile => "statlfile",
            CommandName::StreamOut => "stream_out",
            CommandName::Unbundle => "unbundle",
        }
    }

    /// Returns the arguments that the command declares; over SSH it reads that many, `*` being one.
    pub fn declared(self) -> &'static [&'static str] {
        match self {
            CommandName::Batch => &["cmds", "*"],
            CommandName::Between => &["pairs"],
            CommandName::Branches => &["nodes"],
            CommandName::Changegroup => &["roots"],
            CommandName::Changegroupsubset => &["bases", "heads"],
            CommandName::ClonebundlesManifest | CommandName::Getbundle => &["*"],
            CommandName::GetCachedBundleInline => &["path"],
            CommandName::Getlfile | CommandName::Putlfile | CommandName::Statlfile => &["sha"],
            CommandName::Known => &["nodes", "*"],
            CommandName::Listkeys => &["namespace"],
            CommandName::Lookup => &["key"],
            CommandName::Protocaps => &["caps"],
            CommandName::Pushkey => &["namespace", "key", "old", "new"],
            CommandName::Unbundle => &["heads"],
            CommandName::Branchmap
            | CommandName::Capabilities
            | CommandName::Clonebundles
            | CommandName::Heads
            | CommandName::Hello
            | CommandName::Lheads
            | CommandName::StreamOut => &[],
        }
    }

    /// Returns whether the command changes the repository.
    pub fn writes(self) -> bool {
        matches!(self, CommandName::Pushkey | CommandName::Putlfile | CommandName::Unbundle)
    }
}
