//! Where a client is, when another server has accepted its connection.
//!
//! That server says it in front of the client's first byte, by a header of the PROXY protocol (versions 1 and 2,
//! <https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>). A header is believed from servers that are trusted, and
//! required from them: who may choose whether there is one can pretend to be anywhere. From everybody else nothing is read here, so
//! that a header is to them what it is to the protocol behind: garbage.

mod header;
mod trusted;

pub use header::{AddressError, Header, encode, parse, read};
pub use trusted::Trusted;
