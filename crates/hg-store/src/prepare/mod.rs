//! Turns incoming revisions, phases, bookmarks and markers into a change.
