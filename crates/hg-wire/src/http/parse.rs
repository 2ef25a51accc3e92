//! A request's head becomes a command with its arguments.
//!
//! Arguments are one form-encoded string, which comes in the query, in headers `X-HgArg-1`, `X-HgArg-2`..., which are
//! joined before they are decoded, or as the first `X-HgArgs-Post` bytes of the body.

use super::Refusal;
use crate::CommandError;
use crate::arguments::Arguments;
use crate::capabilities::Transport;
use crate::client::Client;
use crate::command::CommandName;
use crate::compression::Engine;
use crate::error::shown;
use crate::limits;
use crate::quoting::unquote;
use hg_store::Settings;
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use smallvec::{SmallVec, smallvec};
use std::borrow::Cow;

/// All `X-HgProto-N` together, in bytes; a longer one counts as absent.
const PROTOCOL_BYTES_MAX: usize = 16 * 1024;

/// A command as it came over HTTP.
#[derive(Debug)]
pub struct Request {
    /// The command; `None` for a name that is not served.
    pub command: Option<CommandName>,
    /// Arguments from the query and from headers.
    pub arguments: Arguments,
    /// Bytes at the beginning of the body that are arguments (`X-HgArgs-Post`).
    pub posted_argument_bytes: usize,
    /// Who asks.
    pub client: Client,
    /// Whether the method is `POST`.
    pub is_post: bool,
    /// Whether hidden changesets are asked for, which not everybody [gets](crate::hidden_access::seen_by).
    pub wants_hidden: bool,
}

impl Request {
    /// Returns a key that two requests share only if they have the same bytes as their answer, from one snapshot; `None` for what is
    /// no bundle. The arguments of the body must have been read.
    pub fn bundle_key(&self, settings: &Settings) -> Option<Vec<u8>> {
        if self.command != Some(CommandName::Getbundle) || self.posted_argument_bytes > 0 {
            return None;
        }
        let engine = self.engine(settings);
        if engine.is_none() && self.client.has(b"0.2") {
            // Two media types are possible then, by what is in the bundle.
            return None;
        }
        let mut pairs: Vec<(&[u8], &[u8])> = self.arguments.iter().collect();
        pairs.sort_unstable();
        let mut key = engine.map_or("", Engine::as_str).as_bytes().to_vec();
        // One who takes a part may get a file that another does not.
        key.push(self.client.takes_partial_pulls().into());
        for text in pairs.into_iter().flat_map(|(name, value)| [name, value]) {
            key.extend_from_slice(&(text.len() as u64).to_be_bytes());
            key.extend_from_slice(text);
        }
        Some(key)
    }

    /// Returns how a stream is sent: compressed in media type 0.2, by the first of the server's engines that the client takes; `None` is
    /// media type 0.1. Whatever is wrong with what a client says, it can read that.
    pub fn engine(&self, settings: &Settings) -> Option<Engine> {
        if !self.client.has(b"0.2") {
            return None;
        }
        Engine::served(settings).into_iter().find(|engine| self.client.takes(engine.as_str()))
    }
}

impl From<CommandError> for Refusal {
    fn from(error: CommandError) -> Refusal {
        let status = if matches!(error, CommandError::TooLarge(_)) { 413 } else { 400 };
        Refusal { status, text: error.client_text() }
    }
}

fn malformed(text: String) -> Refusal {
    CommandError::Malformed(text).into()
}

/// Reads a request's head. `None`: it names no command (`?cmd=`), so it asks for a page.
pub fn parse(head: &http::request::Parts) -> Result<Option<Request>, Refusal> {
    let mut command = None;
    let mut wants_hidden = false;
    let mut arguments = Arguments::default();
    let query = head.uri.query().unwrap_or_default().as_bytes();
    // A page's query may be anything: it is looked at only when there is a command in it.
    if !form_urlencoded::parse(query).any(|(name, _)| name == "cmd") {
        return Ok(None);
    }
    for (name, value) in form_pairs(query) {
        if *name == *b"cmd" {
            if command.replace(value).is_some() {
                return Err(malformed("more than one command".to_owned()));
            }
        } else if *name == *b"access-hidden" {
            wants_hidden |= !value.is_empty();
        } else {
            arguments.add(name, value)?;
        }
    }
    let name = command.unwrap_or_default();
    if name.contains(&0) {
        return Err(malformed(format!("not a command: '{}'", shown(&name))));
    }
    let posted_argument_bytes = posted_argument_bytes(head)?;
    if posted_argument_bytes == 0 {
        let joined = numbered_headers(&head.headers, "x-hgarg-", limits::ARGUMENTS_BYTES_MAX)?;
        add_form(&mut arguments, &joined)?;
    }
    Ok(Some(Request {
        command: CommandName::parse(&name),
        arguments,
        posted_argument_bytes,
        client: client(&head.headers),
        is_post: head.method == http::Method::POST,
        wants_hidden,
    }))
}

/// Adds the arguments of a form-encoded string.
pub(super) fn add_form(arguments: &mut Arguments, form: &[u8]) -> Result<(), CommandError> {
    for (name, value) in form_pairs(form) {
        if *name != *b"cmd" {
            arguments.add(name, value)?;
        }
    }
    Ok(())
}

/// Splits and decodes a form; unlike a text's, its bytes need not be UTF-8.
fn form_pairs(form: &[u8]) -> impl Iterator<Item = (Cow<'_, [u8]>, Cow<'_, [u8]>)> {
    form.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()).map(|pair| {
        let mut halves = pair.splitn(2, |byte| *byte == b'=');
        (decode(halves.next().unwrap_or_default()), decode(halves.next().unwrap_or_default()))
    })
}

/// A blank for each plus, and each byte that stands as two hexadecimal digits.
fn decode(encoded: &[u8]) -> Cow<'_, [u8]> {
    if !encoded.contains(&b'+') {
        return percent_encoding::percent_decode(encoded).into();
    }
    let spaced: Vec<u8> = encoded.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
    unquote(&spaced).into()
}

/// Joins headers with names `prefix1`, `prefix2`... Each may be there once, and none may be left out.
fn numbered_headers<'h>(headers: &'h HeaderMap, prefix: &str, bytes_max: usize) -> Result<Cow<'h, [u8]>, Refusal> {
    let numbered =
        || headers.iter().filter_map(|(name, value)| Some((name.as_str().strip_prefix(prefix)?, value.as_bytes())));
    let count = numbered().count();
    let mut values: SmallVec<[Option<&[u8]>; 8]> = smallvec![None; count];
    for (number, value) in numbered() {
        let slot = decimal(number.as_bytes())
            .filter(|_| !number.starts_with('0'))
            .and_then(|number| values.get_mut(number - 1));
        if slot.is_none_or(|slot| slot.replace(value).is_some()) {
            return Err(malformed(format!("headers {prefix}1 to {prefix}{count} are not each there once")));
        }
    }
    if values.iter().flatten().map(|value| value.len()).sum::<usize>() > bytes_max {
        return Err(CommandError::TooLarge(format!("more than {bytes_max} bytes in headers {prefix}N")).into());
    }
    Ok(match &values[..] {
        [] => Cow::Borrowed(&[]),
        [Some(only)] => Cow::Borrowed(only),
        several => Cow::Owned(several.iter().flatten().copied().collect::<Vec<_>>().concat()),
    })
}

/// Reads `X-HgArgs-Post`. Zero: there is none.
fn posted_argument_bytes(head: &http::request::Parts) -> Result<usize, Refusal> {
    let mut values = head.headers.get_all("x-hgargs-post").iter();
    let value = match (values.next(), values.next()) {
        (None, _) => return Ok(0),
        (Some(value), None) => value.as_bytes(),
        (Some(_), Some(_)) => return Err(malformed("X-HgArgs-Post is given twice".to_owned())),
    };
    let bytes = decimal(value).ok_or_else(|| malformed(format!("X-HgArgs-Post is no number: '{}'", shown(value))))?;
    if bytes > limits::ARGUMENTS_BYTES_MAX {
        return Err(CommandError::TooLarge(format!("arguments of {bytes} bytes")).into());
    }
    let content = head.headers.get(CONTENT_LENGTH).and_then(|length| decimal(length.as_bytes()));
    if content.is_some_and(|content| content < bytes) {
        return Err(malformed("X-HgArgs-Post is more than Content-Length".to_owned()));
    }
    if head.method != http::Method::POST && bytes > 0 {
        return Err(malformed("X-HgArgs-Post without POST".to_owned()));
    }
    Ok(bytes)
}

/// Parses digits only; no sign, no blank, at most 18 of them.
fn decimal(digits: &[u8]) -> Option<usize> {
    if digits.is_empty() || digits.len() > 18 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// What the client says in `X-HgProto-N`; nothing where that can't be read.
fn client(headers: &HeaderMap) -> Client {
    let mut client = Client::new(Transport::Http);
    if let Ok(said) = numbered_headers(headers, "x-hgproto-", PROTOCOL_BYTES_MAX) {
        client.says(&said);
    }
    client
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(target: &str, headers: &[(&str, &str)]) -> http::request::Parts {
        let method = if headers.iter().any(|(name, _)| *name == "content-length") { "POST" } else { "GET" };
        let mut request = http::Request::builder().method(method).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).expect("a request").into_parts().0
    }

    fn status(target: &str, headers: &[(&str, &str)]) -> u16 {
        parse(&head(target, headers)).expect_err("refused").status
    }

    #[test]
    fn header_arguments_are_joined_before_they_are_decoded() {
        let head = head("/?cmd=batch", &[("X-HgArg-2", "3Bknown+nodes%3D"), ("X-HgArg-1", "cmds=heads+%")]);
        let request = parse(&head).expect("good").expect("a command");
        assert_eq!(request.command, Some(CommandName::Batch));
        assert_eq!(request.arguments.get(b"cmds"), Some(b"heads ;known nodes=".as_slice()));
        assert_eq!(request.engine(&Settings::default()), None);
    }

    #[test]
    fn forms_are_decoded_as_forms_are() {
        for (encoded, plain) in [
            ("heads", "heads"),
            ("a+b%20c%3d%3D", "a b c=="),
            ("%", "%"),
            ("%4", "%4"),
            ("100%+x%zz%+1%2", "100% x%zz% 1%2"),
            ("%+41%%41", "% 41%A"),
            ("", ""),
        ] {
            assert_eq!(*decode(encoded.as_bytes()), *plain.as_bytes(), "{encoded}");
        }
        assert_eq!(*decode(b"%ff%00\xfe+"), *b"\xff\0\xfe ");
    }

    #[test]
    fn pages_have_no_command() {
        assert!(parse(&head("/team/first?rev=1&rev=2&x=%00", &[])).expect("a page").is_none());
        assert!(parse(&head("/?cmd=nope", &[])).expect("good").expect("a command").command.is_none());
    }

    #[test]
    fn gaps_and_doubles_in_headers_are_refused() {
        for headers in [
            [("X-HgArg-1", "key=a"), ("X-HgArg-3", "b")],
            [("X-HgArg-0", "key=a"), ("X-HgArg-1", "b")],
            [("X-HgArg-01", "key=a"), ("X-HgArg-1", "b")],
            [("X-HgArg-1", "key=a"), ("X-HgArg-1", "b")],
        ] {
            assert_eq!(status("/?cmd=lookup", &headers), 400);
        }
        assert_eq!(status("/?cmd=lookup&cmd=heads", &[]), 400);
        assert_eq!(status("/?cmd=he%00ads", &[]), 400);
        assert_eq!(status("/?cmd=lookup&key=a&key=b", &[]), 400);
    }

    #[test]
    fn wrong_lengths_of_posted_arguments_are_refused() {
        for (value, expected) in
            [("abc", 400), ("-1", 400), ("", 400), ("6", 400), ("99999999999999999999", 400), ("99999999", 413)]
        {
            assert_eq!(
                status("/?cmd=lookup", &[("X-HgArgs-Post", value), ("content-length", "5")]),
                expected,
                "{value}"
            );
        }
        assert_eq!(status("/?cmd=lookup", &[("X-HgArgs-Post", "5")]), 400);
    }

    #[test]
    fn engine_is_the_first_of_ours_that_the_client_knows() {
        let engine_of = |said: &str| {
            let head = head("/?cmd=heads", &[("X-HgProto-1", said)]);
            parse(&head).expect("good").expect("a command").engine(&Settings::default())
        };
        assert_eq!(engine_of("0.1 0.2 comp=zstd,zlib,none,bzip2 partial-pull"), Some(Engine::Zstd));
        assert_eq!(engine_of("0.1 0.2 comp=none,zlib"), Some(Engine::Zlib));
        // Not one of stock's engines, unless it is asked to.
        assert_eq!(engine_of("0.1 0.2 comp=none"), None);
        assert_eq!(engine_of("0.1 0.2"), Some(Engine::Zlib));
        assert_eq!(engine_of("0.1 comp=zstd"), None);
        assert_eq!(engine_of("0.2 comp=evil"), None);
        assert_eq!(engine_of("0.3 0.9 comp=zstd,zstd,evil"), None);
    }
}
