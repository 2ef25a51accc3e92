//! The HTTP side: each request at a position.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hg_store::Snapshot;
use hg_store::lfs::LfsOid;
use hg_wire::http as wire;
use hgfleet_access::{AccessControl, AccessRules};
use hgfleet_log::upload::{self, Upload};
use hgfleet_log::wanted::Wanted;
use hgfleet_log::{RepositoryName, Sequence};
use hgfleet_replica::{Replica, ReplicaError};
use hyper::body::Incoming;
use hyper::ext::ReasonPhrase;
use hyper::header::{
    AUTHORIZATION, CACHE_CONTROL, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, VARY, WWW_AUTHENTICATE,
};
use hyper::{Request, Response, StatusCode};
use tokio::time::Instant;

use crate::http::{
    Absent, Addresses, BundleCache, CHALLENGE, NotServed, Peer, Repositories, ResponseBody, Service, answer,
};
use crate::membership::Membership;
use crate::readers::{self, Reader, Readers, Shown};
use crate::show::{NotShown, Showing};
use crate::uploads;

/// On a balancer's request: the tag. On a reply: the position that it was answered at. A sequence in decimal.
pub static POSITION: HeaderName = HeaderName::from_static("x-hgfleet-position");
/// On a balancer's request: the account that a trusted proxy names.
pub static ACCOUNT: HeaderName = HeaderName::from_static("x-hgfleet-account");
/// On a balancer's request: the address that it comes from.
static FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// On a reply of status 503, why another mirror is to be asked: `behind`, `late`, `quarantined` or `unsure`.
pub static RETRY: HeaderName = HeaderName::from_static("x-hgfleet-retry");
/// On a reply: `lapsed`, when this mirror is not in service, as far as it knows.
pub static MEMBERSHIP: HeaderName = HeaderName::from_static("x-hgfleet-membership");

/// What all doors of a mirror share.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) replica: Arc<Replica>,
    pub(crate) showing: Arc<Showing>,
    pub(crate) membership: Arc<Membership>,
    pub(crate) push_address: Option<String>,
    pub(crate) access: AccessControl,
    pub(crate) readers: Readers,
    pub(crate) wait: Duration,
    pub(crate) bundle_cache: Arc<BundleCache>,
}

/// One door: the balancer's, where tags and named accounts are believed and credentials come over TLS, or one for everybody.
#[derive(Debug)]
pub(crate) struct Door {
    pub(crate) site: Arc<Site>,
    pub(crate) is_balancers: bool,
}

impl Service for Door {
    async fn call(self: Arc<Self>, request: Request<Incoming>, _peer: Peer) -> Response<ResponseBody> {
        let (mut head, body) = request.into_parts();
        let tag = self.take_tag(&mut head.headers);
        let site = &self.site;
        let address = head.headers.get(&FORWARDED_FOR).and_then(|value| value.to_str().ok()?.parse::<IpAddr>().ok());
        let credentials = head.headers.get(AUTHORIZATION).cloned();
        let reader = match self.take_reader(&mut head.headers, address).await {
            Ok(reader) => reader,
            Err(refusal) => return site.mark(wrong(refusal), None),
        };
        match Wanted::take(&head.headers, &mut head.uri) {
            Err(text) => return site.mark(refused(StatusCode::BAD_REQUEST, text.to_owned()), None),
            Ok(Some(wanted)) => {
                if !site.showing.shows(wanted.sequence, Instant::now() + wanted.wait).await {
                    let text = wanted.not_yet(site.showing.position());
                    return site.mark(refused(StatusCode::SERVICE_UNAVAILABLE, text), None);
                }
            }
            Ok(None) => {}
        }
        if tag > site.showing.staged() {
            return site.mark(
                unavailable("behind", "refused: the newest records are missing, on this mirror. Try again in a moment"),
                None,
            );
        }
        site.showing.hear(tag);
        let position = site.showing.position().max(tag);
        let seen = Arc::new(Seen {
            site: site.clone(),
            rules: site.access.rules(),
            credentials: credentials.filter(|_| matches!(reader, Reader::Account { .. })),
            reader,
            address,
            offers_sign_in: self.is_balancers,
            is_unsure: AtomicBool::new(false),
            position,
            deadline: Instant::now() + site.wait,
            is_late: AtomicBool::new(false),
            is_quarantined: AtomicBool::new(false),
        });
        let mut response = answer(&seen, Request::from_parts(head, body)).await;
        if seen.is_late.load(Ordering::Relaxed) {
            response = unavailable(
                "late",
                "refused: the newest records are not applied yet, on this mirror. Try again in a moment",
            );
        } else if seen.is_quarantined.load(Ordering::Relaxed) {
            response.headers_mut().insert(&RETRY, HeaderValue::from_static("quarantined"));
        } else if seen.is_unsure.load(Ordering::Relaxed) {
            response.headers_mut().insert(&RETRY, HeaderValue::from_static("unsure"));
        }
        seen.keep_apart(&mut response);
        site.mark(response, position)
    }
}

impl Door {
    /// Takes the tag out of a request; a client's own means nothing.
    fn take_tag(&self, headers: &mut HeaderMap) -> Option<Sequence> {
        let value = headers.remove(&POSITION).filter(|_| self.is_balancers)?;
        Sequence::new(value.to_str().ok()?.parse().ok()?)
    }

    /// Takes out of a request what it shows of who sent it, and finds out who that is.
    async fn take_reader(&self, headers: &mut HeaderMap, address: Option<IpAddr>) -> Result<Reader, readers::Refused> {
        let bad = |text: &str| Err(readers::Refused { status: StatusCode::BAD_REQUEST, text: text.to_owned() });
        let account = headers.remove(&ACCOUNT).filter(|_| self.is_balancers);
        let several = headers.get_all(AUTHORIZATION).iter().count() > 1;
        let credentials = headers.remove(AUTHORIZATION);
        if several {
            return bad("refused: several are there, of the Authorization header. Send one");
        }
        if credentials.is_some() && !self.is_balancers {
            return bad("refused: readable by anybody on the way, credentials at an address without TLS. \
                 Use the fleet's HTTPS address, and revoke this token");
        }
        let shown = match (&account, &credentials) {
            (Some(account), _) => Shown::Account(account.to_str().unwrap_or_default()),
            (None, Some(value)) => Shown::Credentials(value.as_bytes()),
            (None, None) => Shown::Nothing,
        };
        self.site.readers.who(shown, address).await
    }
}

impl Site {
    /// Says on a reply at which position it was answered, and whether this mirror is in service.
    ///
    /// The position is read again: the snapshot was taken after the request had come, so that it may
    /// hold more than was asked for, and whoever reads the reply must not be shown less afterwards.
    fn mark(&self, mut response: Response<ResponseBody>, position: Option<Sequence>) -> Response<ResponseBody> {
        let position = self.showing.position().max(position);
        let headers = response.headers_mut();
        if let Some(position) = position {
            headers.insert(&POSITION, HeaderValue::from(position.get()));
        }
        if !self.membership.in_service() {
            headers.insert(&MEMBERSHIP, HeaderValue::from_static("lapsed"));
        }
        response
    }
}

/// What is answered where credentials are wrong.
fn wrong(refusal: readers::Refused) -> Response<ResponseBody> {
    let readers::Refused { status, text } = refusal;
    tracing::info!(status = status.as_u16(), text, "credentials are refused");
    let mut response = refused(status, text);
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(WWW_AUTHENTICATE, CHALLENGE);
    }
    if status == StatusCode::TOO_MANY_REQUESTS {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("60"));
    }
    response
}

fn refused(status: StatusCode, text: String) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::whole(format!("{text}\n")));
    *response.status_mut() = status;
    if let Ok(reason) = ReasonPhrase::try_from(text.into_bytes()) {
        response.extensions_mut().insert(reason);
    }
    response
}

fn unavailable(why: &'static str, text: &'static str) -> Response<ResponseBody> {
    let mut response = refused(StatusCode::SERVICE_UNAVAILABLE, text.to_owned());
    response.headers_mut().insert(&RETRY, HeaderValue::from_static(why));
    response
}

/// The repositories as one request sees them: at its position or above.
struct Seen {
    site: Arc<Site>,
    /// One look at the file for the whole request.
    rules: Arc<AccessRules>,
    reader: Reader,
    /// By which the reader has shown who it is.
    credentials: Option<HeaderValue>,
    /// Where the request comes from, as the balancer says.
    address: Option<IpAddr>,
    /// Whether credentials are taken where the request came in.
    offers_sign_in: bool,
    is_unsure: AtomicBool,
    position: Option<Sequence>,
    deadline: Instant,
    is_late: AtomicBool,
    is_quarantined: AtomicBool,
}

impl Seen {
    fn may_read(&self, name: &RepositoryName) -> bool {
        self.reader.may_read(&self.rules, name)
    }

    /// No cache on the way may give one reader what another was answered.
    fn keep_apart(&self, response: &mut Response<ResponseBody>) {
        let says_more_to_others = response.status() == StatusCode::UNAUTHORIZED;
        let headers = response.headers_mut();
        if says_more_to_others || !matches!(self.reader, Reader::Anonymous) {
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        if self.rules.have_private() {
            headers.append(VARY, HeaderValue::from_static("Authorization"));
        }
    }

    /// Waits until what is asked for is as of the position; false: it is not in time.
    async fn wait(&self, name: Option<&RepositoryName>) -> bool {
        let Some(position) = self.position else { return true };
        let status = name.and_then(|name| self.site.replica.repository(name));
        if status.is_some_and(|status| status.quarantine.is_some()) {
            // It is refused whatever comes: the balancer asks another mirror at once.
            return true;
        }
        match self.site.showing.wait(name, position, self.deadline).await {
            Ok(()) => true,
            Err(NotShown::Behind | NotShown::Late) => {
                self.is_late.store(true, Ordering::Relaxed);
                false
            }
        }
    }
}

impl Repositories for Seen {
    async fn names(&self) -> Vec<String> {
        if !self.wait(None).await {
            return Vec::new();
        }
        let all = self.site.replica.repositories();
        all.into_iter().filter(|one| self.may_read(&one.name)).map(|one| one.name.as_str().to_owned()).collect()
    }

    async fn has(&self, name: &str) -> bool {
        let Ok(name) = RepositoryName::parse(name.as_bytes()) else { return false };
        // Asked last: what may not be read takes as long as what is there, and is answered as what is not.
        self.wait(Some(&name)).await && self.site.replica.position_of(&name).is_some() && self.may_read(&name)
    }

    async fn snapshot(&self, name: &str) -> Result<Arc<Snapshot>, NotServed> {
        let name = RepositoryName::parse(name.as_bytes()).map_err(|_| NotServed::Unknown)?;
        if !self.may_read(&name) {
            return Err(NotServed::Unknown);
        }
        let replica = self.site.replica.clone();
        // Else another thread opens it, which costs more than most answers.
        if let Some(snapshot) = replica.open_snapshot(&name) {
            return Ok(snapshot);
        }
        let asked = name.clone();
        let opened = tokio::task::spawn_blocking(move || replica.shared_snapshot(&asked)).await;
        match opened {
            Ok(Ok(snapshot)) => Ok(snapshot),
            Ok(Err(ReplicaError::NotFound(_))) => Err(NotServed::Unknown),
            Ok(Err(error)) => {
                let is_known = matches!(error, ReplicaError::Quarantined { .. });
                if !is_known {
                    tracing::error!(%error, repository = name.as_str(), "a repository can't be read");
                    self.site.membership.resync.suspect(&name);
                }
                self.is_quarantined.store(true, Ordering::Relaxed);
                let text =
                    format!("refused: the repository is being repaired, {}. Try again in a while", name.as_str());
                Err(NotServed::Unavailable { text, retry: true })
            }
            Err(panicked) => {
                tracing::error!(error = %panicked, repository = name.as_str(), "opening a repository has failed");
                let text = "refused: the server failed, on this request. Tell the administrators".to_owned();
                Err(NotServed::Unavailable { text, retry: false })
            }
        }
    }

    fn absent(&self) -> Absent {
        match self.reader {
            Reader::Anonymous if self.offers_sign_in && self.rules.have_private() => Absent::SignIn,
            Reader::Unsure => {
                self.is_unsure.store(true, Ordering::Relaxed);
                Absent::Unsure
            }
            _ => Absent::NotThere,
        }
    }

    fn user(&self) -> Option<String> {
        match &self.reader {
            Reader::Account { mail, .. } => Some(mail.clone()),
            Reader::Anonymous | Reader::Unsure => None,
        }
    }

    fn credentials(&self) -> Option<String> {
        Some(self.credentials.as_ref()?.to_str().ok()?.to_owned())
    }

    fn addresses(&self, name: &str) -> Addresses {
        let push = self.site.push_address.as_ref();
        Addresses { http: None, push: push.map(|base| format!("{}/{name}", base.trim_end_matches('/'))) }
    }

    fn bundle_cache(&self) -> Option<&Arc<BundleCache>> {
        Some(&self.site.bundle_cache)
    }

    fn may_upload(&self, name: &str) -> Result<(), wire::Refusal> {
        uploads::check(&self.reader, &self.rules, name, self.offers_sign_in)
    }

    async fn upload(&self, name: &str, oid: LfsOid, bytes: u64, body: Incoming) -> Result<(), wire::Refusal> {
        self.may_upload(name)?;
        let membership = &self.site.membership;
        let (Ok(repository), Some(log), Reader::Account { mail, .. }) =
            (RepositoryName::parse(name.as_bytes()), membership.log(), &self.reader)
        else {
            return Err(uploads::no_master(name));
        };
        let upload = Upload {
            version: upload::VERSION,
            log,
            mirror: membership.name.clone(),
            repository,
            sha256: oid.to_bytes(),
            bytes,
            account: mail.clone(),
            address: self.address.map(|address| address.to_canonical().to_string()).unwrap_or_default(),
        };
        if let Some(stored) = uploads::pass_on(membership, upload, body).await? {
            // It is stored in any case; who asks another mirror next may have to wait there.
            self.site.showing.shows(stored, Instant::now() + self.site.wait).await;
        }
        Ok(())
    }

    fn suspect(&self, name: &str) {
        // Another mirror is asked, if the reply has not begun.
        self.is_quarantined.store(true, Ordering::Relaxed);
        if let Ok(name) = RepositoryName::parse(name.as_bytes()) {
            self.site.membership.resync.suspect(&name);
        }
    }

    fn health(&self) -> (bool, String) {
        let member = self.site.membership.member();
        let position = |position: Option<Sequence>| position.map_or(0, Sequence::get);
        let text = format!(
            "{}\nstaged {}\nposition {}\nreason {}",
            member.state,
            position(member.staged_position),
            position(member.position),
            member.reason
        );
        (!self.site.membership.is_draining(), text)
    }
}
