//! `trusted_proxy` in `[http]`: who may name the account of a request.

use super::Config;
use anyhow::{Context, bail};
use hgfleet_balancer::TrustedProxy;
use http::HeaderName;
use ipnet::IpNet;
use serde::Deserialize;
use std::net::IpAddr;

/// `trusted_proxy` in `[http]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustedProxySection {
    /// Addresses, and networks such as `10.1.0.0/16`, that it connects from
    pub from: Vec<String>,
    /// The header that names the account
    pub header: String,
}

/// Headers that say something else, and must not be taken from everybody.
const NEEDED: [&str; 6] = ["authorization", "host", "content-length", "transfer-encoding", "connection", "accept"];

impl Config {
    /// The authenticating proxy before the balancers, where there is one.
    ///
    /// # Errors
    ///
    /// What is no network or no header, or one that is needed otherwise.
    pub fn trusted_proxy(&self) -> anyhow::Result<Option<TrustedProxy>> {
        let Some(section) = &self.http.trusted_proxy else { return Ok(None) };
        let network = |text: &String| {
            let address = || text.parse::<IpAddr>().ok().map(IpNet::from);
            let network = text.parse().ok().or_else(address);
            network.with_context(|| {
                format!("{text:?} in trusted_proxy of [http] is neither an address nor a network such as 10.1.0.0/16")
            })
        };
        let from = section.from.iter().map(network).collect::<anyhow::Result<Vec<IpNet>>>()?;
        if from.is_empty() || from.iter().any(|network| network.prefix_len() == 0) {
            bail!(
                "trusted_proxy of [http] would trust nobody or everybody; name in `from` where the proxy connects from"
            );
        }
        let header: Option<HeaderName> = section.header.parse().ok();
        let header = header.with_context(|| format!("{:?} in trusted_proxy of [http] is no header", section.header))?;
        let name = header.as_str();
        if NEEDED.contains(&name) || name.starts_with("x-hg") {
            bail!(
                "the header {name} in trusted_proxy of [http] says something else already; choose one of the proxy's own"
            );
        }
        Ok(Some(TrustedProxy { from, header }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::parse;

    #[test]
    fn a_proxy_is_trusted_by_network_and_header() {
        let text = |from: &str, header: &str| {
            format!("[http]\ntrusted_proxy = {{ from = [{from}], header = \"{header}\" }}\n")
        };
        let config = parse(&text("'10.1.0.0/16', '192.0.2.7', '2001:db8::/64'", "X-Forwarded-User")).expect("parses");
        let proxy = config.trusted_proxy().expect("sound").expect("one");
        assert_eq!((proxy.from.len(), proxy.header.as_str()), (3, "x-forwarded-user"));
        assert_eq!(proxy.from[1].to_string(), "192.0.2.7/32");
        for (from, header, why) in [
            ("'10.1.0.0/33'", "X-User", "neither an address"),
            ("'proxy.example.org'", "X-User", "neither an address"),
            ("", "X-User", "nobody or everybody"),
            ("'0.0.0.0/0'", "X-User", "nobody or everybody"),
            ("'10.1.0.0/16'", "X User", "no header"),
            ("'10.1.0.0/16'", "Authorization", "something else"),
            ("'10.1.0.0/16'", "X-Hgfleet-Account", "something else"),
        ] {
            let refused = parse(&text(from, header)).expect_err("refused");
            assert!(format!("{refused:#}").contains(why), "{refused:#}");
        }
    }
}
