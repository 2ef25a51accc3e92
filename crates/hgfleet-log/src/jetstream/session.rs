//! One connection to one server, which is never taken up again once it is lost.
//!
//! The client library would connect again by itself and then send what was handed to it meanwhile: an append that its caller has
//! long taken for unsettled. So each connection lives on a thread of its own, and with the thread ends all
//! that waits to be sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event, ServerAddr};
use futures_util::StreamExt;
use tokio::sync::{oneshot, watch};

use super::Options;
use crate::ids::Sequence;

/// How long one server may take to answer a connection.
const CONNECT_TIME: Duration = Duration::from_secs(3);
/// Largest credentials or key file that is read, in bytes.
const SECRET_BYTES_MAX: u64 = 64 << 10;
/// Smallest message that a server must take, in bytes.
const PAYLOAD_BYTES_MIN: usize = 64 << 10;

/// A connection. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Session {
    pub client: Client,
    /// The largest message that the server takes, in bytes.
    pub payload_bytes_max: usize,
    /// The server's name and version, for messages.
    pub server: String,
    /// Turns true when it is lost.
    lost: watch::Receiver<bool>,
    retired: AtomicBool,
    /// Its thread ends when this is dropped.
    _stop: oneshot::Sender<()>,
}

/// What the thread hands over once it is connected.
struct Connected {
    client: Client,
    lost: watch::Receiver<bool>,
}

impl Session {
    /// Connects to one server. Numbers that come on `hints_subject` raise `hints`.
    pub(super) async fn dial(
        options: &Options,
        server: &str,
        hints_subject: String,
        hints: watch::Sender<Option<Sequence>>,
    ) -> Result<Session, String> {
        let address: ServerAddr = server.parse().map_err(|error: std::io::Error| error.to_string())?;
        let connecting = connect_options(options, &address).await?;
        let (answer, answered) = oneshot::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let run = move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(answer.send(Err(error.to_string()))),
            };
            runtime.block_on(async move {
                match connect(connecting, address, hints_subject, hints).await {
                    Err(why) => drop(answer.send(Err(why))),
                    Ok(connected) => {
                        if answer.send(Ok(connected)).is_ok() {
                            // An error: the session was dropped, which is what is waited for.
                            let _ = stopped.await;
                        }
                    }
                }
            });
            runtime.shutdown_background();
        };
        std::thread::Builder::new().name("log-nats".to_owned()).spawn(run).map_err(|error| error.to_string())?;
        let connected = answered.await.map_err(|_| "its thread has ended".to_owned())??;
        let info = connected.client.server_info();
        if info.max_payload < PAYLOAD_BYTES_MIN {
            return Err(format!(
                "it takes messages of {} bytes only; set max_payload to 1MB or more",
                info.max_payload
            ));
        }
        if !info.headers {
            return Err("it doesn't know headers; use a newer one".to_owned());
        }
        Ok(Session {
            payload_bytes_max: info.max_payload,
            server: format!("{} ({})", info.server_name, info.version),
            client: connected.client,
            lost: connected.lost,
            retired: AtomicBool::new(false),
            _stop: stop,
        })
    }

    /// Whether something may still be asked here.
    pub(super) fn is_usable(&self) -> bool {
        !self.retired.load(Ordering::Acquire) && !*self.lost.borrow()
    }

    /// Nothing more is asked here: its server didn't answer.
    pub(super) fn retire(&self) {
        self.retired.store(true, Ordering::Release);
    }

    /// Completes when the connection is lost.
    pub(super) async fn lost(&self) {
        let mut lost = self.lost.clone();
        // An error: its thread has ended.
        let _ = lost.wait_for(|lost| *lost).await;
    }
}

async fn connect_options(options: &Options, address: &ServerAddr) -> Result<ConnectOptions, String> {
    let mut connecting =
        ConnectOptions::new().name("hgfleet").connection_timeout(CONNECT_TIME).ignore_discovered_servers();
    if let (Some(user), Some(password)) = (address.username(), address.password()) {
        connecting = connecting.user_and_password(user.to_owned(), password.to_owned());
    }
    if let Some(path) = &options.credentials {
        connecting = connecting
            .credentials(&secret(path).await?)
            .map_err(|error| format!("credentials in {}: {error}", path.display()))?;
    }
    if let Some(path) = &options.nkey {
        connecting = connecting.nkey(secret(path).await?.trim().to_owned());
    }
    if let Some(tls) = &options.tls {
        connecting = connecting.require_tls(true);
        if let Some(ca) = &tls.ca {
            connecting = connecting.add_root_certificates(ca.clone());
        }
        if let (Some(certificate), Some(key)) = (&tls.certificate, &tls.key) {
            connecting = connecting.add_client_certificate(certificate.clone(), key.clone());
        }
    }
    Ok(connecting)
}

async fn secret(path: &std::path::Path) -> Result<String, String> {
    let failed = |error: std::io::Error| format!("cannot read {}: {error}", path.display());
    let bytes = tokio::fs::metadata(path).await.map_err(failed)?.len();
    if bytes > SECRET_BYTES_MAX {
        return Err(format!("{} has {bytes} bytes, and is no credentials file", path.display()));
    }
    tokio::fs::read_to_string(path).await.map_err(failed)
}

async fn connect(
    options: ConnectOptions,
    address: ServerAddr,
    hints_subject: String,
    hints: watch::Sender<Option<Sequence>>,
) -> Result<Connected, String> {
    let (tell, lost) = watch::channel(false);
    let tell = Arc::new(tell);
    let begun = AtomicBool::new(false);
    let options = options
        .event_callback(move |event| {
            let tell = tell.clone();
            async move {
                if matches!(event, Event::Disconnected | Event::Closed) {
                    tell.send_replace(true);
                }
            }
        })
        // The second attempt would be a connection taken up again.
        .reconnect_delay_callback(move |_| match begun.swap(true, Ordering::AcqRel) {
            false => Duration::ZERO,
            true => Duration::from_secs(u64::from(u32::MAX)),
        });
    let client = options.connect(address).await.map_err(|error| error.to_string())?;
    let mut told = client.subscribe(hints_subject).await.map_err(|error| error.to_string())?;
    tokio::spawn(async move {
        while let Some(message) = told.next().await {
            let number = std::str::from_utf8(&message.payload).ok().and_then(|text| text.parse().ok());
            raise(&hints, number.and_then(Sequence::new));
        }
    });
    Ok(Connected { client, lost })
}

/// Raises what is known of the log's end.
pub(super) fn raise(hints: &watch::Sender<Option<Sequence>>, to: Option<Sequence>) {
    hints.send_if_modified(|known| {
        let higher = to > *known;
        if higher {
            *known = to;
        }
        higher
    });
}
