//! Which addresses a key or a certificate may be used from.
//!
//! Lists as OpenSSH's `from=` has them (sshd(8), ssh_config(5) "PATTERNS"), of addresses alone: addresses, networks (`192.0.2.0/24`),
//! patterns of addresses (`192.0.2.*`), each with `!` in front where it shuts out. Names of hosts are refused: whoever answers for
//! an address's name is seldom whoever answers for the key.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Entries of one list.
const ENTRIES_MAX: usize = 64;
/// Longest entry, bytes.
const ENTRY_BYTES_MAX: usize = 64;

/// A list of addresses. What it does not name, or names with `!`, is shut out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressList(Vec<Entry>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    shuts_out: bool,
    what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    Network { address: IpAddr, bits: u32 },
    Pattern(String),
}

impl AddressList {
    /// Parses a list as `from=` has it. `None`: something in it is no address, network or pattern of addresses.
    pub fn parse(text: &str) -> Option<AddressList> {
        let entries: Option<Vec<Entry>> = text.split(',').take(ENTRIES_MAX + 1).map(Entry::parse).collect();
        entries.filter(|entries| entries.len() <= ENTRIES_MAX).map(AddressList)
    }

    /// Parses a list as a certificate's `source-address` has it: addresses and networks alone, none shut out.
    pub fn parse_networks(text: &str) -> Option<AddressList> {
        let plain = |entry: &Entry| !entry.shuts_out && matches!(entry.what, What::Network { .. });
        AddressList::parse(text).filter(|list| list.0.iter().all(plain))
    }

    /// Whether the list lets an address in. An IPv4 address that is written as an IPv6 one counts as what it is.
    pub fn lets_in(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let mut named = self.0.iter().filter(|entry| entry.names(address)).peekable();
        named.peek().is_some() && named.all(|entry| !entry.shuts_out)
    }
}

/// As `from=` has it.
impl fmt::Display for AddressList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, entry) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            let not = if entry.shuts_out { "!" } else { "" };
            match &entry.what {
                What::Network { address, bits } => write!(f, "{comma}{not}{address}/{bits}")?,
                What::Pattern(pattern) => write!(f, "{comma}{not}{pattern}")?,
            }
        }
        Ok(())
    }
}

impl Entry {
    fn parse(text: &str) -> Option<Entry> {
        let (shuts_out, text) = text.strip_prefix('!').map_or((false, text), |text| (true, text));
        if text.is_empty() || text.len() > ENTRY_BYTES_MAX {
            return None;
        }
        let what = match text.split_once('/') {
            Some((address, bits)) => network(address.parse().ok()?, number(bits)?)?,
            None if text.contains(['*', '?']) => pattern(text)?,
            None => {
                let address: IpAddr = text.parse().ok()?;
                network(address, width(address))?
            }
        };
        Some(Entry { shuts_out, what })
    }

    fn names(&self, address: IpAddr) -> bool {
        match &self.what {
            What::Network { address: network, bits } => {
                network.is_ipv4() == address.is_ipv4() && masked(address, *bits) == *network
            }
            What::Pattern(pattern) => matches(pattern.as_bytes(), address.to_string().as_bytes()),
        }
    }
}

/// A number as it is written plainly.
fn number(text: &str) -> Option<u32> {
    let plain =
        text.len() <= 3 && text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}

/// A network whose address has no bits beyond its length: with them nobody knows what was meant.
fn network(address: IpAddr, bits: u32) -> Option<What> {
    let fits = bits <= width(address) && masked(address, bits) == address;
    fits.then_some(What::Network { address, bits })
}

/// A pattern that only addresses can match.
fn pattern(text: &str) -> Option<What> {
    let dotted = |byte: u8| byte.is_ascii_digit() || b".*?".contains(&byte);
    let coloned = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte) || b":.*?".contains(&byte);
    let fits = text.bytes().all(dotted) || (text.contains(':') && text.bytes().all(coloned));
    fits.then(|| What::Pattern(text.to_owned()))
}

fn width(address: IpAddr) -> u32 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn masked(address: IpAddr, bits: u32) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32u32.saturating_sub(bits)).unwrap_or(0);
            Ipv4Addr::from_bits(address.to_bits() & mask).into()
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128u32.saturating_sub(bits)).unwrap_or(0);
            Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
    }
}

/// Whether a pattern matches all of a text: `*` any bytes, `?` one. Goes back only to the last `*`, so its time is bounded by both
/// lengths' product.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                back = Some((p, t));
                p += 1;
            }
            Some(byte) if *byte == b'?' || *byte == text[t] => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((star, from)) = back else { return false };
                back = Some((star, from + 1));
                p = star + 1;
                t = from + 1;
            }
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lets_in(list: &str, address: &str) -> bool {
        AddressList::parse(list).unwrap_or_else(|| panic!("{list}")).lets_in(address.parse().unwrap())
    }

    #[test]
    fn lists_let_in_whom_they_name() {
        for (list, inside, outside) in [
            ("192.0.2.7", &["192.0.2.7", "::ffff:192.0.2.7"][..], &["192.0.2.8", "::7"][..]),
            ("192.0.2.0/24,198.51.100.1", &["192.0.2.255", "198.51.100.1"], &["192.0.3.0", "198.51.100.2"]),
            ("10.0.0.0/8,!10.6.0.0/16", &["10.5.1.1", "10.7.0.0"], &["10.6.0.1", "11.0.0.1"]),
            ("!10.6.0.0/16,10.0.0.0/8", &["10.5.1.1"], &["10.6.0.1"]),
            ("!192.0.2.7", &[], &["192.0.2.7", "192.0.2.8"]),
            ("0.0.0.0/0", &["255.255.255.255"], &["::1"]),
            ("192.0.2.*", &["192.0.2.1"], &["192.0.20.1", "92.0.2.1"]),
            ("10.?.0.1*", &["10.2.0.1", "10.2.0.199"], &["10.22.0.1"]),
            ("2001:db8::/32,fe80::*", &["2001:db8:1::1", "fe80::7"], &["2001:db9::1"]),
            ("*", &["192.0.2.1", "::1"], &[]),
        ] {
            for address in inside {
                assert!(lets_in(list, address), "{list} {address}");
            }
            for address in outside {
                assert!(!lets_in(list, address), "{list} {address}");
            }
            let again = AddressList::parse(list).unwrap().to_string();
            assert_eq!(AddressList::parse(&again), AddressList::parse(list), "{again}");
        }
    }

    #[test]
    fn what_nobody_can_judge_is_no_list() {
        let long = ["10.0.0.1"; 65].join(",");
        for bad in [
            "",
            ",",
            "10.0.0.1,",
            "10.0.0.1/24",
            "10.0.0.0/33",
            "10.0.0.0/024",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "10.0.0",
            "010.0.0.1",
            "host.example.com",
            "*.example.com",
            "bad.cafe*",
            "!!10.0.0.1",
            "10.0.0.1 ",
            "fe80::1%eth0",
            "10.0.0.1\"",
            &long,
        ] {
            assert_eq!(AddressList::parse(bad), None, "{bad:?}");
        }
        for bad in ["10.0.0.*", "!10.0.0.0/8", "*"] {
            assert_eq!(AddressList::parse_networks(bad), None, "{bad:?}");
        }
        assert!(AddressList::parse_networks("10.0.0.0/8,::1").is_some());
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in "[0-9a-f:.*?!/,]{0,40}", address in proptest::prelude::any::<u32>()) {
            if let Some(list) = AddressList::parse(&text) {
                let address = IpAddr::from(Ipv4Addr::from_bits(address));
                let again = AddressList::parse(&list.to_string()).unwrap();
                proptest::prop_assert_eq!(again.lets_in(address), list.lets_in(address));
            }
        }
    }
}
