//! Version 0, big-endian: number of successors (1 byte), size of the metadata (4), flags (1), name of the predecessor,
//! names of the successors; metadata: `key:value`, NUL between them, date and parents among them.

use super::{Fields, Marker, MarkerError};
use crate::Node;

const DATE: &[u8] = b"date";
/// `p0` says that there are no parents.
const PARENTS: [&[u8]; 3] = [b"p0", b"p1", b"p2"];

pub(super) fn parse(bytes: &[u8]) -> Result<(Marker, &[u8]), MarkerError> {
    let mut fields = Fields(bytes);
    let successors = usize::from(fields.byte()?);
    let size = u32::from_be_bytes(fields.array()?) as usize;
    let flags = u16::from(fields.byte()?);
    let predecessor = fields.node()?;
    let successors = fields.nodes(successors)?;
    let metadata = fields.bytes(size)?;
    let mut marker =
        Marker { predecessor, successors, flags, metadata: Vec::new(), time: 0.0, offset: 0, parents: None };
    let mut parents: [Option<&[u8]>; 3] = [None; 3];
    for item in metadata.split(|byte| *byte == 0).filter(|item| !item.is_empty()) {
        let colon = memchr::memchr(b':', item).ok_or(MarkerError::Invalid("metadata without a colon"))?;
        let (key, value) = (&item[..colon], &item[colon + 1..]);
        if key == DATE {
            // As stock does: a date that can't be read is the beginning of 1970.
            (marker.time, marker.offset) = parse_date(value).unwrap_or((0.0, 0));
        } else if let Some(which) = PARENTS.iter().position(|name| *name == key) {
            parents[which] = Some(value);
        } else {
            marker.metadata.push((key.to_vec(), value.to_vec()));
        }
    }
    marker.parents = match parents {
        [_, Some(first), Some(second)] => {
            Node::from_hex(first).zip(Node::from_hex(second)).map(|(first, second)| vec![first, second])
        }
        [_, Some(first), None] => Node::from_hex(first).map(|first| vec![first]),
        [Some(_), None, None] => Some(Vec::new()),
        _ => None,
    };
    Ok((marker, fields.0))
}

fn parse_date(value: &[u8]) -> Option<(f64, i32)> {
    let (time, offset) = std::str::from_utf8(value).ok()?.split_once(' ')?;
    Some((time.parse().ok()?, offset.parse().ok()?))
}

pub(super) fn encode(marker: &Marker, out: &mut Vec<u8>) -> Result<(), MarkerError> {
    let mut metadata = marker.metadata.clone();
    metadata.push((DATE.to_vec(), format!("{:?} {}", marker.time, marker.offset).into_bytes()));
    match marker.parents.as_deref() {
        None => {}
        Some([]) => metadata.push((PARENTS[0].to_vec(), Vec::new())),
        Some(parents) if parents.len() <= 2 => {
            let named = PARENTS[1..].iter().zip(parents);
            metadata.extend(named.map(|(name, node)| (name.to_vec(), node.to_hex().to_vec())));
        }
        Some(_) => return Err(MarkerError::Invalid("more than two parents")),
    }
    metadata.sort();
    let mut joined = Vec::new();
    for (number, (key, value)) in metadata.iter().enumerate() {
        if key.contains(&b':') || key.contains(&0) || value.contains(&0) {
            return Err(MarkerError::Invalid("metadata that version 0 can't hold"));
        }
        if number > 0 {
            joined.push(0);
        }
        joined.extend_from_slice(key);
        joined.push(b':');
        joined.extend_from_slice(value);
    }
    let invalid = MarkerError::Invalid;
    out.push(u8::try_from(marker.successors.len()).map_err(|_| invalid("more than 255 successors"))?);
    let size = u32::try_from(joined.len()).map_err(|_| invalid("metadata of more than 4 GiB"))?;
    out.extend(size.to_be_bytes());
    out.push(u8::try_from(marker.flags).map_err(|_| invalid("flags that version 0 can't hold"))?);
    out.extend(marker.predecessor.as_bytes());
    for node in &marker.successors {
        out.extend(node.as_bytes());
    }
    out.extend(joined);
    Ok(())
}
