//! Web pages of Mercurial repositories.
//!
//! Pages are made from a [`Snapshot`](hg_store::Snapshot), of the changesets that are served, and know neither sockets
//! nor a fleet. Whatever comes from a repository or a client is escaped, cut to a bound, and its control and
//! direction-changing characters are shown as escapes.

mod page;
mod repositories;
mod repository;
mod text;

pub use page::{Page, error};
pub use repositories::{RepositoryLine, repositories, url_path};
pub use repository::repository;
