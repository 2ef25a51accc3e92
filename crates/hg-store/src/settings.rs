//! What of a repository's `hgrc` matters to a server, typed.

use crate::Filter;
use crate::config::Config;

/// What is done with a bundle1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bundle1Action {
    /// It is asked for.
    Pull,
    /// It is brought.
    Push,
}

/// The settings of one repository; anything else in its `hgrc` has no effect.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    config: Config,
}

impl Settings {
    /// The settings in a parsed `hgrc`.
    pub fn new(config: Config) -> Settings {
        Settings { config }
    }

    /// `phases.publish`: pushed changesets become public. Default: yes.
    pub fn publishing(&self) -> bool {
        self.config.get_bool(b"phases", b"publish").unwrap_or(true)
    }

    /// Whether obsolescence markers are exchanged: `experimental.evolution.exchange`, else `experimental.evolution`.
    /// Never where none may be created. Default: no.
    pub fn exchanges_markers(&self) -> bool {
        self.creates_markers() && self.evolution(b"exchange")
    }

    /// Whether markers may be created: `experimental.evolution.createmarkers`, else `experimental.evolution`. Default: no.
    pub fn creates_markers(&self) -> bool {
        self.evolution(b"createmarkers")
    }

    fn evolution(&self, option: &[u8]) -> bool {
        const SECTION: &[u8] = b"experimental";
        let own = [b"evolution.", option].concat();
        if let Some(value) = self.config.get_bool(SECTION, &own) {
            return value;
        }
        if let Some(value) = self.config.get_bool(SECTION, b"evolution") {
            return value;
        }
        let list = self.config.get(SECTION, b"evolution").unwrap_or_default();
        let mut words = list.split(|byte| *byte == b',' || byte.is_ascii_whitespace());
        words.any(|word| word == b"all" || word == option)
    }

    /// `web.name`.
    pub fn name(&self) -> Option<&[u8]> {
        self.config.get(b"web", b"name")
    }

    /// `web.description`.
    pub fn description(&self) -> Option<&[u8]> {
        self.config.get(b"web", b"description")
    }

    /// `web.contact`, else `ui.username`.
    pub fn contact(&self) -> Option<&[u8]> {
        self.config.get(b"web", b"contact").or_else(|| self.config.get(b"ui", b"username"))
    }

    /// `server.view`: what the wire protocol shows. Default, and in the place of what would show secret changesets: `served`.
    pub fn server_view(&self) -> Filter {
        self.view(b"server")
    }

    /// `web.view`: what pages show; otherwise as [`server_view`](Self::server_view).
    pub fn web_view(&self) -> Filter {
        self.view(b"web")
    }

    fn view(&self, section: &[u8]) -> Filter {
        self.config.get(section, b"view").and_then(Filter::parse).unwrap_or_default()
    }

    /// Whether somebody who asks for them sees hidden changesets, by `experimental.server.allow-hidden-access`: a list of users, `*` alone being
    /// everybody. Default: nobody.
    pub fn may_see_hidden(&self, user: Option<&[u8]>) -> bool {
        self.names_user(b"experimental", b"server.allow-hidden-access", user).unwrap_or(false)
    }

    /// `server.uncompressed`: stream clones are allowed. Default: yes.
    pub fn stream_clones(&self) -> bool {
        self.config.get_bool(b"server", b"uncompressed").unwrap_or(true)
    }

    /// `server.preferuncompressed`: clients are asked to take a stream clone. Default: no.
    pub fn prefers_stream_clones(&self) -> bool {
        self.config.get_bool(b"server", b"preferuncompressed").unwrap_or(false)
    }

    /// `experimental.stream-v3`: stream clones in a layout that Mercurial may still change. Default: no.
    pub fn stream_v3(&self) -> bool {
        self.config.get_bool(b"experimental", b"stream-v3").unwrap_or(false)
    }

    /// `extensions.largefiles`: largefiles are taken, and served. Default: no.
    pub fn largefiles(&self) -> bool {
        self.has_extension(&[b"largefiles", b"hgext.largefiles"])
    }

    /// `extensions.lfs`: pointers to LFS objects are taken, and the objects taken and served. Default: no.
    pub fn lfs(&self) -> bool {
        self.has_extension(&[b"lfs", b"hgext.lfs"])
    }

    fn has_extension(&self, names: &[&[u8]]) -> bool {
        names.iter().any(|name| self.config.get(b"extensions", name).is_some_and(|value| !value.starts_with(b"!")))
    }

    /// Whether clients are told of clone bundles, where there is a manifest of them: unless the extension is switched off
    /// (`extensions.clonebundles = !`).
    pub fn clone_bundles(&self) -> bool {
        !self.config.get(b"extensions", b"clonebundles").is_some_and(|value| value.starts_with(b"!"))
    }

    /// `server.pullbundle`: bundles of `pullbundles.manifest` may be the answer to a pull. Default: no.
    pub fn pull_bundles(&self) -> bool {
        self.config.get_bool(b"server", b"pullbundle").unwrap_or(false)
    }

    /// `server.disablefullbundle`: who clones must take a clone bundle, or a stream. Default: no.
    pub fn disables_full_bundles(&self) -> bool {
        self.config.get_bool(b"server", b"disablefullbundle").unwrap_or(false)
    }

    /// Whether bundle1 is spoken, by `server.bundle1gd.ACTION`, `bundle1.ACTION`, `bundle1gd` and `bundle1`: the first of them that is
    /// set, those with `gd` only of repositories with general deltas. Default: yes.
    pub fn bundle1(&self, action: Bundle1Action, has_general_delta: bool) -> bool {
        let action = match action {
            Bundle1Action::Pull => "pull",
            Bundle1Action::Push => "push",
        };
        let keys = [
            (format!("bundle1gd.{action}"), has_general_delta),
            (format!("bundle1.{action}"), true),
            ("bundle1gd".to_owned(), has_general_delta),
            ("bundle1".to_owned(), true),
        ];
        let mut said = keys
            .iter()
            .filter(|(_, counts)| *counts)
            .filter_map(|(key, _)| self.config.get_bool(b"server", key.as_bytes()));
        said.next().unwrap_or(true)
    }

    /// `server.concurrent-push-mode`: a push may pass another one that touches no head of its own (`check-related`, the default); with
    /// any other value clients say all heads that they have seen, and none may have changed.
    pub fn lets_unrelated_pushes_pass(&self) -> bool {
        self.config.get(b"server", b"concurrent-push-mode").is_none_or(|mode| mode == b"check-related")
    }

    /// `server.maxhttpheaderlen`: bytes of a header in which a client may send arguments over HTTP, 64 to 16,000. Default: 1,024.
    pub fn http_header_bytes(&self) -> usize {
        const BYTES: std::ops::RangeInclusive<i64> = 64..=16_000;
        let bytes = self.config.get_number(b"server", b"maxhttpheaderlen").filter(|bytes| BYTES.contains(bytes));
        bytes.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(1024)
    }

    /// `experimental.httppostargs`: clients may send arguments in a body. Default: yes, unlike stock's.
    pub fn post_arguments(&self) -> bool {
        self.config.get_bool(b"experimental", b"httppostargs").unwrap_or(true)
    }

    /// Whether somebody may read over HTTP, by `web.deny_read` and `web.allow_read`: lists of users, `*` alone being everybody. Default: everybody.
    pub fn may_read(&self, user: Option<&[u8]>) -> bool {
        let is_in = |key| self.names_user(b"web", key, user);
        let is_denied = is_in(b"deny_read").is_some_and(|is_named| user.is_none() || is_named);
        !is_denied && is_in(b"allow_read").unwrap_or(true)
    }

    /// Whether a list of users has this one, `*` alone being everybody; `None`: it is empty.
    fn names_user(&self, section: &[u8], key: &[u8], user: Option<&[u8]>) -> Option<bool> {
        let names: Vec<&[u8]> = self.list(section, key).collect();
        (!names.is_empty()).then(|| names == [b"*"] || user.is_some_and(|user| names.contains(&user)))
    }

    /// `web.allow-pull`, or by its old name `web.allowpull`: the wire protocol is spoken over HTTP. Default: yes.
    pub fn allows_pull(&self) -> bool {
        let said = |key: &[u8]| self.config.get_bool(b"web", key);
        said(b"allow-pull").or_else(|| said(b"allowpull")).unwrap_or(true)
    }

    /// `web.hidden`: it stands in no list of repositories. Default: no.
    pub fn is_hidden(&self) -> bool {
        self.config.get_bool(b"web", b"hidden").unwrap_or(false)
    }

    /// The names in `server.compressionengines`, in their order; none where it is not set.
    pub fn compression_engines(&self) -> impl Iterator<Item = &[u8]> {
        self.list(b"server", b"compressionengines")
    }

    /// The words of a list: with blanks or commas between.
    fn list(&self, section: &[u8], key: &[u8]) -> impl Iterator<Item = &[u8]> {
        let value = self.config.get(section, key).unwrap_or_default();
        value.split(|byte| *byte == b',' || byte.is_ascii_whitespace()).filter(|word| !word.is_empty())
    }

    /// `server.zstdlevel`: 1 to 22. Default: 3.
    pub fn zstd_level(&self) -> i32 {
        self.level(b"zstdlevel", 1..=22).unwrap_or(3)
    }

    /// `server.zliblevel`: 0 to 9, or -1, zlib's own default. Default: -1.
    pub fn zlib_level(&self) -> i32 {
        self.level(b"zliblevel", -1..=9).unwrap_or(-1)
    }

    fn level(&self, key: &[u8], range: std::ops::RangeInclusive<i32>) -> Option<i32> {
        let level = i32::try_from(self.config.get_number(b"server", key)?).ok()?;
        range.contains(&level).then_some(level)
    }

    /// All that the file says.
    pub fn config(&self) -> &Config {
        &self.config
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Settings {
        Settings::new(Config::parse(text.as_bytes()).expect("parsed"))
    }

    #[test]
    fn defaults_are_stock_s() {
        let settings = settings("");
        assert!(settings.publishing() && settings.stream_clones());
        assert!(!settings.exchanges_markers() && !settings.creates_markers() && !settings.largefiles());
        assert_eq!((settings.zstd_level(), settings.zlib_level()), (3, -1));
    }

    #[test]
    fn extensions_are_on_where_they_are_named() {
        assert!(settings("[extensions]\nlargefiles =\n").largefiles());
        assert!(settings("[extensions]\nhgext.largefiles = /some/path\n").largefiles());
        assert!(!settings("[extensions]\nlargefiles = !\n").largefiles());
        assert!(settings("[extensions]\nlfs =\n").lfs() && !settings("[extensions]\nhgext.lfs = !\n").lfs());
    }

    #[test]
    fn the_most_exact_word_on_bundle1_counts() {
        let of = |lines: &str, has_general_delta| {
            let settings = settings(&format!("[server]\n{lines}\n"));
            (
                settings.bundle1(Bundle1Action::Pull, has_general_delta),
                settings.bundle1(Bundle1Action::Push, has_general_delta),
            )
        };
        assert_eq!(of("", true), (true, true));
        assert_eq!(of("bundle1 = no", true), (false, false));
        assert_eq!(of("bundle1 = no\nbundle1gd = yes", true), (true, true));
        assert_eq!(of("bundle1 = no\nbundle1gd = yes", false), (false, false));
        assert_eq!(of("bundle1.push = no\nbundle1gd = yes", true), (true, false));
        assert_eq!(of("bundle1.push = no\nbundle1gd.push = yes\nbundle1gd.pull = no", true), (false, true));
    }

    #[test]
    fn readers_are_narrowed_as_stock_does() {
        let of = |lines: &str| {
            let settings = settings(&format!("[web]\n{lines}\n"));
            [None, Some(b"ann".as_slice()), Some(b"bob")].map(|user| settings.may_read(user))
        };
        assert_eq!(of(""), [true, true, true]);
        assert_eq!(of("deny_read = ann"), [false, false, true]);
        assert_eq!(of("deny_read = *"), [false, false, false]);
        assert_eq!(of("allow_read = ann, carl"), [false, true, false]);
        assert_eq!(of("allow_read = *"), [true, true, true]);
        assert_eq!(of("allow_read = ann bob\ndeny_read = bob"), [false, true, false]);
        assert_eq!(of("allow_read =\ndeny_read ="), [true, true, true]);
    }

    #[test]
    fn a_view_that_would_show_secret_changesets_is_none() {
        let of = |lines: &str| (settings(lines).server_view(), settings(lines).web_view());
        assert_eq!(of("[server]\nview = immutable\n"), (Filter::Immutable, Filter::Served));
        assert_eq!(of("[web]\nview = base\n"), (Filter::Served, Filter::Base));
        assert_eq!(of("[server]\nview = served.hidden\n"), (Filter::ServedHidden, Filter::Served));
        for view in ["visible", "visible-hidden", "all", "", "Immutable", "immutable base"] {
            let lines = format!("[server]\nview = {view}\n[web]\nview = {view}\n");
            assert_eq!(of(&lines), (Filter::Served, Filter::Served), "{view}");
        }
    }

    #[test]
    fn hidden_changesets_are_shown_to_those_who_are_named() {
        let of = |value: &str| {
            let settings = settings(&format!("[experimental]\nserver.allow-hidden-access = {value}\n"));
            [None, Some(b"ann".as_slice()), Some(b"bob")].map(|user| settings.may_see_hidden(user))
        };
        assert_eq!(of(""), [false, false, false]);
        assert_eq!(of("*"), [true, true, true]);
        assert_eq!(of("ann, carl"), [false, true, false]);
        assert_eq!(of("*, ann"), [false, true, false]);
    }

    #[test]
    fn evolution_in_all_its_forms() {
        let of = |lines: &str| {
            let settings = settings(&format!("[experimental]\n{lines}\n"));
            (settings.creates_markers(), settings.exchanges_markers())
        };
        assert_eq!(of("evolution = all"), (true, true));
        assert_eq!(of("evolution = true"), (true, true));
        assert_eq!(of("evolution = createmarkers, exchange"), (true, true));
        assert_eq!(of("evolution = createmarkers"), (true, false));
        assert_eq!(of("evolution = exchange"), (false, false));
        assert_eq!(of("evolution.exchange = yes"), (false, false));
        assert_eq!(of("evolution.createmarkers = yes\nevolution.exchange = yes"), (true, true));
        assert_eq!(of("evolution = all\nevolution.exchange = no"), (true, false));
    }
}
