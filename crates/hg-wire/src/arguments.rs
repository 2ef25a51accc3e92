//! Arguments of a command: names and values as the transport carried them, and the parsers of what they hold.

use crate::CommandError;
use crate::error::shown;
use crate::limits;
use hg_store::Node;
use smallvec::SmallVec;

/// The arguments of one command, within the bounds of [`limits`].
#[derive(Debug, Clone, Default)]
pub struct Arguments {
    pairs: SmallVec<[(Vec<u8>, Vec<u8>); 8]>,
    bytes: usize,
}

impl Arguments {
    /// Adds an argument; refuses one that is there already, and whatever goes past a bound.
    pub fn add(&mut self, name: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Result<(), CommandError> {
        let (name, value) = (name.into(), value.into());
        if self.get(&name).is_some() {
            return Err(CommandError::Malformed(format!("argument '{}' is given twice", shown(&name))));
        }
        self.bytes = self.bytes.saturating_add(name.len()).saturating_add(value.len());
        if self.pairs.len() == limits::ARGUMENTS_MAX {
            return Err(CommandError::TooLarge(format!("more than {} arguments", limits::ARGUMENTS_MAX)));
        }
        if value.len() > limits::ARGUMENT_BYTES_MAX || self.bytes > limits::ARGUMENTS_BYTES_MAX {
            return Err(CommandError::TooLarge(format!("argument '{}' is too long", shown(&name))));
        }
        self.pairs.push((name, value));
        Ok(())
    }

    /// Returns an argument's value.
    pub fn get(&self, name: &[u8]) -> Option<&[u8]> {
        self.pairs.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_slice())
    }

    /// Returns the value of an argument that the command can't do without.
    pub fn required(&self, name: &str) -> Result<&[u8], CommandError> {
        self.get(name.as_bytes()).ok_or_else(|| CommandError::Malformed(format!("argument '{name}' is missing")))
    }

    /// Returns the bytes of all names and values together.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns names and values in the order in which they came.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.pairs.iter().map(|(name, value)| (name.as_slice(), value.as_slice()))
    }
}

/// Parses a hash of exactly 40 hexadecimal digits, lower case as all clients write them.
pub fn node(hex: &[u8]) -> Result<Node, CommandError> {
    Some(hex)
        .filter(|hex| !hex.iter().any(u8::is_ascii_uppercase))
        .and_then(Node::from_hex)
        .ok_or_else(|| CommandError::Malformed(format!("not a changeset hash: '{}'", shown(hex))))
}

/// Parses hashes with one blank between them; nothing is an empty list.
pub fn nodes(list: &[u8]) -> Result<Vec<Node>, CommandError> {
    if list.is_empty() {
        return Ok(Vec::new());
    }
    // 40 digits and a blank: the count is known before anything is allocated.
    if list.len() / 41 + 1 > limits::NODES_MAX {
        return Err(CommandError::TooLarge(format!("more than {} hashes in one argument", limits::NODES_MAX)));
    }
    list.split(|byte| *byte == b' ').map(node).collect()
}

/// Parses a boolean: `0` or `1`.
pub fn boolean(name: &str, value: &[u8]) -> Result<bool, CommandError> {
    match value {
        b"0" => Ok(false),
        b"1" => Ok(true),
        _ => Err(CommandError::Malformed(format!("argument '{name}' is neither 0 nor 1: '{}'", shown(value)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_of_a_wrong_length_or_alphabet_are_refused() {
        let good = "0123456789abcdef0123456789abcdef01234567";
        assert_eq!(nodes(good.as_bytes()).expect("a hash").len(), 1);
        assert_eq!(nodes(b"").expect("nothing").len(), 0);
        for bad in [
            &good[1..],
            &format!("{good}8"),
            "zz23456789abcdef0123456789abcdef01234567",
            &good.to_uppercase(),
            &format!("{good}  {good}"),
        ] {
            assert!(matches!(nodes(bad.as_bytes()), Err(CommandError::Malformed(_))), "{bad}");
        }
    }

    #[test]
    fn too_many_hashes_are_refused_before_they_are_parsed() {
        let list = vec![b' '; (limits::NODES_MAX + 1) * 41];
        assert!(matches!(nodes(&list), Err(CommandError::TooLarge(_))));
    }

    #[test]
    fn argument_given_twice_is_refused() {
        let mut arguments = Arguments::default();
        arguments.add("heads", "a").expect("first");
        assert!(matches!(arguments.add("heads", "b"), Err(CommandError::Malformed(_))));
    }

    #[test]
    fn booleans_are_strict() {
        assert!(boolean("cg", b"1").expect("one"));
        for bad in [b"yes".as_slice(), b"2", b"", b"01"] {
            assert!(boolean("cg", bad).is_err());
        }
    }
}
