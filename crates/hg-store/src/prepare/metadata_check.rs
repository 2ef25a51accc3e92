//! What stands before a file's content must be: its metadata, if it has any.

use memchr::memmem;

use super::error::Refusal;

/// What metadata begins and ends with (`mercurial/utils/storageutil.py`, `packmeta`).
const MARK: &[u8] = b"\x01\n";

/// Refuses metadata over which every Mercurial stumbles that checks the file out, and which no Mercurial writes: without an end, with a line that is no
/// `KEY: VALUE`, or with a `copyrev` that is no hash. Unknown keys, and one of `copy` and `copyrev` without the other, are taken: old versions wrote such.
pub(super) fn check(text: &[u8]) -> Result<(), Refusal> {
    let Some(rest) = text.strip_prefix(MARK) else { return Ok(()) };
    let end = memmem::find(rest, MARK).ok_or(Refusal::Metadata("without an end"))?;
    // Python's lines end at either, and at both together.
    for line in rest[..end].split(|byte| b"\r\n".contains(byte)).filter(|line| !line.is_empty()) {
        let colon = memmem::find(line, b": ").ok_or(Refusal::Metadata("line without \": \""))?;
        let is_hash = |value: &[u8]| value.len() == 40 && value.iter().all(u8::is_ascii_hexdigit);
        if &line[..colon] == b"copyrev" && !is_hash(&line[colon + 2..]) {
            return Err(Refusal::Metadata("copyrev that is no hash"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_some_mercurial_writes_is_taken_and_what_breaks_all_is_not() {
        let hash = "0123456789abcdef0123456789abcdef01234567";
        for good in [
            "",
            "\x01",
            "text\n\x01\n",
            "\x01\n\x01\n",
            "\x01\n\x01\n\x01\nwas there before\n",
            "\x01\ncopy: a\n\x01\nold versions\n",
            &format!("\x01\ncopyrev: {hash}\n\x01\n"),
            &format!("\x01\ncopy: a: b\ncopyrev: {hash}\nlater: \n\x01\ntext"),
            &format!("\x01\ncopy: {}\ncopyrev: {hash}\n\x01\n", "x".repeat(100_000)),
        ] {
            assert_eq!(check(good.as_bytes()), Ok(()), "{good:?}");
        }
        for (bad, why) in [
            ("\x01\n", "without an end"),
            ("\x01\ncopy: a\n", "without an end"),
            ("\x01\ncopy:a\n\x01\n", "line without \": \""),
            ("\x01\ncopy: a\rb\n\x01\n", "line without \": \""),
            ("\x01\ncopy: a\ncopyrev: xyz\n\x01\n", "copyrev that is no hash"),
            (&format!("\x01\ncopy: a\ncopyrev: {}\n\x01\n", &hash[1..]), "copyrev that is no hash"),
        ] {
            assert_eq!(check(bad.as_bytes()), Err(Refusal::Metadata(why)), "{bad:?}");
        }
    }
}
