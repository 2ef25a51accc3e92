//! Which paths of tracked files a push may bring.
//!
//! The store keeps any bytes apart, but a checkout on a client does not: a path that leaves the working folder, or that begins with
//! the repository's own folder on any common file system, is refused here. Two paths that the store would put into one file
//! (`a//b` and `a/b`, `/a` and `a`) are refused as well. A `.hg` deeper down is taken: histories that began in other systems
//! have it (test data of tools that look for repositories), and no client since 2008 writes into one on checkout.

use super::PrepareLimits;
use super::error::Refusal;
use crate::names::is_repository_folder;

/// Checks the path of a tracked file.
pub(super) fn check_path(path: &[u8], limits: &PrepareLimits) -> Result<(), Refusal> {
    if path.is_empty() {
        return Err(Refusal::Name("is empty"));
    }
    if path.len() > limits.path_bytes {
        return Err(Refusal::Limit { limit: limits.path_bytes as u64, unit: "bytes in a path" });
    }
    if path.iter().any(|&byte| byte < 0x20 || byte == 0x7f) {
        return Err(Refusal::Name("has a control character"));
    }
    let mut parts = 0;
    for part in path.split(|&byte| byte == b'/') {
        parts += 1;
        match part {
            b"" if parts == 1 => return Err(Refusal::Name("is absolute")),
            b"" => return Err(Refusal::Name("has an empty part")),
            b"." | b".." => return Err(Refusal::Name("has a part that is `.` or `..`")),
            _ if parts == 1 && is_repository_folder(part) => {
                return Err(Refusal::Name("begins with what stands for `.hg`"));
            }
            _ => {}
        }
    }
    if parts > limits.path_parts {
        return Err(Refusal::Limit { limit: limits.path_parts as u64, unit: "parts in a path" });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(path: &[u8]) -> bool {
        check_path(path, &PrepareLimits::default()).is_err()
    }

    #[test]
    fn odd_but_harmless_names_are_taken() {
        for path in [
            &b"a"[..],
            b"con.txt",
            b"aux",
            b"A/a",
            b"\xff\xfe",
            b"a b /c. ",
            b".hgtags",
            b".hgsub",
            b".hgignore",
            b"x/.hgx/y",
            b"x/.hg/y",
            b"hg/.h",
            b"hg~x",
            b"a\\b",
            b"...",
            b"..a/a..",
            b"data.i/x.d",
            b"hgfleet",
            b"h.g.......................................x",
            "naïve/\u{200c}x".as_bytes(),
        ] {
            assert!(!refused(path), "{}", path.escape_ascii());
        }
    }

    #[test]
    fn names_that_leave_the_folder_or_reach_the_repository_are_refused() {
        for path in [
            &b""[..],
            b"/abs",
            b"a//b",
            b"a/",
            b"..",
            b"../x",
            b"a/../b",
            b"./a",
            b"a/.",
            b".hg",
            b".hg/hgrc",
            b".HG/hgrc",
            b".hg./x",
            b".hg /x",
            b".hg.............................. . ./x",
            b"HG~1/x",
            b"hg8b6c~2/x",
            ".h\u{200c}g/hgrc".as_bytes(),
            "\u{feff}.hg/hgrc".as_bytes(),
            b"a\nb",
            b"a\0b",
            b"a\rb",
            b"a\x7f",
            b"\x1b[2J",
        ] {
            assert!(refused(path), "{}", path.escape_ascii());
        }
        // Below the first part it is another folder's name: histories that were converted from elsewhere have such files.
        assert!(!refused(b"a/.hg/b"));
        assert!(refused(&[b'a'; 4097]));
        assert!(refused(&b"a/".repeat(300)[..599]));
    }
}
