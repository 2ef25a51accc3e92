//! Which changesets a server shows, by the names that Mercurial has for it.

/// A filter of `repoview.filtertable`. Those that would show secret changesets (`visible`, `visible-hidden`, no filter) have no place
/// here: whatever looks at a snapshot may send what it sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Filter {
    /// Neither secret nor hidden.
    #[default]
    Served,
    /// Not secret; obsolete ones are shown whether something builds on them or not.
    ServedHidden,
    /// Public.
    Immutable,
    /// Those below the first that isn't public.
    Base,
}

impl Filter {
    /// All of them.
    pub const ALL: [Filter; 4] = [Filter::Served, Filter::ServedHidden, Filter::Immutable, Filter::Base];

    /// Mercurial's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Filter::Served => "served",
            Filter::ServedHidden => "served.hidden",
            Filter::Immutable => "immutable",
            Filter::Base => "base",
        }
    }

    /// The filter of that name.
    pub fn parse(name: &[u8]) -> Option<Filter> {
        Filter::ALL.into_iter().find(|filter| filter.as_str().as_bytes() == name)
    }

    /// What is seen in its place by who may see hidden changesets. Only `served` leaves those out that are hidden and nothing else.
    pub fn with_hidden(self) -> Filter {
        match self {
            Filter::Served => Filter::ServedHidden,
            other => other,
        }
    }
}
