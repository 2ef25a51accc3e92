//! One HTTPS request's way to a mirror and back.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hgfleet_log::Sequence;
use hgfleet_log::wanted::Wanted;
use http::header::{self, HeaderValue};
use http::{Request, Response, StatusCode, Version, request};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::ext::ReasonPhrase;
use tokio::time::{Instant, sleep};

use crate::body::{BrokenOff, ReplyBody, RequestBody, Taken, take};
use crate::guard::BusyToken;
use crate::headers::{ReplyMarks, Retry, check, prepare_reply, prepare_request, take_account};
use crate::mirror::{Failure, Health, Loan, Mirror};
use crate::site::Site;

/// The pause before all mirrors are asked again.
const ROUND_PAUSE: Duration = Duration::from_millis(100);
/// A mirror's refusal is kept up to this size, to be passed on when nobody has a better answer.
const REFUSAL_BYTES_MAX: usize = 64 * 1024;

/// What a reader gets while no mirror answers; Mercurial's client prints the reason.
const NONE_ANSWERS: &str = "refused: no mirror answers, of this fleet. Try again in a minute";

const BROKE_OFF: &str = "refused: it broke off, the request's body. Send it again";

/// A reply's head with its body, on the way to the client.
pub(crate) type Reply = Response<ReplyBody>;

/// Answers one request.
pub(crate) async fn answer(site: &Arc<Site>, peer: SocketAddr, request: Request<Incoming>, busy: BusyToken) -> Reply {
    let (mut head, body) = request.into_parts();
    if let Err(refused) = check(&head) {
        return refuse(refused.status, refused.text, busy);
    }
    if head.uri.path() == "/healthz" {
        return site.health(busy);
    }
    match Wanted::take(&head.headers, &mut head.uri) {
        Err(text) => return refuse(StatusCode::BAD_REQUEST, text, busy),
        Ok(Some(wanted)) => {
            let deadline = Instant::now() + wanted.wait;
            if !site.fleet.floor.reaches(wanted.sequence, deadline).await {
                return refuse(StatusCode::SERVICE_UNAVAILABLE, wanted.not_yet(site.fleet.floor.get()), busy);
            }
        }
        Ok(None) => {}
    }
    let account = match take_account(&mut head.headers, site.trusted_proxy.as_ref(), peer.ip()) {
        Ok(account) => account,
        Err(refused) => return refuse(refused.status, refused.text, busy),
    };
    let tag = site.fleet.floor.get();
    let host = site.host_for_mirror(&head.headers);
    prepare_request(&mut head.headers, tag, account, host, &peer.ip().to_string());
    let body = match take(body).await {
        Ok(body) => body,
        Err(error) => {
            tracing::info!(%peer, %error, "a request's body broke off");
            return refuse(StatusCode::BAD_REQUEST, BROKE_OFF, busy);
        }
    };
    let search = Search { site, tag, head, lapsed: None, refusal: None };
    match body {
        Taken::Whole(bytes) => search.with_kept(bytes, busy).await,
        Taken::Part(rest) => {
            let (body, broken_off) = rest.send();
            search.once(body, &broken_off, busy).await
        }
    }
}

/// The search for a mirror that answers.
struct Search<'a> {
    site: &'a Site,
    tag: Option<Sequence>,
    head: request::Parts,
    /// A good reply, but of a mirror whose membership has run out.
    lapsed: Option<Found>,
    /// The last mirror's refusal.
    refusal: Option<Response<Bytes>>,
}

/// A reply that can be passed on.
struct Found {
    response: Response<Incoming>,
    loan: Loan,
}

/// What one mirror made of the request.
enum Attempt {
    Good(Found),
    Lapsed(Found),
    Refused(Response<Bytes>, Retry),
    Failed,
}

impl Search<'_> {
    /// Asks one mirror after the other, round after round, until one answers or the time is over.
    async fn with_kept(mut self, bytes: Bytes, busy: BusyToken) -> Reply {
        let deadline = Instant::now() + self.site.times.attempt;
        loop {
            // Whether asking again in a moment is of no use: the repository is damaged everywhere.
            let mut hopeless = true;
            for mirror in self.site.fleet.order() {
                if self.lapsed.is_some() && mirror.health() >= Health::Lapsed {
                    break;
                }
                let request = self.request(RequestBody::kept(bytes.clone()));
                let sent = mirror.send(request).await;
                match self.judge(&mirror, sent).await {
                    Attempt::Good(found) => return self.pass_on(found, busy),
                    Attempt::Lapsed(found) => self.lapsed = Some(found),
                    Attempt::Refused(refusal, retry) => {
                        self.refusal = Some(refusal);
                        hopeless &= retry == Retry::Elsewhere;
                    }
                    Attempt::Failed => hopeless = false,
                }
            }
            if let Some(found) = self.lapsed.take() {
                return self.pass_on(found, busy);
            }
            hopeless &= self.refusal.is_some();
            if hopeless || Instant::now() + ROUND_PAUSE > deadline {
                return self.give_up(busy);
            }
            sleep(ROUND_PAUSE).await;
        }
    }

    /// Asks the first mirror that can be reached: this body can be sent only once.
    async fn once(mut self, body: RequestBody, broken_off: &BrokenOff, busy: BusyToken) -> Reply {
        let mut request = self.request(body);
        for mirror in self.site.fleet.order() {
            let sent = match mirror.send(request).await {
                Err(_) if broken_off.get() => return refuse(StatusCode::BAD_REQUEST, BROKE_OFF, busy),
                Err(Failure::NotSent(unsent, error)) => {
                    self.note_failure(&mirror, &error);
                    request = *unsent;
                    continue;
                }
                sent => sent,
            };
            match self.judge(&mirror, sent).await {
                Attempt::Good(found) | Attempt::Lapsed(found) => return self.pass_on(found, busy),
                Attempt::Refused(refusal, _) => self.refusal = Some(refusal),
                Attempt::Failed => {}
            }
            break;
        }
        self.give_up(busy)
    }

    fn request(&self, body: RequestBody) -> Request<RequestBody> {
        let mut request = Request::new(body);
        *request.method_mut() = self.head.method.clone();
        *request.uri_mut() = self.head.uri.clone();
        *request.version_mut() = Version::HTTP_11;
        *request.headers_mut() = self.head.headers.clone();
        request
    }

    async fn judge(&self, mirror: &Mirror, sent: Result<(Response<Incoming>, Loan), Failure>) -> Attempt {
        let (mut response, loan) = match sent {
            Ok(sent) => sent,
            Err(Failure::NotSent(_, error) | Failure::NoReply(error)) => {
                self.note_failure(mirror, &error);
                return Attempt::Failed;
            }
        };
        let status = response.status();
        let ReplyMarks { position, lapsed, retry } = prepare_reply(status, response.headers_mut());
        if let Some(retry) = retry {
            return kept_refusal(response, loan, retry).await;
        }
        if position < self.tag {
            // A mirror answers at the tag or says that it can't; whatever this is, it is not shown.
            tracing::warn!(
                mirror = mirror.name(),
                ?position,
                tag = ?self.tag,
                "a mirror has answered below the tag"
            );
            return Attempt::Failed;
        }
        self.site.fleet.floor.raise(position);
        let found = Found { response, loan };
        if lapsed {
            mirror.set_health(Health::Lapsed);
            Attempt::Lapsed(found)
        } else {
            mirror.set_health(Health::Serving);
            Attempt::Good(found)
        }
    }

    fn note_failure(&self, mirror: &Mirror, error: &std::io::Error) {
        tracing::debug!(mirror = mirror.name(), %error, "a mirror gave no reply");
        mirror.set_health(Health::Silent);
    }

    fn pass_on(&self, found: Found, busy: BusyToken) -> Reply {
        let stall = self.site.times.idle;
        let (mut head, body) = found.response.into_parts();
        head.version = Version::HTTP_11;
        let body = ReplyBody::relayed(body, found.loan, stall, busy);
        Response::from_parts(head, body)
    }

    fn give_up(self, busy: BusyToken) -> Reply {
        match self.refusal {
            Some(refusal) => refusal.map(|bytes| ReplyBody::whole(bytes, busy)),
            None => {
                tracing::warn!(path = self.head.uri.path(), "no mirror has answered");
                refuse(StatusCode::SERVICE_UNAVAILABLE, NONE_ANSWERS, busy)
            }
        }
    }
}

async fn kept_refusal(response: Response<Incoming>, loan: Loan, retry: Retry) -> Attempt {
    let (head, body) = response.into_parts();
    match Limited::new(body, REFUSAL_BYTES_MAX).collect().await {
        Ok(body) => {
            loan.give_back();
            Attempt::Refused(Response::from_parts(head, body.to_bytes()), retry)
        }
        Err(_) => Attempt::Failed,
    }
}

/// An answer of the balancer's own: the status, with a text that Mercurial's client prints (it
/// prints the reason) and that a person reads (the body).
pub(crate) fn refuse(status: StatusCode, text: impl Into<String>, busy: BusyToken) -> Reply {
    let text = text.into();
    let body = Bytes::from(format!("{text}\n"));
    let mut response = Response::new(ReplyBody::whole(body, busy));
    *response.status_mut() = status;
    if let Ok(reason) = ReasonPhrase::try_from(text.into_bytes()) {
        response.extensions_mut().insert(reason);
    }
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    }
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD, POST"));
    }
    response
}
