//! One header: its bounds, its forms, and how it is read from a stream.

use std::io;
use std::net::{IpAddr, SocketAddr};

use ppp::{v1, v2};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Longest line of version 1, bytes, its end included (specification, 2.1).
const LINE_BYTES_MAX: usize = 107;
/// What every header of version 1 begins with.
const LINE_PREFIX: &[u8] = b"PROXY ";
/// Version 2 before its addresses: signature, command, family, length (2.2).
const FIXED_BYTES: usize = 16;
/// Addresses and fields of version 2, bytes. Addresses take 216 at most; certificates' names and the like come on top.
const VARIABLE_BYTES_MAX: usize = 4096;

/// What a header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    /// Somebody else connects, from there.
    Client(SocketAddr),
    /// The server that sends it connects for itself, or knows of no address: `LOCAL`, `UNKNOWN`.
    Local,
}

/// Why it is not known where a client is.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    /// The stream begins with something else.
    #[error("no PROXY header, which this address has to send")]
    Absent,
    /// It is a header, and a wrong one.
    #[error("bad PROXY header: {0}")]
    Malformed(String),
    /// It is longer than is read.
    #[error("PROXY header of {0} bytes; at most {VARIABLE_BYTES_MAX} are read")]
    TooLong(usize),
    /// No client can be there.
    #[error("PROXY header with the address {0}, where no client can be")]
    Impossible(IpAddr),
    /// It did not come in time.
    #[error("no PROXY header in time")]
    Late,
    /// The stream failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The header of a client's connection, version 1: its address, and the one that it connected to.
///
/// ```
/// let line = client_address::encode("192.0.2.7:4711".parse().unwrap(), "198.51.100.1:22".parse().unwrap());
/// assert_eq!(line, "PROXY TCP4 192.0.2.7 198.51.100.1 4711 22\r\n");
/// ```
pub fn encode(client: SocketAddr, door: SocketAddr) -> String {
    let (client_ip, door_ip) = (client.ip().to_canonical(), door.ip().to_canonical());
    let family = if client_ip.is_ipv4() && door_ip.is_ipv4() { "TCP4" } else { "TCP6" };
    // Both have to be of one family: an IPv4 address among IPv6 ones is written as its mapped form.
    let written = |ip: IpAddr| match ip {
        IpAddr::V4(ip) if family == "TCP6" => IpAddr::V6(ip.to_ipv6_mapped()),
        ip => ip,
    };
    let (client_port, door_port) = (client.port(), door.port());
    format!("PROXY {family} {} {} {client_port} {door_port}\r\n", written(client_ip), written(door_ip))
}

/// Parses one whole header, of either version.
///
/// # Errors
///
/// [`AddressError::Absent`], [`AddressError::TooLong`] or [`AddressError::Malformed`]: a field of version 2 that reaches beyond the
/// header, and bytes that follow the header, are malformed too.
pub fn parse(header: &[u8]) -> Result<Header, AddressError> {
    if header.starts_with(v2::PROTOCOL_PREFIX) {
        return parse_binary(header);
    }
    if !header.starts_with(LINE_PREFIX) {
        return Err(AddressError::Absent);
    }
    let line = header.strip_suffix(b"\r\n").filter(|line| !line.iter().any(u8::is_ascii_control));
    if line.is_none() || header.len() > LINE_BYTES_MAX {
        return Err(AddressError::Malformed("its line has no end, or control characters".into()));
    }
    let parsed = v1::Header::try_from(header).map_err(malformed)?;
    Ok(match parsed.addresses {
        v1::Addresses::Tcp4(of) => client(of.source_address.into(), of.source_port),
        v1::Addresses::Tcp6(of) => client(of.source_address.into(), of.source_port),
        v1::Addresses::Unknown => Header::Local,
    })
}

fn parse_binary(bytes: &[u8]) -> Result<Header, AddressError> {
    if bytes.len() > FIXED_BYTES + VARIABLE_BYTES_MAX {
        return Err(AddressError::TooLong(bytes.len()));
    }
    let header = v2::Header::try_from(bytes).map_err(malformed)?;
    if header.as_bytes().len() != bytes.len() {
        return Err(AddressError::Malformed("bytes follow it".into()));
    }
    for field in header.tlvs() {
        field.map_err(malformed)?;
    }
    if header.command == v2::Command::Local {
        return Ok(Header::Local);
    }
    match (&header.addresses, header.protocol) {
        (v2::Addresses::IPv4(of), v2::Protocol::Stream) => Ok(client(of.source_address.into(), of.source_port)),
        (v2::Addresses::IPv6(of), v2::Protocol::Stream) => Ok(client(of.source_address.into(), of.source_port)),
        (v2::Addresses::Unspecified, _) => Ok(Header::Local),
        _ => Err(AddressError::Malformed("it is about no TCP connection".into())),
    }
}

fn client(ip: IpAddr, port: u16) -> Header {
    Header::Client(SocketAddr::new(ip.to_canonical(), port))
}

fn malformed(error: impl std::fmt::Display) -> AddressError {
    AddressError::Malformed(error.to_string())
}

/// Reads the header from the head of a stream, and not a byte of what follows it. It takes as long as the sender takes: bound it.
///
/// # Errors
///
/// As [`parse`]; the stream's own. What was read until then is lost.
pub async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Header, AddressError> {
    // No header of either version is shorter than version 2's signature.
    let mut header = vec![0; v2::PROTOCOL_PREFIX.len()];
    stream.read_exact(&mut header).await.map_err(ended)?;
    if header == v2::PROTOCOL_PREFIX {
        header.resize(FIXED_BYTES, 0);
        stream.read_exact(&mut header[v2::PROTOCOL_PREFIX.len()..]).await.map_err(ended)?;
        let length = usize::from(u16::from_be_bytes([header[FIXED_BYTES - 2], header[FIXED_BYTES - 1]]));
        if length > VARIABLE_BYTES_MAX {
            return Err(AddressError::TooLong(length));
        }
        header.resize(FIXED_BYTES + length, 0);
        stream.read_exact(&mut header[FIXED_BYTES..]).await.map_err(ended)?;
    } else if header.starts_with(LINE_PREFIX) {
        while header.last() != Some(&b'\n') && header.len() < LINE_BYTES_MAX {
            header.push(stream.read_u8().await.map_err(ended)?);
        }
    }
    parse(&header)
}

fn ended(error: io::Error) -> AddressError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => AddressError::Absent,
        _ => AddressError::Io(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Version 2, of this command and family, with this length and what follows.
    fn binary(command: u8, family: u8, length: u16, rest: &[u8]) -> Vec<u8> {
        [v2::PROTOCOL_PREFIX, &[command, family], &length.to_be_bytes(), rest].concat()
    }

    const FOUR: [u8; 12] = [192, 0, 2, 7, 198, 51, 100, 1, 0x12, 0x67, 0, 22];

    async fn read_all(input: &[u8]) -> Result<(Header, Vec<u8>), AddressError> {
        let mut stream = input;
        let header = read(&mut stream).await?;
        Ok((header, stream.to_vec()))
    }

    fn from(text: &str) -> Header {
        Header::Client(text.parse().expect("an address"))
    }

    #[test]
    fn what_is_encoded_names_client_and_door() {
        let line = |client: &str, door: &str| {
            let line = encode(client.parse().expect("an address"), door.parse().expect("an address"));
            assert!(matches!(parse(line.as_bytes()), Ok(Header::Client(_))), "{line}");
            line
        };
        assert_eq!(line("192.0.2.7:4711", "198.51.100.1:22"), "PROXY TCP4 192.0.2.7 198.51.100.1 4711 22\r\n");
        assert_eq!(line("[2001:db8::7]:4711", "[::1]:22"), "PROXY TCP6 2001:db8::7 ::1 4711 22\r\n");
        assert_eq!(line("[::ffff:192.0.2.7]:1", "[::ffff:127.0.0.1]:22"), "PROXY TCP4 192.0.2.7 127.0.0.1 1 22\r\n");
        assert_eq!(line("192.0.2.7:1", "[::1]:22"), "PROXY TCP6 ::ffff:192.0.2.7 ::1 1 22\r\n");
    }

    #[tokio::test]
    async fn both_versions_are_read_and_nothing_behind_them() {
        let (header, rest) =
            read_all(b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 22\r\nSSH-2.0-x\r\n").await.expect("read");
        assert_eq!((header, rest.as_slice()), (from("192.0.2.7:4711"), &b"SSH-2.0-x\r\n"[..]));
        let (header, rest) = read_all(b"PROXY TCP6 2001:db8::7 ::1 4711 22\r\nx").await.expect("read");
        assert_eq!((header, rest.as_slice()), (from("[2001:db8::7]:4711"), &b"x"[..]));
        let (header, rest) = read_all(&binary(0x21, 0x11, 12, &[&FOUR[..], b"SSH"].concat())).await.expect("read");
        assert_eq!((header, rest.as_slice()), (from("192.0.2.7:4711"), &b"SSH"[..]));
        // A field: 0x04, three bytes of padding.
        let padded = binary(0x21, 0x11, 18, &[&FOUR[..], &[4, 0, 3, 0, 0, 0], b"x"].concat());
        assert_eq!(read_all(&padded).await.expect("read"), (from("192.0.2.7:4711"), b"x".to_vec()));
    }

    #[tokio::test]
    async fn who_connects_for_itself_has_no_other_address() {
        for input in [
            b"PROXY UNKNOWN\r\n".to_vec(),
            b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(),
            binary(0x20, 0, 0, b""),
            binary(0x20, 0x11, 12, &FOUR),
            binary(0x21, 0, 0, b""),
        ] {
            assert_eq!(read_all(&input).await.expect("read"), (Header::Local, Vec::new()), "{input:?}");
        }
    }

    #[tokio::test]
    async fn what_is_wrong_is_refused() {
        let long = [b"PROXY UNKNOWN ".to_vec(), vec![b'x'; 200], b"\r\n".to_vec()].concat();
        for input in [
            b"PROXY TCP4 ::1 ::1 1 2\r\n".to_vec(),
            b"PROXY TCP4 1.2.3.4 1.2.3.4 99999 2\r\n".to_vec(),
            b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n".to_vec(),
            b"PROXY TCP4 1.2.3.4\r1.2.3.4 1 2\r\n".to_vec(),
            b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n".to_vec(),
            b"PROXY UNIX /a /b 1 2\r\n".to_vec(),
            long,
            binary(0x21, 0x11, 11, &FOUR),
            binary(0x31, 0x11, 12, &FOUR),
            binary(0x22, 0x11, 12, &FOUR),
            binary(0x21, 0x12, 12, &FOUR),
            binary(0x21, 0x31, 216, &[0; 216]),
            // A field whose length is beyond the header, and one that is cut within its own head.
            binary(0x21, 0x11, 16, &[&FOUR[..], &[4, 0xff, 0xff, 0]].concat()),
            binary(0x21, 0x11, 14, &[&FOUR[..], &[4, 0]].concat()),
        ] {
            let refused = read_all(&input).await.expect_err("refused");
            assert!(matches!(refused, AddressError::Malformed(_)), "{input:?}: {refused}");
        }
        let refused = read_all(&binary(0x21, 0x11, 65_535, &[0; 70_000])).await.expect_err("refused");
        assert!(matches!(refused, AddressError::TooLong(65_535)), "{refused}");
        for input in [&b"SSH-2.0-OpenSSH_9.2\r\n"[..], b"GET / HTTP/1.1\r\n", b"PROXY", b"", b"proxy tcp4 1.2.3.4 "] {
            assert!(matches!(read_all(input).await.expect_err("refused"), AddressError::Absent), "{input:?}");
        }
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_read_back(ip: [u8; 16], v4: bool, port: u16, rest: Vec<u8>) {
            let ip = if v4 { IpAddr::from([ip[0], ip[1], ip[2], ip[3]]) } else { IpAddr::from(ip).to_canonical() };
            let client = SocketAddr::new(ip, port);
            let input = [encode(client, SocketAddr::from(([127, 0, 0, 1], 22))).as_bytes(), &rest].concat();
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            let (header, left) = runtime.block_on(read_all(&input)).expect("read");
            prop_assert_eq!((header, left), (Header::Client(client), rest));
        }

        #[test]
        fn any_bytes_are_a_header_or_an_error(version: bool, bytes: Vec<u8>) {
            let prefix = if version { v2::PROTOCOL_PREFIX } else { LINE_PREFIX };
            let input = [prefix, &bytes].concat();
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            if let Ok((_, rest)) = runtime.block_on(read_all(&input)) {
                prop_assert!(parse(&input[..input.len() - rest.len()]).is_ok());
            }
        }
    }
}
