//! Base 85 as Mercurial writes obsolescence markers in listed and pushed keys (`mercurial/pure/base85.py`): the digits of `git`'s, five for four bytes,
//! the last group shorter.

const DIGITS: &[u8; 85] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~";

/// The bytes that `text` stands for; `None` if it stands for none.
pub(super) fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 5 * 4 + 4);
    for group in text.chunks(5) {
        if group.len() == 1 {
            return None;
        }
        let mut value: u64 = 0;
        for place in 0..5 {
            // What is missing counts as the highest digit.
            let digit = match group.get(place) {
                Some(byte) => DIGITS.iter().position(|digit| digit == byte)?,
                None => 84,
            };
            value = value * 85 + digit as u64;
        }
        let value = u32::try_from(value).ok()?;
        bytes.extend_from_slice(&value.to_be_bytes()[..group.len() - 1]);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_python_encoded_come_back() {
        // base64.b85encode, the same digits without padding.
        assert_eq!(decode(b"").as_deref(), Some(b"".as_slice()));
        assert_eq!(decode(b"Xk~0{Zv").as_deref(), Some(b"hello".as_slice()));
        assert_eq!(decode(b"00000").as_deref(), Some([0; 4].as_slice()));
        assert_eq!(decode(b"|NsC0").as_deref(), Some([255; 4].as_slice()));
    }

    #[test]
    fn what_is_no_base85_is_refused() {
        for bad in [b"0".as_slice(), b"~~~~~", b"00 00", b"00\"00", b"000000"] {
            assert_eq!(decode(bad), None);
        }
    }
}
