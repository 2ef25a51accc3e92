//! A front door over mirrors that do as they are told.

use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use hgfleet_balancer::authority::{self, AuthorityFiles};
use hgfleet_balancer::{BalancerOptions, BalancerTimes};
use hgfleet_log::{Draft, EmbeddedLog, Epoch, Log, LogLocation, Payload, RecordId};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tokio::net::UnixListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub type Body = BoxBody<Bytes, Infallible>;
pub type Answer = Arc<dyn Fn(Asked) -> Response<Body> + Send + Sync>;

/// A request as a mirror got it.
#[derive(Debug, Clone)]
pub struct Asked {
    pub target: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Asked {
    /// The tag, 0 where there is none.
    pub fn tag(&self) -> u64 {
        let tag = self.headers.get("x-hgfleet-position");
        tag.map_or(0, |tag| tag.to_str().expect("text").parse().expect("a number"))
    }
}

/// A mirror that does as it is told.
pub struct Mirror {
    pub asked: Arc<AtomicUsize>,
    pub last: Arc<Mutex<Option<Asked>>>,
    task: JoinHandle<()>,
}

impl Mirror {
    /// Starts a mirror at `run/NAME.sock`. `/healthz` is not counted.
    pub fn start(run: &Path, name: &str, answer: Answer) -> Self {
        let path = run.join(format!("{name}.sock"));
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(path).expect("bound");
        let (asked, last) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(None)));
        let (count, keep) = (asked.clone(), last.clone());
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.expect("accepted");
                let (answer, count, keep) = (answer.clone(), count.clone(), keep.clone());
                let service = service_fn(move |request: Request<Incoming>| {
                    let (answer, count, keep) = (answer.clone(), count.clone(), keep.clone());
                    async move {
                        let (head, body) = request.into_parts();
                        let body = body.collect().await.map_err(|e| e.to_string())?;
                        let asked =
                            Asked { target: head.uri.to_string(), headers: head.headers, body: body.to_bytes() };
                        if asked.target != "/healthz" {
                            count.fetch_add(1, Ordering::SeqCst);
                            *keep.lock().expect("lock") = Some(asked.clone());
                        }
                        Ok::<_, String>(answer(asked))
                    }
                });
                connections.spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { asked, last, task }
    }

    /// Kills it: listener and connections are gone.
    pub async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }

    pub fn count(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

pub fn full(text: impl Into<Bytes>) -> Body {
    Full::new(text.into()).boxed()
}

/// A mirror at one position, as a real one answers: the tag or above, or not at all.
pub fn at(position: Arc<AtomicU64>, text: &'static str) -> Answer {
    Arc::new(move |asked| {
        let position = position.load(Ordering::SeqCst);
        if asked.tag() > position {
            return Response::builder()
                .status(StatusCode::SERVICE_UNAVAILABLE)
                .header("x-hgfleet-retry", "behind")
                .body(full("behind\n"))
                .expect("a response");
        }
        Response::builder().header("x-hgfleet-position", position).body(full(text)).expect("a response")
    })
}

/// A running balancer.
pub struct Front {
    pub folder: tempfile::TempDir,
    pub https: SocketAddr,
    pub http: SocketAddr,
    pub ssh: SocketAddr,
    config: Arc<ClientConfig>,
    stop: Option<oneshot::Sender<()>>,
    task: Option<JoinHandle<()>>,
}

impl Front {
    /// Starts a balancer; mirrors are whoever has a socket in its `run/`.
    pub async fn start(folder: tempfile::TempDir, times: BalancerTimes) -> Self {
        Self::start_behind(folder, times, &[]).await
    }

    /// Starts one that believes these networks where clients are.
    pub async fn start_behind(folder: tempfile::TempDir, times: BalancerTimes, trusted: &[&str]) -> Self {
        let files = AuthorityFiles::below(folder.path());
        std::fs::create_dir_all(folder.path().join("keys")).expect("keys");
        authority::ensure(&files, &[]).expect("certificates");
        let mut roots = RootCertStore::empty();
        let authority = CertificateDer::from_pem_file(&files.certificate).expect("a certificate");
        roots.add(authority).expect("a root");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let listener = || TcpListener::bind("127.0.0.1:0").expect("bound");
        let (https, http, ssh) = (listener(), listener(), listener());
        let address = |listener: &TcpListener| listener.local_addr().expect("an address");
        let (https_at, http_at, ssh_at) = (address(&https), address(&http), address(&ssh));
        let options = BalancerOptions {
            name: "balancer".into(),
            log: LogLocation::Embedded(folder.path().join("log")),
            run: run_of(&folder),
            http: Some(http),
            https: Some(https),
            ssh: Some(ssh),
            identity: Some(files.server),
            host: "localhost".into(),
            hosts: vec!["127.0.0.1".into(), "::1".into()],
            https_port: https_at.port(),
            masters: Vec::new(),
            mirrors: Vec::new(),
            trusted_proxy: None,
            trusted: trusted.iter().map(|network| network.parse().expect("a network")).collect(),
            times,
        };
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            let shutdown = async {
                let _ = stopped.await;
            };
            hgfleet_balancer::run(options, shutdown).await.expect("ran");
        });
        let front = Self {
            folder,
            https: https_at,
            http: http_at,
            ssh: ssh_at,
            config: Arc::new(config),
            stop: Some(stop),
            task: Some(task),
        };
        front.wait_until_it_serves().await;
        front
    }

    /// Waits until it has heard of every mirror that is well; one that isn't is waited for in vain, for a while.
    async fn wait_until_it_serves(&self) {
        let mut found = false;
        for _ in 0..100 {
            let answer = self.get("/healthz").await;
            let count = |word: &str| {
                let line = answer.lines().find_map(|line| line.strip_prefix(word));
                line.and_then(|count| count.trim().parse::<usize>().ok()).unwrap_or_default()
            };
            found = count("mirrors ") > 0;
            if found && count("serving ") + count("lapsed ") == count("mirrors ") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(found, "the balancer finds no mirror");
    }

    /// Sends bytes over TLS and gives all that comes back until the end.
    pub async fn send(&self, bytes: impl Into<Vec<u8>>) -> String {
        let (address, config, bytes) = (self.https, self.config.clone(), bytes.into());
        tokio::task::spawn_blocking(move || {
            let mut stream = connect(address, config);
            let _ = stream.write_all(&bytes);
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            String::from_utf8_lossy(&answer).into_owned()
        })
        .await
        .expect("sent")
    }

    /// A TLS connection to the front door.
    pub fn connect(&self) -> StreamOwned<ClientConnection, TcpStream> {
        connect(self.https, self.config.clone())
    }

    pub async fn get(&self, target: &str) -> String {
        let text = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        self.send(text).await
    }

    /// Stops the balancer and waits for its end.
    pub async fn stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(task) = self.task.take() {
            task.await.expect("ended");
        }
    }
}

fn connect(address: SocketAddr, config: Arc<ClientConfig>) -> StreamOwned<ClientConnection, TcpStream> {
    let name = ServerName::try_from("localhost").expect("a name");
    let stream = TcpStream::connect(address).expect("connected");
    let limit = Some(Duration::from_secs(20));
    stream.set_read_timeout(limit).expect("a limit");
    StreamOwned::new(ClientConnection::new(config, name).expect("TLS"), stream)
}

pub fn run_of(folder: &tempfile::TempDir) -> std::path::PathBuf {
    folder.path().join("run")
}

pub fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(run_of(&folder)).expect("run");
    folder
}

/// The status of an answer, and its body.
pub fn status(answer: &str) -> u16 {
    let word = answer.split(' ').nth(1).unwrap_or("0");
    word.parse().unwrap_or(0)
}

/// Makes a log in which this server is master.
pub async fn hold_lease(folder: &Path, name: &str) {
    let log = EmbeddedLog::open_master(&folder.join("log")).expect("a log");
    let body = hgfleet_log::Body::Epoch { holder: name.to_owned() };
    let draft = Draft::following(None, Epoch::FIRST, RecordId::random().expect("an id"), 0, body);
    log.append(draft, Payload::Empty).await.expect("appended");
    log.renew_lease(name, Some(Epoch::FIRST), None).await.expect("renewed");
}
