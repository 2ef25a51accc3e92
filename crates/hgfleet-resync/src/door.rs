//! The inner door: what other servers copy from this one, and what an operator wants of it.

use std::convert::Infallible;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hg_store::change::{check_path, is_excluded};
use hgfleet_log::RepositoryName;
use hgfleet_replica::{Replica, ReplicaError};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::UnixListener;
use tokio::task::JoinSet;

use crate::body::Answer;
use crate::repair::Resync;
use crate::wire::{
    FILES_MAX, FilesQuestion, GONE, ListAnswer, QUESTION_BYTES_MAX, RepositoryAnswer, ServerAnswer, VERSION,
};

/// Connections at a time; further ones wait.
const CONNECTIONS_MAX: usize = 64;
/// How long a request's head may take.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// Bytes that are read at once.
const PIECE_BYTES: usize = 256 << 10;

/// Why a request is not answered.
type Refusal = (StatusCode, String);

/// Serves the door, for ever.
pub(crate) async fn serve(listener: UnixListener, resync: Arc<Resync>) {
    // They end with this future.
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection can't be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let resync = resync.clone();
        connections.spawn(async move {
            let handler = service_fn(|request| {
                let resync = resync.clone();
                async move { Ok::<_, Infallible>(answer(resync, request).await) }
            });
            let mut server = http1::Builder::new();
            server.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME);
            if let Err(error) = server.serve_connection(TokioIo::new(stream), handler).await {
                tracing::debug!(%error, "a connection broke off");
            }
        });
    }
}

async fn answer(resync: Arc<Resync>, request: Request<Incoming>) -> Response<Answer> {
    let (status, body) = match route(resync, request).await {
        Ok(body) => (StatusCode::OK, body),
        Err((status, text)) => (status, Answer::Whole(text.into())),
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

async fn route(resync: Arc<Resync>, request: Request<Incoming>) -> Result<Answer, Refusal> {
    let (head, body) = request.into_parts();
    let unknown = || (StatusCode::NOT_FOUND, "there is no such thing to ask for".to_owned());
    let path = head.uri.path().strip_prefix(VERSION).ok_or_else(unknown)?;
    let (what, name) = path.split_once('/').unwrap_or((path, ""));
    if what == "server" && head.method == Method::GET {
        return blocking(move || encoded(&server(&resync))).await.map(Answer::Whole);
    }
    let name = RepositoryName::parse(name).map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))?;
    let replica = resync.host().replica().clone();
    match (head.method, what) {
        (Method::GET, "list") => blocking(move || {
            let listing = replica.listing(&name).map_err(|error| refusal(&resync, &error))?;
            encoded(&ListAnswer::from(listing))
        })
        .await
        .map(Answer::Whole),
        (Method::POST, "files") => {
            let question = Limited::new(body, QUESTION_BYTES_MAX).collect().await;
            let question = question.map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))?.to_bytes();
            let question = parse(&question)?;
            Ok(Answer::stream(move |output| write_files(&replica, &name, &question, output)))
        }
        (Method::POST, "resync") => {
            if replica.position_of(&name).is_none() {
                return Err((StatusCode::NOT_FOUND, format!("there is no repository {name}")));
            }
            resync.request(&name);
            Ok(Answer::Whole(Bytes::new()))
        }
        (Method::POST, "suspect") => {
            resync.suspect(&name);
            Ok(Answer::Whole(Bytes::new()))
        }
        _ => Err(unknown()),
    }
}

fn server(resync: &Resync) -> ServerAnswer {
    let host = resync.host();
    let replica = host.replica();
    // The position first: what is applied meanwhile makes the repositories newer than it says, never older.
    let position = replica.position();
    let repositories = replica.repositories().into_iter().map(|one| RepositoryAnswer {
        progress: resync.progress(&one.name),
        name: one.name,
        created: one.created,
        sequence: one.sequence,
        quarantine: one.quarantine,
    });
    ServerAnswer {
        name: host.name().to_owned(),
        is_mirror: host.is_mirror(),
        log: replica.log(),
        position,
        repositories: repositories.collect(),
    }
}

fn parse(question: &[u8]) -> Result<FilesQuestion, Refusal> {
    let bad = |text: String| (StatusCode::BAD_REQUEST, text);
    let question: FilesQuestion = postcard::from_bytes(question).map_err(|error| bad(error.to_string()))?;
    if question.files.len() > FILES_MAX {
        return Err(bad(format!("more than {FILES_MAX} files")));
    }
    for file in &question.files {
        check_path(&file.path).map_err(|error| bad(error.to_string()))?;
        if is_excluded(&file.path) {
            return Err(bad(format!("{} is not part of a store", file.path.escape_ascii())));
        }
    }
    Ok(question)
}

/// Writes for each file its length and its bytes, of those that were asked for as many as there are.
fn write_files(
    replica: &Replica,
    name: &RepositoryName,
    question: &FilesQuestion,
    output: &mut dyn Write,
) -> io::Result<()> {
    let mut piece = vec![0; PIECE_BYTES];
    for wanted in &question.files {
        let file = replica.listed_file(name, question.created, &wanted.path).map_err(io::Error::other)?;
        let Some(mut file) = file else {
            output.write_all(&GONE.to_be_bytes())?;
            continue;
        };
        let mut left = file.metadata()?.len().saturating_sub(wanted.offset).min(wanted.bytes);
        output.write_all(&left.to_be_bytes())?;
        file.seek(SeekFrom::Start(wanted.offset))?;
        while left > 0 {
            let most = piece.len().min(left.min(PIECE_BYTES as u64) as usize);
            match file.read(&mut piece[..most])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => {
                    output.write_all(&piece[..read])?;
                    left -= read as u64;
                }
            }
        }
    }
    Ok(())
}

fn refusal(resync: &Resync, error: &ReplicaError) -> Refusal {
    match error {
        ReplicaError::NotFound(_) => (StatusCode::NOT_FOUND, error.to_string()),
        ReplicaError::Quarantined { .. } => {
            // What the listing has found is to be repaired.
            resync.wake();
            (StatusCode::SERVICE_UNAVAILABLE, error.to_string())
        }
        _ => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

fn encoded<T: serde::Serialize>(answer: &T) -> Result<Bytes, Refusal> {
    let encoded = postcard::to_stdvec(answer);
    encoded.map(Bytes::from).map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Refusal> + Send + 'static) -> Result<T, Refusal> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err((StatusCode::INTERNAL_SERVER_ERROR, error.to_string())))
}
