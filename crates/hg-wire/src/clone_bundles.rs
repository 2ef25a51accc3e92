//! Clone bundles: files that are ready for whoever clones, named by a manifest.
//!
//! `.hg/clonebundles.manifest` has a line for each: `URL KEY=VALUE ...`, keys and values percent-encoded (`hg help -e clonebundles`). A URL
//! `peer-bundle-cache://FILE` stands for a file in `.hg/bundle-cache/`, which comes over the connection itself.
//!
//! A client fetches from where a line says, with its user's rights. So only lines that are well-formed go out, and only with URLs of the
//! kinds that clients of today take.

use crate::CommandError;
use crate::commands::FileAnswer;
use crate::error::shown;
use crate::quoting::unquote;
use hg_store::Snapshot;

/// How the URL of an inline bundle begins.
pub const INLINE: &[u8] = b"peer-bundle-cache://";
/// The folder of inline bundles, below `.hg`.
pub const INLINE_FOLDER: &str = "bundle-cache";
/// Bytes of one line; stock writes some hundred.
pub const LINE_BYTES_MAX: usize = 4096;
/// Lines that are looked at.
pub const LINES_MAX: usize = 1000;
/// Bytes of an inline bundle's name.
pub const NAME_BYTES_MAX: usize = 200;

const SCHEMES: [&[u8]; 4] = [b"http://", b"https://", b"largefile://", INLINE];

/// One bundle of a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<'m> {
    /// The line as it is in the file, without its end.
    pub line: &'m [u8],
    /// Its first word.
    pub url: &'m [u8],
}

/// Why a line of a manifest does not go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// Longer than [`LINE_BYTES_MAX`].
    #[error("it is longer than {LINE_BYTES_MAX} bytes")]
    TooLong,
    /// A control character, or what is not ASCII.
    #[error("it has a byte that is no printable ASCII character")]
    Byte,
    /// A URL of another kind than clients take, or of none.
    #[error("its URL begins with none of http://, https://, largefile:// and peer-bundle-cache://")]
    Scheme,
    /// The name of an inline bundle that is no plain file name.
    #[error("its bundle's name is no plain file name")]
    Name,
    /// A word behind the URL that is no `KEY=VALUE`.
    #[error("a word behind its URL is no KEY=VALUE")]
    Attribute,
}

impl<'m> Entry<'m> {
    /// Parses a line without its end.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(line: &'m [u8]) -> Result<Entry<'m>, LineError> {
        if line.len() > LINE_BYTES_MAX {
            return Err(LineError::TooLong);
        }
        if !line.iter().all(|byte| matches!(byte, b' '..=b'~')) {
            return Err(LineError::Byte);
        }
        let url = line.split(|byte| *byte == b' ').next().unwrap_or_default();
        let scheme = SCHEMES.iter().find(|scheme| url.starts_with(scheme)).ok_or(LineError::Scheme)?;
        match url.strip_prefix(INLINE) {
            Some(name) if !is_plain_name(name) => return Err(LineError::Name),
            _ if url.len() == scheme.len() => return Err(LineError::Scheme),
            _ => {}
        }
        let entry = Entry { line, url };
        let mut words = entry.words();
        words.all(|word| word.iter().skip(1).any(|byte| *byte == b'=')).then_some(entry).ok_or(LineError::Attribute)
    }

    /// The file's name, where it is an inline bundle.
    pub fn inline_name(&self) -> Option<&'m [u8]> {
        self.url.strip_prefix(INLINE)
    }

    /// Keys and values, decoded.
    pub fn attributes(&self) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> + use<'m> {
        self.words().filter_map(|word| {
            let at = word.iter().position(|byte| *byte == b'=')?;
            Some((unquote(&word[..at]), unquote(&word[at + 1..])))
        })
    }

    fn words(&self) -> impl Iterator<Item = &'m [u8]> + use<'m> {
        self.line[self.url.len()..].split(|byte| *byte == b' ').filter(|word| !word.is_empty())
    }

    /// Whether it is for clients that compare fingerprints of stores, which those before 7.2 don't.
    fn has_fingerprint(&self) -> bool {
        self.attributes().any(|(key, value)| match key.as_slice() {
            b"STORE-FINGERPRINT" => !value.is_empty(),
            b"BUNDLESPEC" => value.split(|byte| *byte == b';').any(|parameter| {
                parameter
                    .iter()
                    .position(|byte| *byte == b'=')
                    .is_some_and(|at| unquote(&parameter[..at]) == b"store-fingerprint" && at + 1 < parameter.len())
            }),
            _ => false,
        })
    }
}

/// Returns the lines of a manifest, each as an entry or with what is wrong with it; blank ones left out.
pub fn entries(manifest: &[u8]) -> impl Iterator<Item = Result<Entry<'_>, LineError>> {
    let lines = manifest.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    lines.filter(|line| !line.iter().all(|byte| *byte == b' ')).take(LINES_MAX).map(Entry::parse)
}

/// Returns whether an inline bundle may be named so: letters, digits and `-._+,=@`, not beginning with a point.
pub fn is_plain_name(name: &[u8]) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._+,=@".contains(byte);
    (1..=NAME_BYTES_MAX).contains(&name.len()) && name[0] != b'.' && name.iter().all(is_plain)
}

/// Returns whether clients are told of the manifest.
pub fn are_served(snapshot: &Snapshot) -> bool {
    snapshot.state().clonebundles.is_some() && snapshot.settings().clone_bundles()
}

fn served(snapshot: &Snapshot) -> impl Iterator<Item = Entry<'_>> {
    let manifest = snapshot.state().clonebundles.as_deref().unwrap_or_default();
    entries(manifest).enumerate().filter_map(|(number, entry)| {
        entry
            .inspect_err(|error| {
                let repository = snapshot.repository().root().display();
                tracing::warn!(%repository, line = number + 1, %error, "a line of clonebundles.manifest is not sent");
            })
            .ok()
    })
}

/// Answers `clonebundles_manifest`: the manifest.
pub(crate) fn manifest(snapshot: &Snapshot) -> Vec<u8> {
    served(snapshot).flat_map(|entry| [entry.line, b"\n"]).flatten().copied().collect()
}

/// Answers `clonebundles`, which clients ask that know neither inline bundles nor fingerprints: without those, each line with a blank one
/// behind it, as stock has it.
pub(crate) fn manifest_for_old_clients(snapshot: &Snapshot) -> Vec<u8> {
    let known = served(snapshot).filter(|entry| entry.inline_name().is_none() && !entry.has_fingerprint());
    known.flat_map(|entry| [entry.line, b"\n\n"]).flatten().copied().collect()
}

/// Answers `get_cached_bundle_inline`: the bundle's length (LEB128), and the bundle.
///
/// # Errors
/// A name that is no plain file name, or one of no bundle.
pub(crate) fn inline(snapshot: &Snapshot, name: &[u8]) -> Result<FileAnswer, CommandError> {
    if !is_plain_name(name) {
        return Err(CommandError::Malformed(format!("not the name of a clone bundle: '{}'", shown(name))));
    }
    let path = [INLINE_FOLDER.as_bytes(), b"/", name].concat();
    let Some((file, bytes)) = snapshot.bundle_file(&path)? else {
        return Err(CommandError::Refused(format!(
            "refused: there is no clone bundle '{}', on this server. Clone again, or with --config ui.clonebundles=false",
            shown(name)
        )));
    };
    let mut head = Vec::new();
    crate::stream_clone::write_number(&mut head, bytes)?;
    Ok(FileAnswer { head, file, bytes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_of_stock_are_taken_as_they_are() {
        let lines = b"https://e.org/a.hg BUNDLESPEC=zstd-v2 REQUIRESNI=true\n\
            peer-bundle-cache://zstd-v2-2_revs-aaff8d2ffbbf_tip-acbr.hg BUNDLESPEC=zstd-v2\r\n\n\
            largefile://0123 BUNDLESPEC=none-v2%3Bstream%3Dv2%3Brequirements%3Dgeneraldelta%2Crevlogv1";
        let entries: Vec<Entry<'_>> = entries(lines).collect::<Result<_, _>>().expect("all good");
        assert_eq!(entries.len(), 3);
        assert_eq!(entries[1].inline_name(), Some(b"zstd-v2-2_revs-aaff8d2ffbbf_tip-acbr.hg".as_slice()));
        let decoded: Vec<_> = entries[2].attributes().collect();
        let spec = b"none-v2;stream=v2;requirements=generaldelta,revlogv1".to_vec();
        assert_eq!(decoded, [(b"BUNDLESPEC".to_vec(), spec)]);
    }

    #[test]
    fn lines_that_could_harm_a_client_stay_here() {
        let long = format!("https://e.org/{}", "x".repeat(LINE_BYTES_MAX));
        for (line, error) in [
            ("file:///etc/passwd", LineError::Scheme),
            ("ssh://e.org/-oProxyCommand", LineError::Scheme),
            ("/etc/passwd BUNDLESPEC=none-v1", LineError::Scheme),
            ("https://", LineError::Scheme),
            (" https://e.org/x", LineError::Scheme),
            ("https://e.org/a\rhttps://e.org/b", LineError::Byte),
            ("https://e.org/a\tX=1", LineError::Byte),
            ("https://e.org/\u{1b}[2J", LineError::Byte),
            ("https://e.org/é", LineError::Byte),
            ("peer-bundle-cache://../hgrc", LineError::Name),
            ("peer-bundle-cache://", LineError::Name),
            ("peer-bundle-cache://.x", LineError::Name),
            ("https://e.org/a.hg word", LineError::Attribute),
            ("https://e.org/a.hg =x", LineError::Attribute),
            (&long, LineError::TooLong),
        ] {
            assert_eq!(Entry::parse(line.as_bytes()), Err(error), "{line}");
        }
    }

    #[test]
    fn fingerprints_are_found_wherever_they_are() {
        for (attributes, expected) in [
            ("STORE-FINGERPRINT=ab", true),
            ("STORE-FINGERPRINT=", false),
            ("BUNDLESPEC=none-v2%3Bstore-fingerprint%3Dab", true),
            ("BUNDLESPEC=none-v2%3Bstream%3Dv2", false),
        ] {
            let line = format!("https://e.org/a {attributes}");
            assert_eq!(Entry::parse(line.as_bytes()).expect("good").has_fingerprint(), expected, "{line}");
        }
    }

    proptest! {
        #[test]
        fn whatever_a_manifest_holds_only_clean_lines_come_out(manifest in proptest::collection::vec(any::<u8>(), 0..400)) {
            for entry in entries(&manifest).flatten() {
                prop_assert!(!entry.line.iter().any(u8::is_ascii_control) && entry.line.is_ascii());
                prop_assert!(SCHEMES.iter().any(|scheme| entry.url.starts_with(scheme)));
            }
        }
    }
}
