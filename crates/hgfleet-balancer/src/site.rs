//! What all connections share: the fleet, the names it goes by, the times.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::uri::Authority;
use http::{Response, StatusCode};

use crate::body::ReplyBody;
use crate::fleet::Fleet;
use crate::forward::Reply;
use crate::guard::BusyToken;
use crate::headers::TrustedProxy;
use crate::mirror::Health;
use crate::{BalancerOptions, BalancerTimes};

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) times: BalancerTimes,
    pub(crate) trusted_proxy: Option<TrustedProxy>,
    host: String,
    hosts: Vec<String>,
    https_port: u16,
}

impl Site {
    pub(crate) fn new(options: &BalancerOptions, fleet: Arc<Fleet>) -> Arc<Self> {
        Arc::new(Self {
            fleet,
            times: options.times.clone(),
            trusted_proxy: options.trusted_proxy.clone(),
            host: bare(&options.host).to_owned(),
            hosts: options.hosts.iter().map(|h| bare(h).to_owned()).collect(),
            https_port: options.https_port,
        })
    }

    /// The host that a request named, if it is one of ours; else the configured one. Without port,
    /// an IPv6 address in brackets.
    fn host_of(&self, headers: &HeaderMap) -> String {
        let asked = headers
            .get(header::HOST)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.parse::<Authority>().ok());
        let ours = asked.as_ref().map(|authority| bare(authority.host())).and_then(|asked| {
            let mut known = std::iter::once(&self.host).chain(&self.hosts);
            known.find(|host| host.eq_ignore_ascii_case(asked))
        });
        let host = ours.unwrap_or(&self.host);
        if host.contains(':') { format!("[{host}]") } else { host.clone() }
    }

    /// Host and port by which clients reach us over HTTPS.
    pub(crate) fn authority(&self, headers: &HeaderMap) -> String {
        let host = self.host_of(headers);
        match self.https_port {
            443 => host,
            port => format!("{host}:{port}"),
        }
    }

    /// The `Host` that a mirror gets: what it makes links from.
    pub(crate) fn host_for_mirror(&self, headers: &HeaderMap) -> HeaderValue {
        HeaderValue::from_str(&self.authority(headers)).unwrap_or_else(|_| HeaderValue::from_static("localhost"))
    }

    /// Answers `/healthz`: whether a read would find a mirror.
    pub(crate) fn health(&self, busy: BusyToken) -> Reply {
        let order = self.fleet.order();
        let count = |health| order.iter().filter(|m| m.health() == health).count();
        let (serving, lapsed) = (count(Health::Serving), count(Health::Lapsed));
        let position = self.fleet.floor.get().map_or(0, |floor| floor.get());
        let text = format!("position {position}\nmirrors {}\nserving {serving}\nlapsed {lapsed}\n", order.len());
        let mut response = Response::new(ReplyBody::whole(Bytes::from(text), busy));
        if serving + lapsed == 0 {
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        }
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

/// A host without the brackets of an IPv6 address.
fn bare(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}
