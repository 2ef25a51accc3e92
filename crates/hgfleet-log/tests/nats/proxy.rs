//! A line between a client and a server that can be made to lose what goes one way, or be cut.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

#[derive(Default)]
struct State {
    lose_requests: AtomicBool,
    lose_answers: AtomicBool,
    /// Requests with this in them are lost.
    lose_requests_with: Mutex<Option<&'static str>>,
    refuse: AtomicBool,
    open: Mutex<Vec<TcpStream>>,
}

pub struct Proxy {
    state: Arc<State>,
    pub port: u16,
}

impl State {
    fn loses_request(&self, bytes: &[u8]) -> bool {
        let word = *self.lose_requests_with.lock().expect("lock");
        self.lose_requests.load(Ordering::SeqCst)
            || word.is_some_and(|word| bytes.windows(word.len()).any(|part| part == word.as_bytes()))
    }
}

impl Proxy {
    pub fn to(server: u16) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("address").port();
        let state = Arc::new(State::default());
        let shared = state.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if shared.refuse.load(Ordering::SeqCst) {
                    continue;
                }
                let Ok(upstream) = TcpStream::connect(("127.0.0.1", server)) else { continue };
                let twin = |stream: &TcpStream| stream.try_clone().expect("clone");
                shared.open.lock().expect("lock").extend([twin(&client), twin(&upstream)]);
                let (one, two) = (shared.clone(), shared.clone());
                let (client_in, upstream_in) = (twin(&client), twin(&upstream));
                std::thread::spawn(move || pump(client_in, upstream, |bytes| one.loses_request(bytes)));
                std::thread::spawn(move || pump(upstream_in, client, |_| two.lose_answers.load(Ordering::SeqCst)));
            }
        });
        Proxy { state, port }
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    pub fn lose_requests(&self, lose: bool) {
        self.state.lose_requests.store(lose, Ordering::SeqCst);
    }

    pub fn lose_answers(&self, lose: bool) {
        self.state.lose_answers.store(lose, Ordering::SeqCst);
    }

    pub fn lose_requests_with(&self, word: &'static str) {
        *self.state.lose_requests_with.lock().expect("lock") = Some(word);
    }

    /// Ends the connections that there are; new ones are refused until [`Proxy::mend`].
    pub fn cut(&self) {
        self.state.refuse.store(true, Ordering::SeqCst);
        for stream in self.state.open.lock().expect("lock").drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    pub fn mend(&self) {
        self.lose_answers(false);
        self.lose_requests(false);
        self.state.refuse.store(false, Ordering::SeqCst);
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream, loses: impl Fn(&[u8]) -> bool) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if !loses(&buffer[..length]) && to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}
