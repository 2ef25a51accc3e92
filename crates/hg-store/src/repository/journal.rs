//! The journal of a writer at work, in Mercurial's format: lines of a store path, a NUL, and the file's length before.

use crate::StoreError;
use crate::folder::Folder;

const JOURNAL_BYTES_MAX: u64 = 256 << 20;

/// The length that a file had before the writer began; `None` when there is no writer, or it doesn't touch the file.
pub(super) fn bytes_before(store: &Folder, path: &[u8]) -> Result<Option<u64>, StoreError> {
    let Some(journal) = store.read(b"journal", JOURNAL_BYTES_MAX)? else { return Ok(None) };
    Ok(find(&journal, path))
}

fn find(journal: &[u8], path: &[u8]) -> Option<u64> {
    // The last line may be written only in part, and then the file isn't touched yet.
    let lines = journal.split_inclusive(|byte| *byte == b'\n');
    let mut lines = lines.filter_map(|line| line.strip_suffix(b"\n"));
    lines.find_map(|line| {
        let length = line.strip_prefix(path)?.strip_prefix(b"\0")?;
        std::str::from_utf8(length).ok()?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_whole_line_of_the_path() {
        let journal = b"data/00changelog.i\x007\n00changelog.i\x00640\n00changelog.i\x00704\nobsstore\x0012";
        assert_eq!(find(journal, b"00changelog.i"), Some(640));
        assert_eq!(find(journal, b"obsstore"), None);
        assert_eq!(find(b"00changelog.i\x00-1\n", b"00changelog.i"), None);
    }
}
