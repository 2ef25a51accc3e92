//! Repositories over HTTP: a hyper service that the mirror and `hgfleet web` share.
