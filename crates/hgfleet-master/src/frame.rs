//! Messages on the daemon's sockets: a length (u32, big-endian) and that many bytes of postcard.
//!
//! A length above the receiver's bound ends the conversation before anything is allocated.

use std::io::{self, Read, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Encodes a message with its length in front.
pub(crate) fn encode<T: Serialize>(message: &T) -> io::Result<Vec<u8>> {
    let mut bytes = postcard::to_extend(message, vec![0; 4]).map_err(io::Error::other)?;
    let length = u32::try_from(bytes.len() - 4).map_err(io::Error::other)?;
    bytes[..4].copy_from_slice(&length.to_be_bytes());
    Ok(bytes)
}

/// Decodes what follows a length.
pub(crate) fn decode<T: DeserializeOwned>(body: &[u8]) -> io::Result<T> {
    match postcard::take_from_bytes(body) {
        Ok((message, [])) => Ok(message),
        Ok(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "a message with something after it")),
        Err(error) => Err(io::Error::new(io::ErrorKind::InvalidData, error)),
    }
}

/// Checks a length against the receiver's bound.
pub(crate) fn checked_length(head: [u8; 4], bytes_max: usize) -> io::Result<usize> {
    let length = u32::from_be_bytes(head) as usize;
    if length > bytes_max {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a message of {length} bytes; {bytes_max} are allowed"),
        ));
    }
    Ok(length)
}

/// Writes a message.
pub(crate) fn write<T: Serialize>(to: &mut impl Write, message: &T) -> io::Result<()> {
    to.write_all(&encode(message)?)?;
    to.flush()
}

/// Reads a message. Reads not one byte more than it has.
pub(crate) fn read<T: DeserializeOwned>(from: &mut impl Read, bytes_max: usize) -> io::Result<T> {
    let mut head = [0; 4];
    from.read_exact(&mut head)?;
    let mut body = vec![0; checked_length(head, bytes_max)?];
    from.read_exact(&mut body)?;
    decode(&body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_comes_back_and_leaves_what_follows() {
        let mut bytes = encode(&(7u32, "text".to_owned())).unwrap();
        bytes.extend_from_slice(b"rest");
        let mut from = &bytes[..];
        assert_eq!(read::<(u32, String)>(&mut from, 100).unwrap(), (7, "text".to_owned()));
        assert_eq!(from, b"rest");
    }

    #[test]
    fn long_cut_and_padded_frames_are_refused() {
        assert!(read::<Vec<u8>>(&mut &[0xff, 0xff, 0xff, 0xff][..], 1 << 20).is_err());
        let bytes = encode(&"text".to_owned()).unwrap();
        for cut in 0..bytes.len() {
            assert!(read::<String>(&mut &bytes[..cut], 100).is_err());
        }
        let mut padded = bytes.clone();
        padded.push(0);
        padded[3] += 1;
        assert!(read::<String>(&mut &padded[..], 100).is_err());
    }
}
