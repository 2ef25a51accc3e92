//! What a stranger can use up, and what an account can.

use std::net::Ipv4Addr;

use tokio::net::TcpSocket;

use super::*;

/// Connects from another address of this machine, and says nothing.
async fn silent(door: &Fixture, from: [u8; 4]) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::from(from), 0).into()).unwrap();
    socket.connect(door.address).await.unwrap()
}

/// T4: from one address.
#[tokio::test(flavor = "multi_thread")]
async fn connections_without_a_login_are_few_and_short() {
    let limits = SshLimits {
        login_grace: Duration::from_millis(700),
        unauthenticated_per_address_max: 2,
        ..SshLimits::default()
    };
    let door = door("exec cat", limits).await;
    let started = Instant::now();
    let waiting = [silent(&door, [127, 0, 0, 2]).await, silent(&door, [127, 0, 0, 2]).await];
    tokio::time::sleep(Duration::from_millis(50)).await;
    let mut third = silent(&door, [127, 0, 0, 2]).await;
    third.shutdown().await.unwrap();
    let mut bytes = Vec::new();
    third.read_to_end(&mut bytes).await.unwrap();
    let told = String::from_utf8_lossy(&bytes).into_owned();
    let text = "refused: 2 connections wait for a login already, from 127.0.0.2. Try again when one has ended";
    assert!(told.contains(text) && started.elapsed() < Duration::from_millis(600), "{told}");
    assert!(door.run("user", &[], "x").await.status.success(), "other addresses are not concerned");
    for mut stream in waiting {
        stream.read_to_end(&mut bytes).await.unwrap();
    }
    assert!(started.elapsed() > Duration::from_millis(600));
}

/// T4: from many addresses. Those that have said nothing for long make room.
#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_from_everywhere_keep_nobody_out() {
    let door = door("exec cat", SshLimits { unauthenticated_max: 50, ..SshLimits::default() }).await;
    let mut flood = Vec::new();
    for host in 2..52 {
        flood.push(silent(&door, [127, 0, 1, host]).await);
    }
    let output = door.run("user", &[], "x").await;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("refused: too many logins at once, on this server. Try again in a minute"), "{told}");
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    for _ in 0..3 {
        let started = Instant::now();
        assert!(door.run("user", &[], "x").await.status.success());
        assert!(started.elapsed() < Duration::from_secs(2));
    }
}

/// T4: from one address, in numbers.
#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_connections_from_one_address_slow_nobody() {
    let door = door("exec cat", SshLimits::default()).await;
    let mut flood = Vec::new();
    for _ in 0..2_000 {
        flood.push(silent(&door, [127, 0, 0, 2]).await);
    }
    let started = Instant::now();
    assert!(door.run("user", &[], "x").await.status.success());
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
}

fn banning(failures: u32, time: Duration) -> SshLimits {
    SshLimits { bans: BanLimits { failures, time, ..BanLimits::default() }, ..SshLimits::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_fails_to_log_in_too_often_is_refused_for_a_while() {
    let door = door("exec cat", banning(3, Duration::from_secs(2))).await;
    // Two failures, a success: forgotten.
    for key in ["other", "other", "user", "other", "other"] {
        let output = door.run(key, &[], "x").await;
        assert_eq!(output.status.success(), key == "user", "{output:?}");
    }
    assert!(!door.run("other", &[], "x").await.status.success());
    let output = door.run("user", &["-o", "LogLevel=INFO"], "x").await;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(255), "{told}");
    assert!(told.contains("refused: too many failed logins, from 127.0.0.1. Try again in 1 minutes"), "{told}");
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    assert!(door.run("user", &[], "x").await.status.success());
}

/// Garbage is as bad as a wrong key; who only looks has tried nothing.
#[tokio::test(flavor = "multi_thread")]
async fn garbage_counts_as_a_failed_login_and_looking_does_not() {
    let door = door("exec cat", banning(3, Duration::from_secs(600))).await;
    for _ in 0..10 {
        drop(TcpStream::connect(door.address).await.unwrap());
        let session = client::connect(Arc::default(), door.address, AnyServer).await.unwrap();
        session.disconnect(Disconnect::ByApplication, "", "").await.unwrap();
    }
    assert!(door.run("user", &[], "x").await.status.success());
    for _ in 0..3 {
        let mut stream = TcpStream::connect(door.address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    }
    for _ in 0..50 {
        if !door.run("user", &[], "x").await.status.success() {
            return;
        }
    }
    panic!("garbage was never counted");
}

/// T5: ten thousand keys, or as many as can be tried.
#[tokio::test(flavor = "multi_thread")]
async fn keys_that_are_guessed_are_few_and_each_is_looked_up_once() {
    let door = door("exec cat", banning(4, Duration::from_secs(600))).await;
    guess(&door).await;
    let asked = door.asked.lock().unwrap();
    assert_eq!((asked.len(), different(&asked)), (4 * 6, 4 * 6));
}

/// Where certificates count, the door learns only from the signature that a key has none: each is a try all the same.
#[tokio::test(flavor = "multi_thread")]
async fn keys_that_could_have_certificates_are_as_few() {
    let folder = tempfile::tempdir().unwrap();
    keygen(&folder.path().join("authority"), "ed25519");
    let login =
        LoginOptions { trusted_user_ca_keys: Some(folder.path().join("authority.pub")), ..LoginOptions::default() };
    let door = door_in(folder, "exec cat", banning(4, Duration::from_secs(600)), login).await;
    guess(&door).await;
    assert_eq!(different(&door.asked.lock().unwrap()), 4 * 6);
}

fn different(keys: &[Vec<u8>]) -> usize {
    keys.iter().collect::<std::collections::HashSet<_>>().len()
}

/// Tries keys until the door takes no more connections.
async fn guess(door: &Fixture) {
    let mut tried = 0;
    'all: loop {
        let Ok(mut session) = client::connect(Arc::default(), door.address, AnyServer).await else { break };
        let mut on_this_one = 0;
        loop {
            tried += 1;
            assert!(tried < 10_000, "nobody stops it");
            let mut seed = [0; 32];
            seed[..8].copy_from_slice(&u64::to_be_bytes(tried));
            let pair = russh::keys::ssh_key::private::Ed25519Keypair::from_seed(&seed);
            let key = PrivateKeyWithHashAlg::new(Arc::new(PrivateKey::from(pair)), None);
            match session.authenticate_publickey("hg", key).await {
                Ok(answer) => assert!(!answer.success()),
                Err(_) if on_this_one == 0 => break 'all,
                Err(_) => break,
            }
            if session.is_closed() {
                break;
            }
            on_this_one += 1;
        }
    }
}

/// An account's sessions, on however many connections.
#[tokio::test(flavor = "multi_thread")]
async fn an_account_has_so_many_sessions_and_no_more() {
    let door = door("exec cat", SshLimits { sessions_per_account_max: 2, ..SshLimits::default() }).await;
    let (one, two) = (door.client("user").await, door.client("rsa").await);
    let mut running = Vec::new();
    for session in [&one, &two] {
        let channel = session.channel_open_session().await.unwrap();
        channel.exec(true, "x").await.unwrap();
        running.push(channel);
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    let output = door.run("user", &[], "x").await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(told, "refused: 2 sessions are open already, of user@example.com. Try again when one has ended\n");
    let channel = running.pop().unwrap();
    channel.eof().await.unwrap();
    assert_eq!(ended(channel).await.0, Some(0));
    assert!(door.run("user", &[], "x").await.status.success());

    // Connections count too, without a session on them.
    let _more = [door.client("user").await, door.client("user").await];
    let output = door.run("user", &["-o", "LogLevel=INFO"], "x").await;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("refused: 4 connections are open already, of user@example.com."), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_has_so_many_sessions_and_no_more() {
    let door = door("exec cat", SshLimits { sessions_per_address_max: 1, ..SshLimits::default() }).await;
    let session = door.client("user").await;
    let channel = session.channel_open_session().await.unwrap();
    channel.exec(true, "x").await.unwrap();
    let second = session.channel_open_session().await.unwrap();
    second.exec(true, "x").await.unwrap();
    let (status, told) = ended(second).await;
    assert_eq!(status, Some(1));
    assert_eq!(told, "refused: 1 sessions are open already, of 127.0.0.1. Try again when one has ended\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_without_a_session_and_one_that_is_dead_are_ended() {
    let limits = SshLimits {
        idle: Duration::from_millis(400),
        keepalive: Duration::from_millis(200),
        keepalive_max: 2,
        ..SshLimits::default()
    };
    let door = door("cat > /dev/null; touch \"$3/gone\"", limits).await;
    let mut session = door.client("user").await;
    tokio::time::timeout(Duration::from_secs(5), &mut session).await.expect("it is ended").ok();

    let mut ssh = door.ssh("user", &[]);
    let mut ssh = ssh.arg("x").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let gone = door.folder.path().join("gone");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!gone.exists(), "a client that answers may be silent");
    let signalled = Command::new("kill").args(["-STOP", &ssh.id().to_string()]).status().unwrap();
    assert!(signalled.success());
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        if gone.exists() {
            break;
        }
    }
    assert!(gone.exists(), "the session still waits for a client that is dead");
    ssh.kill().unwrap();
    ssh.wait().unwrap();
}

/// T10: a window that never opens again.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_nothing_is_cut_after_the_idle_time() {
    let limits = SshLimits { idle: Duration::from_millis(500), ..SshLimits::default() };
    let door = door("head -c 30000000 /dev/zero; touch \"$3/gone\"", limits).await;
    let mut ssh = door.ssh("user", &[]);
    // Nobody reads what it writes, so it takes no more than its window.
    let mut ssh = ssh.arg("x").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let gone = door.folder.path().join("gone");
    for _ in 0..200 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        if gone.exists() {
            break;
        }
    }
    assert!(gone.exists(), "the session still waits for its reader");
    ssh.kill().unwrap();
    ssh.wait().unwrap();
}

/// Whose connection it is says the balancer, on its socket alone and once.
#[tokio::test(flavor = "multi_thread")]
async fn the_balancer_says_whose_connection_it_hands_over() {
    let door = door("exec cat", banning(1, Duration::from_secs(600))).await;
    let hand_over = |line: &'static str| {
        let (mut ours, theirs) = tokio::io::duplex(1 << 16);
        tokio::spawn(door.door.clone().serve_handed_over(theirs));
        async move {
            ours.write_all(line.as_bytes()).await.unwrap();
            ours
        }
    };
    let stream = hand_over("PROXY TCP4 192.0.2.7 198.51.100.1 4711 22\r\n").await;
    let mut session = client::connect_stream(Arc::default(), stream, AnyServer).await.unwrap();
    door.log_in(&mut session, "user").await;
    let mut channel = session.channel_open_session().await.unwrap();
    channel.exec(true, "x").await.unwrap();
    channel.eof().await.unwrap();
    let mut output = Vec::new();
    while let Some(message) = channel.wait().await {
        if let ChannelMsg::Data { data } = message {
            output.extend_from_slice(&data);
        }
    }
    assert_eq!(told(&output).0.address, "192.0.2.7:4711");

    // T11: said twice, or something else: no word of SSH is spoken.
    for line in [
        "PROXY TCP4 192.0.2.8 198.51.100.1 4711 22\r\nPROXY TCP4 127.0.0.1 198.51.100.1 4711 22\r\nSSH-2.0-x\r\n",
        "SSH-2.0-x\r\n",
        "PROXY UNKNOWN\r\nSSH-2.0-x\r\n",
    ] {
        let mut stream = hand_over(line).await;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.unwrap();
        assert!(bytes.is_empty() || bytes == b"SSH-2.0-hgfleet\r\n", "{line:?}: {}", bytes.escape_ascii());
    }
    // What was garbage is the fault of who was named first: it is banned, the others are not.
    let mut stream = hand_over("PROXY TCP4 192.0.2.8 198.51.100.1 4712 22\r\n").await;
    stream.shutdown().await.unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    assert!(text.contains("refused: too many failed logins, from 192.0.2.8."), "{text}");
    assert!(door.run("user", &[], "x").await.status.success());
    // And on a TCP port nobody is believed.
    let mut stream = TcpStream::connect(door.address).await.unwrap();
    stream.write_all(b"PROXY TCP4 192.0.2.9 198.51.100.1 4711 22\r\n").await.unwrap();
    let _ = stream.read_to_end(&mut bytes).await;
    assert!(!door.run("user", &[], "x").await.status.success(), "it was this machine's own address that sent garbage");
}
