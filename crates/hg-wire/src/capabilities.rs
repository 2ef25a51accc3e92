//! What this server says that it can do.
