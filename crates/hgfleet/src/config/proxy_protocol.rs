//! `[proxy_protocol]`: which servers are believed where their clients are.

use ipnet::IpNet;
use serde::{Deserialize, Deserializer};
use std::net::IpAddr;

/// `[proxy_protocol]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProxyProtocolSection {
    /// Addresses and networks whose servers say by the PROXY protocol where their clients are, and have to
    #[serde(deserialize_with = "networks")]
    pub from: Vec<IpNet>,
}

/// Networks, `10.0.0.0/8`, and single addresses.
pub(super) fn networks<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<IpNet>, D::Error> {
    let network = |text: &String| {
        let parsed = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        parsed.map_err(|_| serde::de::Error::custom(format!("{text:?} is no network, as 10.0.0.0/8, and no address")))
    };
    Vec::<String>::deserialize(input)?.iter().map(network).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::parse;

    #[test]
    fn networks_and_addresses_are_read_and_nothing_else() {
        let from = parse("[proxy_protocol]\nfrom = ['10.0.0.0/8', '2001:db8::1']").expect("parses").proxy_protocol.from;
        assert_eq!(from.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.0.0.0/8", "2001:db8::1/128"]);
        let message = |text| format!("{:#}", parse(text).expect_err("refused"));
        assert!(message("[proxy_protocol]\nfrom = ['10.0.0.0/40']").contains("is no network"));
        assert!(message("[proxy_protocol]\nform = []").contains("nearest known one is from"));
    }
}
