//! What is no SSH, and SSH that only an attacker speaks.

use russh::{Preferred, cipher, kex};

use super::*;

/// What the door answers until it closes, and how long that took.
async fn answer(door: &Fixture, bytes: &[u8]) -> (Vec<u8>, Duration) {
    let started = Instant::now();
    let mut stream = TcpStream::connect(door.address).await.unwrap();
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    let _ = tokio::time::timeout(Duration::from_secs(5), read).await.expect("the door still listens");
    (answer, started.elapsed())
}

fn patient() -> SshLimits {
    let bans = BanLimits { failures: 0, ..BanLimits::default() };
    SshLimits { login_grace: Duration::from_secs(30), bans, ..SshLimits::default() }
}

/// T1, T2: garbage before any login ends the connection at once, and not when the time to log in is over.
#[tokio::test(flavor = "multi_thread")]
async fn garbage_ends_the_connection() {
    let door = door("exec cat", patient()).await;
    for garbage in [
        b"x\n".to_vec(),
        b"x\n".repeat(1_000_000),
        vec![b'x'; 255],
        vec![b'x'; 10 << 20],
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        // A packet of 4 GiB, of 1 GiB, of 0, and of 1 byte.
        [&b"SSH-2.0-x\r\n"[..], &[0xff; 64]].concat(),
        [&b"SSH-2.0-x\r\n"[..], &[0x40, 0, 0, 0], &[0; 64]].concat(),
        [&b"SSH-2.0-x\r\n"[..], &[0; 64]].concat(),
        [&b"SSH-2.0-x\r\n"[..], &[0, 0, 0, 1], &[0; 64]].concat(),
    ] {
        let (_, took) = answer(&door, &garbage).await;
        assert!(took < Duration::from_secs(3), "{took:?}: {}", garbage[..garbage.len().min(40)].escape_ascii());
    }
    assert!(door.run("user", &[], "x").await.status.success());
}

/// The lists of names in the door's first packet (RFC 4253, 7.1).
fn offered(mut packet: &[u8]) -> Vec<Vec<String>> {
    // Length, padding, message number, cookie.
    packet = &packet[4 + 1 + 1 + 16..];
    let mut lists = Vec::new();
    for _ in 0..10 {
        let (length, rest) = packet.split_at(4);
        let length = u32::from_be_bytes(length.try_into().unwrap()) as usize;
        let list = std::str::from_utf8(&rest[..length]).unwrap();
        lists.push(list.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect());
        packet = &rest[length..];
    }
    lists
}

/// T3, T10: strict key exchange, nothing that Terrapin is about, nothing that unpacks.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_door_offers() {
    let door = door("exec cat", patient()).await;
    let mut stream = TcpStream::connect(door.address).await.unwrap();
    stream.write_all(b"SSH-2.0-x\r\n").await.unwrap();
    let mut bytes = vec![0; 17];
    stream.read_exact(&mut bytes).await.unwrap();
    assert_eq!(bytes, b"SSH-2.0-hgfleet\r\n");
    let length = stream.read_u32().await.unwrap();
    let mut packet = length.to_be_bytes().to_vec();
    packet.resize(4 + length as usize, 0);
    stream.read_exact(&mut packet[4..]).await.unwrap();
    let lists = offered(&packet);
    assert!(lists[0].iter().any(|name| name == "kex-strict-s-v00@openssh.com"), "{lists:?}");
    assert!(lists[0].iter().all(|name| !name.contains("sha1")), "{lists:?}");
    assert_eq!(lists[1], ["ssh-ed25519"]);
    for ciphers in &lists[2..4] {
        assert_eq!(*ciphers, ["aes256-gcm@openssh.com", "aes256-ctr"]);
    }
    for compressions in &lists[6..8] {
        assert_eq!(*compressions, ["none"]);
    }
}

/// T3: a client that knows no strict key exchange gets in with what is safe without it, and with nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn without_strict_key_exchange_only_what_is_safe_is_spoken() {
    let door = door("exec cat", patient()).await;
    for (cipher, accepted) in
        [(cipher::AES_256_GCM, true), (cipher::CHACHA20_POLY1305, false), (cipher::AES_256_CBC, false)]
    {
        let preferred = Preferred {
            kex: Cow::Owned(vec![kex::CURVE25519]),
            cipher: Cow::Owned(vec![cipher]),
            ..Preferred::DEFAULT
        };
        let config = client::Config { preferred, ..client::Config::default() };
        let connected = client::connect(Arc::new(config), door.address, AnyServer).await;
        assert_eq!(connected.is_ok(), accepted, "{}", cipher.as_ref());
    }
}

/// T10: new keys for every packet or so, and a client that wants compression.
#[tokio::test(flavor = "multi_thread")]
async fn keys_are_changed_as_often_as_a_client_likes() {
    let door = door("exec cat", patient()).await;
    fs::write(door.folder.path().join("input"), vec![7; 4 << 20]).unwrap();
    for (limit, bytes) in [("64K", 4 << 20), ("16", 64 << 10)] {
        let mut ssh = door.ssh("user", &["-C", "-o", &format!("RekeyLimit={limit}")]);
        let input = fs::File::open(door.folder.path().join("input")).unwrap();
        let mut head =
            Command::new("head").args(["-c", &bytes.to_string()]).stdin(input).stdout(Stdio::piped()).spawn().unwrap();
        ssh.arg("x").stdin(head.stdout.take().unwrap());
        let output = tokio::task::spawn_blocking(move || ssh.output().unwrap());
        let output = tokio::time::timeout(Duration::from_secs(60), output).await.expect("it ends").unwrap();
        head.wait().unwrap();
        assert!(output.status.success(), "{limit}: {output:.200?}");
        assert_eq!(told(&output.stdout).1.len(), bytes, "{limit}");
    }
}

/// T10: windows as large as they can be.
#[tokio::test(flavor = "multi_thread")]
async fn a_window_of_four_gigabytes_changes_nothing() {
    let door = door("exec cat", patient()).await;
    for window_size in [1 << 31, u32::MAX] {
        let config = client::Config { window_size, ..client::Config::default() };
        let session = door.client_with(config, "user").await;
        let channel = session.channel_open_session().await.unwrap();
        channel.exec(true, "x").await.unwrap();
        channel.eof().await.unwrap();
        assert_eq!(ended(channel).await.0, Some(0));
    }
}
