//! Names of tracked files that stand for something else on a client.

/// Code points that HFS+ ignores in names, in UTF-8: U+200C to U+200F, U+202A to U+202E, U+206A to U+206F, U+FEFF.
fn ignored_prefix(bytes: &[u8]) -> bool {
    matches!(
        bytes,
        [0xe2, 0x80, 0x8c..=0x8f | 0xaa..=0xae, ..]
            | [0xe2, 0x81, 0xaa..=0xaf, ..]
            | [0xef, 0xbb, 0xbf, ..]
    )
}

/// Whether some file system takes this part of a path for `.hg`.
pub fn is_repository_folder(part: &[u8]) -> bool {
    let mut plain = [0u8; 16];
    let mut length = 0;
    let mut at = 0;
    while at < part.len() {
        if ignored_prefix(&part[at..]) {
            at += 3;
            continue;
        }
        if length < plain.len() {
            plain[length] = part[at].to_ascii_lowercase();
        } else if !matches!(part[at], b'.' | b' ') {
            return false;
        }
        length += 1;
        at += 1;
    }
    let mut name = &plain[..length.min(plain.len())];
    // Windows drops dots and blanks at the end.
    while let [rest @ .., b'.' | b' '] = name {
        name = rest;
    }
    if name == b".hg" {
        return true;
    }
    // Windows' short names of `.hg`.
    match name.iter().position(|&byte| byte == b'~') {
        Some(tilde) => {
            let (stem, digits) = (&name[..tilde], &name[tilde + 1..]);
            (stem == b"hg" || stem == b"hg8b6c") && !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
        }
        None => false,
    }
}
