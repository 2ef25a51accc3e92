//! Servers that are none, or that mean ill.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use hgfleet_directory::{Directory, DirectoryError, LdapDirectory, LdapOptions, Password};

use crate::entries::{enabled, key, mail};
use crate::slapd::Slapd;

/// A server that answers each request by what a function makes of it: its message number, and the operation's tag.
struct Fake {
    port: u16,
    heard: Arc<Mutex<Vec<u8>>>,
}

type Answer = fn(u8, u8) -> Option<Vec<u8>>;

impl Fake {
    fn start(answer: Answer) -> Fake {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let all = heard.clone();
        // It ends with the test's process.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let all = all.clone();
                thread::spawn(move || serve(stream, answer, &all));
            }
        });
        Fake { port, heard }
    }

    fn options(&self) -> LdapOptions {
        LdapOptions {
            servers: vec![format!("ldap://127.0.0.1:{}", self.port)],
            plain_on_loopback: true,
            bind_dn: Some("cn=reader".to_owned()),
            password: Some(Password::new("the password")),
            base: "dc=x".to_owned(),
            connect_seconds: 1,
            operation_seconds: 1,
            ..LdapOptions::default()
        }
    }

    fn refusal(&self) -> String {
        let error = LdapDirectory::open(self.options()).unwrap().account(&mail("ann@x")).unwrap_err();
        assert!(error.is_outage(), "{error}");
        error.to_string()
    }
}

fn serve(mut stream: TcpStream, answer: Answer, heard: &Mutex<Vec<u8>>) -> Option<()> {
    loop {
        let mut head = [0; 2];
        stream.read_exact(&mut head).ok()?;
        let length = if head[1] < 0x80 {
            usize::from(head[1])
        } else {
            let mut more = vec![0; usize::from(head[1] & 0x7f)];
            stream.read_exact(&mut more).ok()?;
            more.iter().fold(0, |length, byte| length << 8 | usize::from(*byte))
        };
        let mut body = vec![0; length];
        stream.read_exact(&mut body).ok()?;
        heard.lock().unwrap().extend(&body);
        // 02 01 ID, then the operation.
        stream.write_all(&answer(*body.get(2)?, *body.get(3)?)?).ok()?;
    }
}

fn part(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag, 0x84];
    bytes.extend((content.len() as u32).to_be_bytes());
    bytes.extend(content);
    bytes
}

fn message(id: u8, operation: &[u8]) -> Vec<u8> {
    part(0x30, &[&[2, 1, id], operation].concat())
}

fn result(id: u8, tag: u8, code: u8, more: &[u8]) -> Vec<u8> {
    message(id, &part(tag, &[&[0x0a, 1, code, 4, 0, 4, 0], more].concat()))
}

fn entry(id: u8, dn: &str, attributes: &[(&str, &[&[u8]])]) -> Vec<u8> {
    let attributes = attributes.iter().map(|(name, values)| {
        let values: Vec<u8> = values.iter().flat_map(|value| part(4, value)).collect();
        part(0x30, &[part(4, name.as_bytes()), part(0x31, &values)].concat())
    });
    let attributes: Vec<u8> = attributes.flatten().collect();
    message(id, &part(0x64, &[part(4, dn.as_bytes()), part(0x30, &attributes)].concat()))
}

const BIND: u8 = 0x60;

/// Agrees to a bind, and answers anything else by a function.
macro_rules! after_bind {
    ($answer:expr) => {
        Fake::start(|id, tag| {
            let answer: fn(u8) -> Option<Vec<u8>> = $answer;
            if tag == BIND { Some(result(id, 0x61, 0, b"")) } else { answer(id) }
        })
    };
}

#[test]
fn a_server_that_hangs_costs_its_time_limit_and_no_more() {
    let hangs = after_bind!(|_| {
        thread::sleep(Duration::from_secs(60));
        None
    });
    let start = Instant::now();
    assert!(hangs.refusal().contains("no answer within 1 s"));
    let at_once = Fake::start(|_, _| {
        thread::sleep(Duration::from_secs(60));
        None
    });
    assert!(at_once.refusal().contains("no connection within 1 s"));
    assert!(start.elapsed() < Duration::from_secs(20));
}

#[test]
fn those_who_wait_for_a_server_that_hangs_wait_once() {
    let hangs = after_bind!(|_| {
        thread::sleep(Duration::from_secs(60));
        None
    });
    // All keys together may take six times one question's limit.
    let directory = LdapDirectory::open(hangs.options()).unwrap();
    let start = Instant::now();
    thread::scope(|scope| {
        for number in 0..10 {
            let directory = &directory;
            scope.spawn(move || assert!(directory.account_by_key(key(number).blob()).unwrap_err().is_outage()));
        }
    });
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}

#[test]
fn garbage_is_refused_and_the_process_lives() {
    let garbage: [Fake; 7] = [
        after_bind!(|_| Some(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec())),
        after_bind!(|_| Some(vec![0x30, 0x84, 0xff, 0xff, 0xff, 0xff])),
        // Deeper than any stack.
        after_bind!(|id| {
            let mut deep = Vec::new();
            for _ in 0..100_000 {
                deep.extend([0x30, 0x84]);
                deep.extend(3_000_000_u32.to_be_bytes());
            }
            Some(message(id, &part(0x64, &deep)))
        }),
        after_bind!(|id| Some(message(id, &part(0x64, b"")))),
        after_bind!(|id| Some(message(id, &part(0x65, b"")))),
        after_bind!(|id| Some(result(id, 0x7e, 0, b""))),
        after_bind!(|_| Some(result(0, 0x78, 52, b""))),
    ];
    for fake in &garbage {
        let text = fake.refusal();
        assert!(!text.contains("within"), "it is noticed at once: {text}");
    }
}

#[test]
fn an_enormous_entry_is_taken_as_empty() {
    let enormous = after_bind!(|id| {
        let entry = entry(id, "cn=ann,dc=x", &[("mail", &[b"ann@x"]), ("sshPublicKey", &[&[0xff; 5 << 20]])]);
        Some([entry, result(id, 0x65, 0, b"")].concat())
    });
    assert_eq!(LdapDirectory::open(enormous.options()).unwrap().account(&mail("ann@x")).unwrap(), None);
    // Two of them are still two.
    let twice = after_bind!(|id| {
        let large = entry(id, "cn=eve,dc=x", &[("mail", &[b"ann@x"]), ("sshPublicKey", &[&[0xff; 5 << 20]])]);
        let small = entry(id, "cn=ann,dc=x", &[("mail", &[b"ann@x"])]);
        Some([large, small, result(id, 0x65, 0, b"")].concat())
    });
    let refused = LdapDirectory::open(twice.options()).unwrap().account(&mail("ann@x")).unwrap_err();
    assert!(matches!(&refused, DirectoryError::Ambiguous { .. }), "{refused}");
    // No message but an entry may be so large.
    assert!(after_bind!(|id| Some(result(id, 0x65, 0, &vec![0; 3 << 20]))).refusal().contains("at most"));
}

#[test]
fn half_an_answer_is_none() {
    let half = after_bind!(|id| {
        // The entry is whole, but not the search: there may be a second entry.
        let mut bytes = entry(id, "cn=ann,dc=x", &[("mail", &[b"ann@x"]), ("hgAccountEnabled", &[b"TRUE"])]);
        bytes.extend(&result(id, 0x65, 0, b"")[..5]);
        Some(bytes)
    });
    let text = LdapDirectory::open(half.options()).unwrap().account(&mail("ann@x")).unwrap_err().to_string();
    assert!(text.contains("no answer within"), "{text}");
    let drops = Fake::start(|id, tag| (tag == BIND).then(|| result(id, 0x61, 0, b"")));
    assert!(drops.refusal().contains("closed the connection"));
}

#[test]
fn a_referral_is_never_followed() {
    let elsewhere = Fake::start(|_, _| None);
    let url = format!("ldap://127.0.0.1:{}/dc=x", elsewhere.port);
    // The answer is a function, which can't know the port: it is told through a place of its own.
    static URL: Mutex<String> = Mutex::new(String::new());
    *URL.lock().unwrap() = url;
    let referral = after_bind!(|id| {
        let list = part(0xa3, &part(4, URL.lock().unwrap().as_bytes()));
        Some(result(id, 0x65, 10, &list))
    });
    assert!(referral.refusal().contains("referral"));
    let reference = after_bind!(|id| {
        let elsewhere = message(id, &part(0x73, &part(4, URL.lock().unwrap().as_bytes())));
        Some([elsewhere, result(id, 0x65, 0, b"")].concat())
    });
    assert_eq!(LdapDirectory::open(reference.options()).unwrap().account(&mail("ann@x")).unwrap(), None);
    assert!(elsewhere.heard.lock().unwrap().is_empty());
}

#[test]
fn where_tls_is_refused_no_password_is_sent() {
    for answer in [
        // Refused, as by a server without TLS or by someone between.
        (|id, _| Some(result(id, 0x78, 2, b""))) as Answer,
        |id, _| Some(result(id, 0x61, 0, b"")),
        |_, _| Some(b"garbage".to_vec()),
        // Agreed, but then it goes on in clear.
        |id, _| Some([result(id, 0x78, 0, b""), result(2, 0x61, 0, b"")].concat()),
        |_, _| None,
    ] {
        let fake = Fake::start(answer);
        let options = LdapOptions { plain_on_loopback: false, ..fake.options() };
        let refused = LdapDirectory::open(options).unwrap().account(&mail("ann@x")).unwrap_err();
        assert!(refused.is_outage(), "{refused}");
        let heard = fake.heard.lock().unwrap();
        assert!(!heard.windows(12).any(|window| window == b"the password"), "the password was sent in clear");
    }
}

#[test]
fn a_bind_that_does_not_succeed_is_none() {
    for answer in [
        (|id, _| Some(result(id, 0x61, 49, b""))) as Answer,
        |id, _| Some(result(id, 0x61, 10, b"")),
        |id, _| Some(result(id, 0x61, 14, b"")),
    ] {
        assert!(Fake::start(answer).refusal().contains("refused"));
    }
}

#[test]
fn more_entries_than_were_asked_for_are_refused() {
    let many = after_bind!(|id| {
        let entries: Vec<u8> = (0..5).flat_map(|_| entry(id, "cn=ann,dc=x", &[("mail", &[b"ann@x"])])).collect();
        Some([entries, result(id, 0x65, 0, b"")].concat())
    });
    assert!(many.refusal().contains("more than 2 entries"));
}

#[test]
fn the_directory_is_asked_again_once_it_is_back() {
    let mut slapd = Slapd::start(&enabled("ann", &[key(1)]));
    let directory = LdapDirectory::open(slapd.options()).unwrap();
    assert!(directory.account(&mail("ann@x")).unwrap().is_some());
    slapd.stop();
    assert!(matches!(directory.account(&mail("ann@x")), Err(DirectoryError::Unreachable { .. })));
    // On other ports: the old address may have been given to someone else meanwhile.
    slapd.resume();
    let directory = LdapDirectory::open(slapd.options()).unwrap();
    assert!(directory.account(&mail("ann@x")).unwrap().is_some());
}
