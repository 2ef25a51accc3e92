//! Commands over HTTP: one request in, one answer out. No sockets: the server gives the request's head and body.

mod answer;
mod lfs;
mod parse;
mod response;

pub use answer::{HttpOptions, answer, complete, head_of_bundle, is_quick};
pub use lfs::{LfsQuestion, LfsRequest, answer_lfs, answer_lfs_upload, is_lfs_object_here, parse_lfs};
pub use parse::{Request, parse};
pub use response::{Body, Refusal, Response, StreamBody};
