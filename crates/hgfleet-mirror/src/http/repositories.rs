//! What an HTTP service serves.

use super::BundleCache;
use hg_store::Snapshot;
use hg_store::lfs::LfsOid;
use hg_wire::http::Refusal;
use hyper::body::Incoming;
use std::future::Future;
use std::sync::Arc;

/// Why a repository is not served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotServed {
    /// There is none of that name.
    #[error("no such repository")]
    Unknown,
    /// It can't be served now, or not by this server.
    #[error("{text}")]
    Unavailable {
        /// One line for the client.
        text: String,
        /// Another server, or this one later, may have it: answered with 503, else with 500.
        retry: bool,
    },
}

/// How what is not there, or may not be read, is answered: the same for both, so that nobody learns which it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absent {
    /// With 404.
    NotThere,
    /// With 401: it may be there for somebody who says who they are.
    SignIn,
    /// With 503: nobody can be asked now whether it is there for this reader.
    Unsure,
}

/// Where one repository is reached; for clone commands and for those who try to push over HTTP.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Addresses {
    /// For reading, such as `https://hg.example.org/team/first`; `None`: made from the request's `Host`.
    pub http: Option<String>,
    /// For pushing, such as `ssh://hg.example.org/team/first`.
    pub push: Option<String>,
}

/// A set of repositories. One value may stand for one request, so that it can carry what the request was tagged with.
pub trait Repositories: Send + Sync + 'static {
    /// Returns the names of all repositories, sorted.
    fn names(&self) -> impl Future<Output = Vec<String>> + Send;

    /// Returns whether there is a repository of that name; `""` when the set is one repository at the root. Names come
    /// from URLs: anything may be asked for.
    fn has(&self, name: &str) -> impl Future<Output = bool> + Send;

    /// Returns the repository as this request shall see it.
    fn snapshot(&self, name: &str) -> impl Future<Output = Result<Arc<Snapshot>, NotServed>> + Send;

    /// Returns how a repository is answered that is not there.
    fn absent(&self) -> Absent {
        Absent::NotThere
    }

    /// Returns how the path of a page begins, before the repository's name: nothing, or `/` and words.
    fn prefix(&self) -> &str {
        ""
    }

    /// Returns the scheme of the address at which this is reached.
    fn scheme(&self) -> &str {
        "http"
    }

    /// Returns who asks, where that is known: what `web.allow_read` and `web.deny_read` of a repository name.
    fn user(&self) -> Option<String> {
        None
    }

    /// Returns the value of `Authorization` by which whoever asks has shown who they are: they are told to show it at once where objects are.
    fn credentials(&self) -> Option<String> {
        None
    }

    /// Returns where the repository is reached.
    fn addresses(&self, _name: &str) -> Addresses {
        Addresses::default()
    }

    /// Returns where the bundles are kept that were made for others.
    fn bundle_cache(&self) -> Option<&Arc<BundleCache>> {
        None
    }

    /// Returns whether whoever asks may bring LFS objects to a repository.
    ///
    /// # Errors
    /// What they are told.
    fn may_upload(&self, _name: &str) -> Result<(), Refusal> {
        let text = "refused: LFS objects are not taken, on this server. Push to the master of a fleet".to_owned();
        Err(Refusal { status: 403, text })
    }

    /// Stores an LFS object, of so many bytes, and returns once whoever asks next gets it. Only called where [`Self::may_upload`] says so.
    fn upload(
        &self,
        name: &str,
        _oid: LfsOid,
        _bytes: u64,
        _body: Incoming,
    ) -> impl Future<Output = Result<(), Refusal>> + Send {
        std::future::ready(self.may_upload(name))
    }

    /// Takes notice that something of a repository can't be read as it was written. It may be called while a request is
    /// answered, and after the head of its reply was sent.
    fn suspect(&self, _name: &str) {}

    /// Answers `/healthz`: a line, and whether all is well (else status 503).
    fn health(&self) -> (bool, String) {
        (true, "ok".to_owned())
    }
}
