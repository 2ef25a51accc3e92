//! A command over HTTP is answered.

use super::{Request, Response};
use hg_store::Snapshot;
use std::io::Read;
use std::sync::Arc;

/// What the server that answers is told to say.
#[derive(Debug, Clone, Default)]
pub struct HttpOptions {
    /// Where pushes go, such as `ssh://hg.example.org/team/first`: named to a client that pushes here.
    pub push_address: Option<String>,
}

/// Answers a command. `body` is the request's body; of a refused push it is drained up to a bound.
pub fn answer(_request: Request, _body: &mut dyn Read, _snapshot: &Arc<Snapshot>, _options: &HttpOptions) -> Response {
    todo!()
}
