//! What comes through of an entry that is too large.

use super::{INTEGER, MESSAGE_BYTES_MAX, OCTET_STRING, Parts, SEQUENCE, check};

/// The entry that begins like this, without attributes: its number and its DN. `None` where it is no entry.
pub(super) fn emptied(head: &[u8]) -> Option<Vec<u8>> {
    let mut parts = Parts(head);
    let id = parts.next().ok().flatten().filter(|id| id.tag == INTEGER && (1..=4).contains(&id.content.len()))?;
    let (tag, operation) = split_header(parts.0)?;
    let dn = Parts(operation).next().ok().flatten().filter(|dn| tag == 0x64 && dn.tag == OCTET_STRING)?;
    let text = std::str::from_utf8(dn.content).ok()?;
    tracing::error!(entry = text, "an entry is larger than {MESSAGE_BYTES_MAX} bytes; it is taken as empty");
    let entry = element(0x64, &[element(OCTET_STRING, dn.content), element(SEQUENCE, &[])].concat());
    let message = element(SEQUENCE, &[element(INTEGER, id.content), entry].concat());
    check(&message[ELEMENT_HEAD..]).is_ok().then_some(message)
}

const ELEMENT_HEAD: usize = 6;

fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    // Contents are cut out of a head of a few kilobytes, so their length fits.
    let length = (content.len() as u32).to_be_bytes();
    [&[tag, 0x84], &length[..], content].concat()
}

/// The tag of an element that may go on beyond what is there, and its content as far as it goes.
fn split_header(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let more = if first < 0x80 { 0 } else { usize::from(first & 0x7f) };
    rest.get(more..).map(|content| (tag, content))
}
