//! The numbers and names by which records are told apart: one type for each kind.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A record's place in the log: 1, 2, 3, … without a gap.
///
/// "No record yet" is `Option<Sequence>`, never 0. The largest is 2^63 − 1, which both backends can hold.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Sequence(NonZeroU64);

impl Sequence {
    /// The place of a log's first record.
    pub const FIRST: Sequence = Sequence(NonZeroU64::MIN);

    /// Returns the sequence with this number; none for 0 and for numbers above 2^63 − 1.
    pub const fn new(number: u64) -> Option<Sequence> {
        if number > i64::MAX as u64 {
            return None;
        }
        match NonZeroU64::new(number) {
            Some(number) => Some(Sequence(number)),
            None => None,
        }
    }

    /// Returns the number.
    pub const fn get(self) -> u64 {
        self.0.get()
    }

    /// Returns the sequence that follows this one; none at the largest.
    pub const fn next(self) -> Option<Sequence> {
        Sequence::new(self.get() + 1)
    }

    /// Returns the sequence before this one; none before the first.
    pub const fn previous(self) -> Option<Sequence> {
        Sequence::new(self.get() - 1)
    }

    /// Returns the place of the record that follows `last`: the first one where there is none yet.
    pub const fn after(last: Option<Sequence>) -> Option<Sequence> {
        match last {
            Some(last) => last.next(),
            None => Some(Sequence::FIRST),
        }
    }
}

/// The right to append, as a number: it grows by one each time it changes hands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Epoch(NonZeroU64);

impl Epoch {
    /// The epoch of a log's first holder.
    pub const FIRST: Epoch = Epoch(NonZeroU64::MIN);

    /// Returns the epoch with this number; none for 0 and for numbers above 2^63 − 1.
    pub const fn new(number: u64) -> Option<Epoch> {
        if number > i64::MAX as u64 {
            return None;
        }
        match NonZeroU64::new(number) {
            Some(number) => Some(Epoch(number)),
            None => None,
        }
    }

    /// Returns the number.
    pub const fn get(self) -> u64 {
        self.0.get()
    }

    /// Returns the epoch that a new holder takes after `last`; none when the numbers are used up.
    pub const fn after(last: Option<Epoch>) -> Option<Epoch> {
        match last {
            Some(last) => Epoch::new(last.get() + 1),
            None => Some(Epoch::FIRST),
        }
    }
}

/// A number from outside is 0 or above 2^63 − 1, so it is no sequence and no epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is outside 1 to 9223372036854775807")]
pub struct OutOfRange(pub u64);

macro_rules! number {
    ($name:ident) => {
        impl TryFrom<u64> for $name {
            type Error = OutOfRange;
            fn try_from(number: u64) -> Result<$name, OutOfRange> {
                $name::new(number).ok_or(OutOfRange(number))
            }
        }

        impl From<$name> for u64 {
            fn from(value: $name) -> u64 {
                value.get()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
    };
}

number!(Sequence);
number!(Epoch);

/// Why a text is not the hexadecimal form of an identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {digits} lower-case hexadecimal digits")]
pub struct NotHex {
    /// How many digits the identifier has.
    pub digits: usize,
}

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident, $bytes:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name([u8; $bytes]);

        impl $name {
            /// Length in bytes.
            pub const BYTES: usize = $bytes;

            /// Returns the identifier made of these bytes.
            pub const fn from_bytes(bytes: [u8; $bytes]) -> $name {
                $name(bytes)
            }

            /// Returns its bytes.
            pub const fn as_bytes(&self) -> &[u8; $bytes] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = NotHex;
            fn from_str(text: &str) -> Result<$name, NotHex> {
                parse_hex(text.as_bytes()).map($name)
            }
        }
    };
}

fn parse_hex<const N: usize>(text: &[u8]) -> Result<[u8; N], NotHex> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Ok(byte - b'0'),
        b'a'..=b'f' => Ok(byte - b'a' + 10),
        _ => Err(NotHex { digits: 2 * N }),
    };
    if text.len() != 2 * N {
        return Err(NotHex { digits: 2 * N });
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Ok(bytes)
}

identifier!(
    /// A log's identity: random, made with the log, held by each of its records.
    LogId,
    16
);
identifier!(
    /// A record's own name, chosen by who asks for the append, before the log gives it a sequence.
    RecordId,
    16
);
identifier!(
    /// BLAKE3 over a whole encoded record. Each record holds the one of the record before it.
    ChainHash,
    32
);
identifier!(
    /// One life of a server's disk: an emptied or copied disk is a new incarnation.
    Incarnation,
    16
);

impl ChainHash {
    /// What the first record of a log holds as the hash of the one before: all zeros.
    pub const NONE: ChainHash = ChainHash([0; 32]);
}

macro_rules! random {
    ($($name:ident)*) => {$(
        impl $name {
            /// Returns a new random one, from the operating system.
            ///
            /// # Errors
            /// Where the operating system has no random bytes to give.
            pub fn random() -> std::io::Result<$name> {
                let mut bytes = [0; $name::BYTES];
                getrandom::fill(&mut bytes).map_err(|error| std::io::Error::other(error.to_string()))?;
                Ok($name(bytes))
            }
        }
    )*};
}

random!(LogId RecordId Incarnation);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_is_never_zero_and_never_beyond_what_a_backend_holds() {
        assert_eq!(Sequence::new(0), None);
        assert_eq!(Sequence::new(u64::MAX), None);
        assert_eq!(Sequence::after(None), Some(Sequence::FIRST));
        let last = Sequence::new(i64::MAX as u64).expect("largest");
        assert_eq!(last.next(), None);
        assert_eq!(Sequence::FIRST.previous(), None);
        assert_eq!(Epoch::after(Epoch::new(7)), Epoch::new(8));
    }

    #[test]
    fn a_sequence_from_a_peer_is_checked() {
        let bytes = postcard::to_stdvec(&0u64).expect("encoded");
        assert!(postcard::from_bytes::<Sequence>(&bytes).is_err());
        let bytes = postcard::to_stdvec(&u64::MAX).expect("encoded");
        assert!(postcard::from_bytes::<Epoch>(&bytes).is_err());
    }

    #[test]
    fn identifiers_read_what_they_print() {
        let id = RecordId::random().expect("random");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!("00".parse::<RecordId>().is_err());
        assert!("0G".repeat(16).parse::<LogId>().is_err());
        assert!("AA".repeat(16).parse::<LogId>().is_err());
    }
}
