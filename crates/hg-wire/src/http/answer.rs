//! A command over HTTP is answered.

use super::parse::add_form;
use super::{Body, Refusal, Request, Response};
use crate::CommandError;
use crate::command::CommandName;
use crate::commands::{self, Answer, FileAnswer, Form, StreamAnswer};
use crate::compression::Engine;
use hg_store::{Settings, Snapshot};
use std::io::{self, Read};
use std::sync::Arc;

/// Bytes of a refused push that are read, so that the client gets to the answer instead of to a broken connection.
const DRAINED_BYTES_MAX: u64 = 1 << 30;

const TEXT: &str = "application/mercurial-0.1";
const COMPRESSED: &str = "application/mercurial-0.2";
const ERROR: &str = "application/hg-error";

/// What the server that answers is told to say.
#[derive(Debug, Clone, Default)]
pub struct HttpOptions {
    /// Where pushes go, such as `ssh://hg.example.org/team/first`: named to a client that pushes here.
    pub push_address: Option<String>,
    /// Who asks, where that is known.
    pub user: Option<String>,
}

/// Reads the arguments that came in the body, where there are such. A write's stay: it is refused, whatever they say.
///
/// # Errors
/// The answer to a body that is cut, or whose arguments are none.
pub fn complete(mut request: Request, body: &mut dyn Read) -> Result<Request, Response> {
    if request.command.is_none_or(CommandName::writes) {
        return Ok(request);
    }
    let bytes = std::mem::take(&mut request.posted_argument_bytes);
    let mut form = Vec::new();
    if !body.take(bytes as u64).read_to_end(&mut form).is_ok_and(|read| read == bytes) {
        return Err(Refusal::from(CommandError::Malformed("the body ends within the arguments".to_owned())).into());
    }
    match add_form(&mut request.arguments, &form) {
        Ok(()) => Ok(request),
        Err(error) => Err(Refusal::from(error).into()),
    }
}

/// Returns whether a request is answered at once from what the snapshot keeps, without its body: [`answer`] then takes microseconds
/// and never waits.
pub fn is_quick(request: &Request, snapshot: &Snapshot) -> bool {
    request.posted_argument_bytes == 0
        && request.command.is_some_and(|command| commands::is_quick(command, &request.arguments, snapshot))
}

/// Answers a command whose arguments are complete ([`complete`]). `body` is the request's body; of a refused push it is drained up to a
/// bound.
pub fn answer(request: Request, body: &mut dyn Read, snapshot: &Arc<Snapshot>, options: &HttpOptions) -> Response {
    let engine = request.engine(snapshot.settings());
    let Request { command, arguments, client, is_post, .. } = request;
    let Some(command) = command else {
        return Refusal::from(CommandError::Malformed("no such command".to_owned())).into();
    };
    if let Err(refused) = permit(snapshot.settings(), options.user.as_deref(), command) {
        return refused;
    }
    if command.writes() {
        if !is_post {
            return Refusal { status: 405, text: "push requires POST request".to_owned() }.into();
        }
        return refuse_write(body, options);
    }
    if matches!(command, CommandName::Hello | CommandName::Protocaps) {
        return hg_error("requested wire protocol command is not available over HTTP");
    }
    // Everybody who knows media type 0.2 takes what is not compressed, whether they say so or not.
    let uncompressed = client.has(b"0.2").then_some(Engine::None);
    match commands::answer(command, &arguments, snapshot, &client) {
        Ok(Answer::Text(text)) => ok(TEXT, Body::Bytes(text)),
        Ok(Answer::Stream(stream, Form::Compressed)) => stream_response(snapshot.clone(), engine, stream),
        Ok(Answer::Stream(stream, Form::Uncompressed)) => stream_response(snapshot.clone(), uncompressed, stream),
        Ok(Answer::File(file)) => file_response(snapshot.clone(), uncompressed, file),
        Ok(Answer::Stream(stream, Form::Raw)) => ok(TEXT, Body::Stream(stream)),
        Err(error) => error_response(command, error),
    }
}

/// Refuses who may not read, and whoever pulls where that is not allowed: as stock does, by `web.deny_read`, `allow_read`, `allow-pull`.
///
/// # Errors
/// The answer.
fn permit(settings: &Settings, user: Option<&str>, command: CommandName) -> Result<(), Response> {
    let refused = |text: &str| Response {
        status: 401,
        reason: text.to_owned(),
        headers: Vec::new(),
        body: Body::Bytes(format!("0\n{text}\n").into_bytes()),
    };
    match settings.may_read(user.map(str::as_bytes)) {
        false => Err(refused("read not authorized")),
        true if !command.writes() && !settings.allows_pull() => Err(refused("pull not authorized")),
        true => Ok(()),
    }
}

fn ok(media_type: &'static str, body: Body) -> Response {
    Response {
        status: 200,
        reason: "Script output follows".to_owned(),
        headers: vec![("content-type", media_type.to_owned())],
        body,
    }
}

/// An error of which a client prints the whole text.
fn hg_error(text: &str) -> Response {
    ok(ERROR, Body::Bytes(format!("{text}\n").into_bytes()))
}

/// Returns the head of the answer to a request of which somebody has the body: one that [`Request::bundle_key`] says is the same.
pub fn head_of_bundle(request: &Request, settings: &Settings) -> Response {
    ok(media_type(request.engine(settings)), Body::Bytes(Vec::new()))
}

fn media_type(engine: Option<Engine>) -> &'static str {
    if engine.is_some() { COMPRESSED } else { TEXT }
}

fn file_response(snapshot: Arc<Snapshot>, engine: Option<Engine>, file: FileAnswer) -> Response {
    // Media type 0.1 knows zlib alone.
    if engine.is_none() {
        return stream_response(snapshot, None, Box::new(|output| Ok(file.write(output)?)));
    }
    let name = Engine::None.as_str().as_bytes();
    let head = [&[name.len() as u8], name, &file.head].concat();
    ok(COMPRESSED, Body::File(FileAnswer { head, ..file }))
}

fn stream_response(snapshot: Arc<Snapshot>, engine: Option<Engine>, stream: StreamAnswer) -> Response {
    let body = Body::Stream(Box::new(move |output| {
        if let Some(engine) = engine {
            let name = engine.as_str().as_bytes();
            output.write_all(&[name.len() as u8])?;
            output.write_all(name)?;
        }
        engine.unwrap_or(Engine::Zlib).compress(snapshot.settings(), output, stream)
    }));
    ok(media_type(engine), body)
}

fn error_response(command: CommandName, error: CommandError) -> Response {
    if error.is_ours() {
        tracing::error!(%error, command = command.as_str(), "a command over HTTP can't be answered");
    }
    match error {
        error @ (CommandError::Malformed(_) | CommandError::TooLarge(_)) => Refusal::from(error).into(),
        // Another server of the same repositories may have an answer.
        error if error.is_ours() => Refusal { status: 503, text: error.client_text() }.into(),
        error => hg_error(&error.client_text()),
    }
}

/// Says where pushes go. The body is read only to keep the connection in order; nothing of it is believed or kept.
fn refuse_write(body: &mut dyn Read, options: &HttpOptions) -> Response {
    // Whether the client sends all of it or breaks off, there is nothing more to tell it.
    let _ = io::copy(&mut body.take(DRAINED_BYTES_MAX), &mut io::sink());
    match &options.push_address {
        Some(address) => {
            hg_error(&format!("refused: pushes are not taken over HTTP, on this server. Push to {address}"))
        }
        None => hg_error("refused: pushes are not taken, on this server. Push where the repository is kept"),
    }
}

impl From<Refusal> for Response {
    /// A client prints the reason phrase of such a status, so it holds the text, too.
    fn from(refusal: Refusal) -> Response {
        let printable = refusal.text.chars().map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' });
        Response {
            status: refusal.status,
            reason: printable.take(200).collect(),
            headers: vec![("content-type", ERROR.to_owned())],
            body: Body::Bytes(format!("{}\n", refusal.text).into_bytes()),
        }
    }
}
