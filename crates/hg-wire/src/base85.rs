//! Base85 as Git and Mercurial write it: 4 bytes in 5 letters.

const LETTERS: &[u8; 85] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~";

/// Encodes bytes; what is left over at the end takes one letter more than it has bytes.
pub fn encode(bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(bytes.len().div_ceil(4) * 5);
    for group in bytes.chunks(4) {
        let mut word = [0; 4];
        word[..group.len()].copy_from_slice(group);
        let mut number = u32::from_be_bytes(word);
        let mut letters = [0; 5];
        for letter in letters.iter_mut().rev() {
            *letter = LETTERS[(number % 85) as usize];
            number /= 85;
        }
        text.extend_from_slice(&letters[..group.len() + 1]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodes_as_python_does() {
        // base64.b85encode(b"hello\0\xff")
        assert_eq!(encode(b"hello\0\xff"), b"Xk~0{Zvg)");
        assert_eq!(encode(b""), b"");
    }
}
