//! Names that hurt whoever checks them out.

use hg_store::Revision;
use hg_store::names::is_repository_folder;
use hg_store::observe::{Flag, ObservedEntry, ObservedFile, ObservedManifest, ObservedPush};
use rustc_hash::FxHashSet;

use super::{Check, Told, Verdict};
use crate::Names;
use crate::findings::{Findings, short};
use crate::pushed::PushedChangesets;
use crate::shown::shown;
use crate::wanted::WantedTexts;

/// Bytes of the name of a branch.
const BRANCH_BYTES_MAX: usize = 255;
/// Bytes of the path that a symbolic link holds: what Linux takes.
const LINK_BYTES_MAX: usize = 4095;

struct NameCheck {
    names: Names,
    /// Of the changeset that is being told.
    added: Vec<Box<[u8]>>,
    links: WantedTexts,
    found: Findings,
    found_links: Findings,
}

pub(super) fn new(names: &Names) -> Option<Box<dyn Check>> {
    Some(Box::new(NameCheck {
        names: names.clone(),
        added: Vec::new(),
        links: WantedTexts::default(),
        found: Findings::default(),
        found_links: Findings::default(),
    }))
}

impl Check for NameCheck {
    fn entry(&mut self, entry: &ObservedEntry<'_>, pushed: &PushedChangesets) {
        if !self.names.dangerous && !self.names.windows && !entry.is_added() {
            return;
        }
        if let Some(link) = entry.brought().filter(|brought| brought.flag == Flag::Link) {
            self.links.want(entry.path, link.node, pushed.node(entry.changeset));
        }
        if !entry.is_added() {
            return;
        }
        if let Some(why) = fault(entry.path, &self.names) {
            let node = pushed.node(entry.changeset);
            self.found.add(|| format!("changeset {}, file {}: {why}", short(&node), shown(entry.path)));
        } else if self.names.dangerous {
            self.added.push(entry.path.into());
        }
    }

    fn manifest(&mut self, of: Revision, manifest: &mut ObservedManifest<'_>, pushed: &PushedChangesets) -> Told {
        let mut last_folder: &[u8] = b"";
        for path in &self.added {
            let folder = path.iter().rposition(|byte| *byte == b'/').map_or(&[][..], |end| &path[..end]);
            let mut twice = manifest.has_folder(path)?;
            if folder != last_folder {
                for end in memchr::memchr_iter(b'/', path) {
                    twice |= manifest.has_file(&path[..end])?;
                }
                last_folder = folder;
            }
            if twice {
                let node = pushed.node(of);
                self.found.add(|| {
                    format!("changeset {}, file {}: a file and a folder of one name", short(&node), shown(path))
                });
            }
        }
        self.added.clear();
        Ok(())
    }

    fn file(&mut self, file: &ObservedFile<'_>, _: &PushedChangesets) {
        if let Some(changeset) = self.links.take(file)
            && self.names.dangerous
            && !is_sound_link(file.content())
        {
            self.found_links.file(changeset, file.path);
        }
    }

    fn judge(&mut self, push: &ObservedPush<'_>, pushed: &PushedChangesets, verdict: &mut Verdict<'_>) -> Told {
        let Names { dangerous, path_bytes_max, depth_max, .. } = self.names;
        let (found_links, links) = (&mut self.found_links, &mut self.links);
        links.rest(push, |changeset, path, target| {
            if dangerous && !is_sound_link(target) {
                found_links.file(changeset, path);
            }
        })?;
        let mut branches = Findings::default();
        let mut seen: FxHashSet<&[u8]> = FxHashSet::default();
        for new in pushed.all().iter().filter(|_| dangerous) {
            if seen.insert(&new.branch)
                && let Some(why) = branch_fault(&new.branch)
                && push.before.branchmap()?.get(&new.branch).is_none()
            {
                branches.add(|| format!("changeset {}, branch {}: {why}", short(&new.node), shown(&new.branch)));
            }
        }
        let remedy = format!(
            "Rename it in the changeset that brings it; at most {path_bytes_max} bytes and {depth_max} parts are allowed"
        );
        verdict.refuse(&self.found, "a file's name can't be checked out safely", &remedy);
        let remedy = format!("Let it hold a path of at most {LINK_BYTES_MAX} bytes without control characters");
        verdict.refuse(&self.found_links, "a symbolic link holds what is no path", &remedy);
        verdict.refuse(
            &branches,
            "a branch's name is taken for something else",
            "Commit it on a branch of another name",
        );
        Ok(())
    }
}

fn is_sound_link(target: &[u8]) -> bool {
    !target.is_empty() && target.len() <= LINK_BYTES_MAX && !target.iter().any(u8::is_ascii_control)
}

/// Why a branch can't have this name: what `hg branch` refuses, and what a command line takes for an option.
fn branch_fault(name: &[u8]) -> Option<&'static str> {
    if name.len() > BRANCH_BYTES_MAX {
        return Some("more than 255 bytes");
    }
    let Ok(text) = std::str::from_utf8(name) else { return Some("no UTF-8") };
    if text.chars().any(char::is_control) {
        return Some("a control character");
    }
    if matches!(text, "tip" | "." | "null") || text.bytes().all(|byte| byte.is_ascii_digit()) || text.contains(':') {
        return Some("it stands for something else in revsets");
    }
    text.starts_with('-').then_some("it begins like an option")
}

/// Why a file can't have this name.
fn fault(path: &[u8], names: &Names) -> Option<String> {
    if path.len() > names.path_bytes_max as usize {
        return Some(format!("{} bytes, and {} are allowed", path.len(), names.path_bytes_max));
    }
    let parts = path.iter().filter(|byte| **byte == b'/').count() + 1;
    if parts > names.depth_max as usize {
        return Some(format!("{parts} parts, and {} are allowed", names.depth_max));
    }
    path.split(|byte| *byte == b'/').find_map(|part| {
        let dangerous = names.dangerous.then(|| dangerous_part(part)).flatten();
        dangerous.or_else(|| names.windows.then(|| windows_part(part)).flatten()).map(str::to_owned)
    })
}

fn dangerous_part(part: &[u8]) -> Option<&'static str> {
    // On NTFS what stands behind a colon names a stream of the file before it.
    let before_colon = part.split(|byte| *byte == b':').next().unwrap_or_default();
    if is_repository_folder(before_colon) {
        return Some("a part that some file system takes for .hg");
    }
    match part {
        b"" => Some("an empty part"),
        b"." | b".." => Some("a part . or .."),
        _ if part.iter().any(u8::is_ascii_control) => Some("a control character"),
        _ => None,
    }
}

fn windows_part(part: &[u8]) -> Option<&'static str> {
    if part.iter().any(|byte| matches!(byte, b'\\' | b':')) {
        return Some("\\ and : stand for something else on Windows");
    }
    if matches!(part.last(), Some(b'.' | b' ')) {
        return Some("Windows drops . and blanks at the end of a name");
    }
    // A device is one whatever follows the first dot.
    let stem = part.split(|byte| *byte == b'.').next().unwrap_or_default().trim_ascii_end().to_ascii_lowercase();
    let numbered = stem.strip_prefix(b"com").or_else(|| stem.strip_prefix(b"lpt"));
    let is_device = match numbered {
        Some(number) => matches!(number, [b'1'..=b'9'] | [0xc2, 0xb9 | 0xb2 | 0xb3]),
        None => matches!(&stem[..], b"con" | b"prn" | b"aux" | b"nul" | b"conin$" | b"conout$"),
    };
    is_device.then_some("Windows takes it for a device")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(path: &[u8]) -> Option<String> {
        fault(path, &Names::default())
    }

    #[test]
    fn names_that_are_none_somewhere_are_told() {
        for (row, path, why) in [
            ("N1", &b"a/.hg/hgrc"[..], "takes for .hg"),
            ("N1", b".HG", "takes for .hg"),
            ("N1", "x/.h\u{200c}g/y".as_bytes(), "takes for .hg"),
            ("N1", b"HG~1/a", "takes for .hg"),
            ("N1", b"a/hg8b6c~2", "takes for .hg"),
            ("N1", b"a/.hg.", "takes for .hg"),
            ("N1", b"a/.hg /b", "takes for .hg"),
            ("N1", b"a/.hg::$INDEX_ALLOCATION/b", "takes for .hg"),
            ("N2", b"a/../b", "a part . or .."),
            ("N2", b"/a", "an empty part"),
            ("N2", b"a//b", "an empty part"),
            ("N2", b"a\\b", "Windows"),
            ("N2", b"C:/x", "Windows"),
            ("N2", b"a:b", "Windows"),
            ("N2", b"a./b", "Windows drops"),
            ("N2", b"a ", "Windows drops"),
            ("N2", b"x/con.txt", "a device"),
            ("N2", b"AUX/x", "a device"),
            ("N2", b"nul", "a device"),
            ("N2", b"com1.tar.gz", "a device"),
            ("N2", "LPT\u{b2}.c".as_bytes(), "a device"),
            ("N2", b"con .c", "a device"),
            ("N10", b"a\x1b[2J", "a control character"),
            ("N10", b"a\x7f", "a control character"),
            ("B22", &[b'a'; 1025], "1025 bytes, and 1024 are allowed"),
            ("B22", &b"a/".repeat(100)[..], "101 parts, and 100 are allowed"),
        ] {
            let told = told(path).unwrap_or_default();
            assert!(told.contains(why), "{row} {}: {told}", path.escape_ascii());
        }
    }

    #[test]
    fn names_that_are_only_odd_are_taken() {
        for path in [
            &b".hgtags"[..],
            b".hgsub",
            b".hgignore",
            b".hgeol",
            b"a/.hgx",
            b"hg~x",
            b"console.c",
            b"com10",
            b"com0",
            b"auxiliary/x",
            b"a.con",
            b"\xff\xfe",
            b"a b",
            "\u{202e}x".as_bytes(),
            &[b'a'; 1024],
        ] {
            assert_eq!(told(path), None, "{}", path.escape_ascii());
        }
        let names = Names { windows: false, ..Names::default() };
        assert_eq!(fault(b"aux/a:b", &names), None);
        let names = Names { dangerous: false, ..Names::default() };
        assert_eq!(fault(b"a/.hg/b", &names), None);
    }

    #[test]
    fn branches_that_a_command_takes_for_something_else() {
        let long = [b'x'; 256];
        for name in [&b"default:1"[..], b"-x", b"tip", b"null", b".", b"12", b"\xff", "a\u{85}b".as_bytes(), &long] {
            assert!(branch_fault(name).is_some(), "N7 {}", name.escape_ascii());
        }
        for name in [&b"default"[..], b"stable", b"1.x", b"a-b", "\u{e4}".as_bytes(), &long[1..]] {
            assert_eq!(branch_fault(name), None, "{}", name.escape_ascii());
        }
    }
}
