//! Version 1, big-endian: size of the marker (4 bytes), seconds (8, a float), minutes west of UTC (2), flags (2), number
//! of successors, of parents (3: not known) and of metadata (1 each); names of the predecessor, the successors and the
//! parents; lengths of each key and value (1 each); keys and values.

use super::{Fields, Marker, MarkerError};

const PARENTS_UNKNOWN: u8 = 3;

pub(super) fn parse(bytes: &[u8]) -> Result<(Marker, &[u8]), MarkerError> {
    let mut all = Fields(bytes);
    let size = u32::from_be_bytes(all.array()?) as usize;
    let body = size.checked_sub(4).ok_or(MarkerError::Invalid("a size that is too small"))?;
    let mut fields = Fields(all.bytes(body)?);
    let marker = parse_body(&mut fields).map_err(|error| match error {
        MarkerError::Cut => MarkerError::Invalid("a size that is too small"),
        other => other,
    })?;
    if !fields.0.is_empty() {
        return Err(MarkerError::Invalid("a size that is too large"));
    }
    Ok((marker, all.0))
}

fn parse_body(fields: &mut Fields<'_>) -> Result<Marker, MarkerError> {
    let time = f64::from_be_bytes(fields.array()?);
    let minutes = i16::from_be_bytes(fields.array()?);
    let flags = u16::from_be_bytes(fields.array()?);
    let [successors, parents, metadata] = fields.array()?;
    if flags & super::FLAG_SHA256 != 0 {
        return Err(MarkerError::Invalid("names of 32 bytes"));
    }
    let predecessor = fields.node()?;
    let successors = fields.nodes(usize::from(successors))?;
    let parents = match parents {
        PARENTS_UNKNOWN => None,
        0..=2 => Some(fields.nodes(usize::from(parents))?),
        _ => return Err(MarkerError::Invalid("more than two parents")),
    };
    let lengths = fields.bytes(usize::from(metadata) * 2)?;
    let mut metadata = Vec::with_capacity(usize::from(metadata));
    for pair in lengths.chunks_exact(2) {
        let key = fields.bytes(usize::from(pair[0]))?.to_vec();
        metadata.push((key, fields.bytes(usize::from(pair[1]))?.to_vec()));
    }
    let offset = i32::from(minutes) * 60;
    Ok(Marker { predecessor, successors, flags, metadata, time, offset, parents })
}

pub(super) fn encode(marker: &Marker, out: &mut Vec<u8>) -> Result<(), MarkerError> {
    let byte = |count: usize, what| u8::try_from(count).map_err(|_| MarkerError::Invalid(what));
    let minutes =
        i16::try_from(marker.offset.div_euclid(60)).map_err(|_| MarkerError::Invalid("a time zone that is none"))?;
    let start = out.len();
    out.extend([0; 4]);
    out.extend(marker.time.to_be_bytes());
    out.extend(minutes.to_be_bytes());
    out.extend(marker.flags.to_be_bytes());
    out.push(byte(marker.successors.len(), "more than 255 successors")?);
    out.push(match &marker.parents {
        None => PARENTS_UNKNOWN,
        Some(parents) if parents.len() <= 2 => parents.len() as u8,
        Some(_) => return Err(MarkerError::Invalid("more than two parents")),
    });
    out.push(byte(marker.metadata.len(), "more than 255 metadata")?);
    out.extend(marker.predecessor.as_bytes());
    for node in marker.successors.iter().chain(marker.parents.iter().flatten()) {
        out.extend(node.as_bytes());
    }
    for (key, value) in &marker.metadata {
        out.push(byte(key.len(), "a key of more than 255 bytes")?);
        out.push(byte(value.len(), "a value of more than 255 bytes")?);
    }
    for (key, value) in &marker.metadata {
        out.extend_from_slice(key);
        out.extend_from_slice(value);
    }
    let size = (out.len() - start) as u32;
    out[start..start + 4].copy_from_slice(&size.to_be_bytes());
    Ok(())
}
