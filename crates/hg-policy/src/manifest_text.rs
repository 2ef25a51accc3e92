//! Looking for names in a manifest that was checked: sorted lines `path NUL 40hex [flag] LF`.

use memchr::{memchr, memrchr};

/// Whether it has a file of this path.
pub(crate) fn has_file(text: &[u8], path: &[u8]) -> bool {
    first_from(text, path) == Some(path)
}

/// Whether it has a file below a folder of this path.
pub(crate) fn has_folder(text: &[u8], path: &[u8]) -> bool {
    let below = [path, b"/"].concat();
    first_from(text, &below).is_some_and(|found| found.starts_with(&below))
}

/// The paths, in order.
pub(crate) fn paths(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let line = &rest[..memchr(b'\n', rest)? + 1];
        rest = &rest[line.len()..];
        Some(&line[..memchr(0, line)?])
    })
}

/// The first path that is not below `path` in the order of bytes.
fn first_from<'t>(text: &'t [u8], path: &[u8]) -> Option<&'t [u8]> {
    // Both are starts of lines.
    let (mut low, mut high) = (0, text.len());
    while low < high {
        let middle = low + (high - low) / 2;
        let start = memrchr(b'\n', &text[low..middle]).map_or(low, |lf| low + lf + 1);
        let end = memchr(b'\n', &text[start..]).map_or(text.len(), |lf| start + lf + 1);
        if &text[start..start + memchr(0, &text[start..end])?] < path {
            low = end;
        } else {
            high = start;
        }
    }
    let line = &text[low..];
    (!line.is_empty()).then(|| &line[..memchr(0, line).unwrap_or(line.len())])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn files_and_folders_are_found_where_they_are(
            tree in prop::collection::btree_set("[ab-]{1,2}(/[ab-]{1,2}){0,2}", 0..30),
            asked in "[ab-]{1,2}(/[ab-]{1,2}){0,2}",
        ) {
            let tree: BTreeSet<Vec<u8>> = tree.into_iter().map(String::into_bytes).collect();
            let hex = [b'1'; 40];
            let text: Vec<u8> = tree.iter().flat_map(|path| [path, &b"\0"[..], &hex, b"\n"].concat()).collect();
            prop_assert!(paths(&text).eq(tree.iter().map(Vec::as_slice)));
            let asked = asked.as_bytes();
            prop_assert_eq!(has_file(&text, asked), tree.contains(asked));
            let below = [asked, b"/"].concat();
            prop_assert_eq!(has_folder(&text, asked), tree.iter().any(|path| path.starts_with(&below)));
        }
    }
}
