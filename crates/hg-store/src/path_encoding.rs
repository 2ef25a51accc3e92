//! How a store path becomes the name of a file on disk. Which way is told by the repository's requirements.
//!
//! With `fncache` a name keeps to what every file system can hold: no capitals, no reserved names or bytes, at most 120 bytes. A
//! name that would be longer is cut, and told apart by its hash; so that `fncache` must list what there is. Older
//! stores have names that can be read back.
//!
//! Source: the help texts of Mercurial's `format.dotencode`, `format.usefncache` and `format.usestore`, and names that
//! Mercurial 7.2.4 gave to odd files.

use crate::Requirements;

use sha1::{Digest, Sha1};

const NAME_BYTES_MAX: usize = 120;
const HASHED_FOLDER_BYTES: usize = 8;
const HASHED_FOLDERS_BYTES_MAX: usize = 68;
/// `data/` or `meta/`.
const PREFIX_BYTES: usize = 5;

/// How names are encoded, by the age of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum PathEncoding {
    /// `fncache` with `dotencode` (since Mercurial 1.7).
    #[default]
    Dotencode,
    /// `fncache` alone: dots and blanks that begin a part stay as they are (1.1).
    Fncache,
    /// `store` alone: capitals and reserved bytes are marked, names may be of any length (0.9.2).
    Store,
    /// No `store`: only directories that could be taken for a revlog are told apart, and all lies in `.hg` itself.
    Plain,
}

impl PathEncoding {
    /// The encoding of a repository with these requirements.
    pub fn of(requirements: &Requirements) -> PathEncoding {
        match (requirements.store(), requirements.fncache(), requirements.contains("dotencode")) {
            (false, ..) => PathEncoding::Plain,
            (true, false, _) => PathEncoding::Store,
            (true, true, false) => PathEncoding::Fncache,
            (true, true, true) => PathEncoding::Dotencode,
        }
    }

    /// The name on disk, below the store's folder, of a store path such as `data/x.i`.
    pub fn encode(self, path: &[u8]) -> Vec<u8> {
        let path = encode_directories(path);
        let dots = match self {
            PathEncoding::Dotencode => Dots::Escaped,
            PathEncoding::Fncache => Dots::Kept,
            PathEncoding::Store => return escape(&path, Capitals::Marked),
            PathEncoding::Plain => return path,
        };
        if path.len() <= NAME_BYTES_MAX {
            let name = encode_parts(&escape(&path, Capitals::Marked), dots);
            if name.len() <= NAME_BYTES_MAX {
                return name;
            }
        }
        encode_hashed(&path, dots)
    }

    /// The store path that has this name on disk; `None` where the name doesn't tell, or is no encoded one.
    pub fn decode(self, name: &[u8]) -> Option<Vec<u8>> {
        let path = match self {
            PathEncoding::Plain => decode_directories(name),
            _ => decode_directories(&unescape(name)),
        };
        (self.encode(&path) == name).then_some(path)
    }
}

/// Undoes [`escape`] with marked capitals: `_x` is a capital, `__` is `_`, `~hh` a byte. What is no such encoding gives some name
/// that does not encode to it.
fn unescape(name: &[u8]) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).unwrap_or_default() as u8;
    let mut path = Vec::with_capacity(name.len());
    let mut rest = name;
    loop {
        rest = match rest {
            [] => return path,
            [b'_', b'_', rest @ ..] => {
                path.push(b'_');
                rest
            }
            [b'_', letter, rest @ ..] => {
                path.push(letter.to_ascii_uppercase());
                rest
            }
            [b'~', high, low, rest @ ..] => {
                path.push(digit(*high) << 4 | digit(*low));
                rest
            }
            [byte, rest @ ..] => {
                path.push(*byte);
                rest
            }
        }
    }
}

/// Adds `.hg` to each directory that ends in `.i`, `.d` or `.hg`: the form of the lines of `fncache`.
pub fn encode_directories(path: &[u8]) -> Vec<u8> {
    map_directories(path, |folder, out| {
        out.extend_from_slice(folder);
        if [b".i".as_slice(), b".d", b".hg"].iter().any(|ending| folder.ends_with(ending)) {
            out.extend_from_slice(b".hg");
        }
    })
}

/// Undoes [`encode_directories`].
pub fn decode_directories(path: &[u8]) -> Vec<u8> {
    map_directories(path, |folder, out| {
        let plain = folder
            .strip_suffix(b".hg")
            .filter(|plain| [b".i".as_slice(), b".d", b".hg"].iter().any(|ending| plain.ends_with(ending)));
        out.extend_from_slice(plain.unwrap_or(folder));
    })
}

fn map_directories(path: &[u8], mut map: impl FnMut(&[u8], &mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len() + 8);
    let mut rest = path;
    while let Some(end) = memchr::memchr(b'/', rest) {
        map(&rest[..end], &mut out);
        out.push(b'/');
        rest = &rest[end + 1..];
    }
    out.extend_from_slice(rest);
    out
}

/// What becomes of capitals.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Capitals {
    /// `A` becomes `_a`, and `_` becomes `__`.
    Marked,
    /// `A` becomes `a`: the hash tells names apart.
    Lowered,
}

fn escape(path: &[u8], capitals: Capitals) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len() + 16);
    for byte in path.iter().copied() {
        match byte {
            0..32 | 126..=255 | b'\\' | b':' | b'*' | b'?' | b'"' | b'<' | b'>' | b'|' => {
                push_hex(&mut out, byte);
            }
            b'A'..=b'Z' | b'_' if capitals == Capitals::Marked => {
                out.extend([b'_', byte.to_ascii_lowercase()]);
            }
            _ => out.push(byte.to_ascii_lowercase()),
        }
    }
    out
}

fn push_hex(out: &mut Vec<u8>, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.extend([b'~', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
}

/// What becomes of a dot or a blank that begins a part.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dots {
    Escaped,
    Kept,
}

/// Escapes what Windows reserves: parts that begin or end in a dot or a blank, and the names of devices.
fn encode_parts(path: &[u8], dots: Dots) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len() + 16);
    for (number, part) in path.split(|byte| *byte == b'/').enumerate() {
        if number > 0 {
            out.push(b'/');
        }
        encode_part(part, dots, &mut out);
    }
    out
}

fn encode_part(part: &[u8], dots: Dots, out: &mut Vec<u8>) {
    let is_dot_or_blank = |byte: &u8| matches!(byte, b'.' | b' ');
    let mut rest = part;
    let is_escaped = |first: &u8| dots == Dots::Escaped && is_dot_or_blank(first);
    if let Some((first, tail)) = part.split_first().filter(|(first, _)| is_escaped(first)) {
        push_hex(out, *first);
        rest = tail;
    } else if is_device(part) {
        out.extend_from_slice(&part[..2]);
        push_hex(out, part[2]);
        rest = &part[3..];
    }
    match rest.split_last().filter(|(last, _)| is_dot_or_blank(last)) {
        Some((last, middle)) => {
            out.extend_from_slice(middle);
            push_hex(out, *last);
        }
        None => out.extend_from_slice(rest),
    }
}

fn is_device(part: &[u8]) -> bool {
    let stem = part.split(|byte| *byte == b'.').next().unwrap_or_default();
    match stem {
        b"aux" | b"con" | b"prn" | b"nul" => true,
        [kind @ .., b'1'..=b'9'] => kind == b"com" || kind == b"lpt",
        _ => false,
    }
}

/// `path` has its directories encoded already.
fn encode_hashed(path: &[u8], dots: Dots) -> Vec<u8> {
    let digest = Sha1::digest(path);
    let name = encode_parts(&escape(path.get(PREFIX_BYTES..).unwrap_or_default(), Capitals::Lowered), dots);
    let mut parts: Vec<&[u8]> = name.split(|byte| *byte == b'/').collect();
    let base = parts.pop().unwrap_or_default();
    let mut out = b"dh/".to_vec();
    let mut folders_bytes = 0;
    for part in parts {
        let mut folder = part[..part.len().min(HASHED_FOLDER_BYTES)].to_vec();
        if let Some(last @ (b'.' | b' ')) = folder.last_mut() {
            *last = b'_';
        }
        let bytes = if folders_bytes == 0 { folder.len() } else { folders_bytes + 1 + folder.len() };
        if folders_bytes > 0 && bytes > HASHED_FOLDERS_BYTES_MAX {
            break;
        }
        folders_bytes = bytes;
        out.extend_from_slice(&folder);
        out.push(b'/');
    }
    let extension = match base.iter().rposition(|byte| *byte == b'.') {
        // Dots that begin a name begin no extension.
        Some(dot) if base[..dot].iter().any(|byte| *byte != b'.') => &base[dot..],
        _ => b"",
    };
    let left = NAME_BYTES_MAX.saturating_sub(out.len() + 40 + extension.len());
    out.extend_from_slice(&base[..base.len().min(left)]);
    for byte in digest {
        out.extend(format!("{byte:02x}").bytes());
    }
    out.extend_from_slice(extension);
    out
}

#[cfg(test)]
mod tests;
