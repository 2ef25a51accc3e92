//! What of a repository's `hgrc` matters to a server, typed.

use crate::config::Config;

/// The settings of one repository; anything else in its `hgrc` has no effect.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    config: Config,
}

impl Settings {
    /// `phases.publish`: pushed changesets become public. Default: yes.
    pub fn publishing(&self) -> bool {
        todo!()
    }

    /// Whether obsolescence markers are exchanged: `experimental.evolution` (`all`, or with `exchange`),
    /// `experimental.evolution.exchange`. Default: no.
    pub fn exchanges_markers(&self) -> bool {
        todo!()
    }

    /// Whether markers may be created: `experimental.evolution`, `experimental.evolution.createmarkers`. Default: no.
    pub fn creates_markers(&self) -> bool {
        todo!()
    }

    /// `web.name`.
    pub fn name(&self) -> Option<&[u8]> {
        todo!()
    }

    /// `web.description`.
    pub fn description(&self) -> Option<&[u8]> {
        todo!()
    }

    /// `web.contact`, else `ui.username`.
    pub fn contact(&self) -> Option<&[u8]> {
        todo!()
    }

    /// `server.uncompressed`: stream clones are allowed. Default: yes.
    pub fn stream_clones(&self) -> bool {
        todo!()
    }

    /// `server.preferuncompressed`: clients are asked to take a stream clone. Default: no.
    pub fn prefers_stream_clones(&self) -> bool {
        todo!()
    }

    /// `server.zstdlevel`: 1 to 22. Default: 3.
    pub fn zstd_level(&self) -> i32 {
        todo!()
    }

    /// `server.zliblevel`: -1 to 9, -1 being zlib's own default. Default: -1.
    pub fn zlib_level(&self) -> i32 {
        todo!()
    }

    /// All that the file says.
    pub fn config(&self) -> &Config {
        &self.config
    }
}
