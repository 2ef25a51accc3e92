//! What may be asked for on a channel.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_not_served_are_refused() {
    let door = door("exec cat", SshLimits { channels_max: 3, ..SshLimits::default() }).await;
    let session = door.client("user").await;
    let mut channel = session.channel_open_session().await.unwrap();
    channel.request_pty(true, "xterm", 80, 24, 0, 0, &[]).await.unwrap();
    assert!(matches!(channel.wait().await, Some(ChannelMsg::Failure)));
    channel.request_x11(true, false, "MIT-MAGIC-COOKIE-1", "00", 0).await.unwrap();
    assert!(matches!(channel.wait().await, Some(ChannelMsg::Failure)));
    channel.request_subsystem(true, "sftp").await.unwrap();
    assert!(matches!(channel.wait().await, Some(ChannelMsg::Failure)));
    channel.set_env(true, "LD_PRELOAD", "x").await.unwrap();
    assert!(matches!(channel.wait().await, Some(ChannelMsg::Failure)));
    channel.exec(true, "first").await.unwrap();
    assert!(matches!(channel.wait().await, Some(ChannelMsg::Success)));
    channel.exec(true, "second").await.unwrap();
    loop {
        match channel.wait().await {
            Some(ChannelMsg::Failure) => break,
            Some(ChannelMsg::Success) | None => panic!("a second command was taken"),
            Some(_) => {}
        }
    }
    assert!(session.channel_open_direct_tcpip("127.0.0.1", 22, "127.0.0.1", 1).await.is_err());
    assert!(session.channel_open_direct_streamlocal("/tmp/x").await.is_err());
    assert!(session.tcpip_forward("127.0.0.1", 0).await.is_err());
    let _two = session.channel_open_session().await.unwrap();
    let _three = session.channel_open_session().await.unwrap();
    assert!(session.channel_open_session().await.is_err());
    channel.eof().await.unwrap();
    assert_eq!(ended(channel).await.0, Some(0), "the first command was not disturbed");
}

/// S14, S15: what OpenSSH's client asks for on the way is refused, and the command is run without it.
#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_forwarding_and_subsystems_are_refused_to_openssh() {
    let door = door("exec cat", SshLimits::default()).await;
    let output = door.run("user", &["-tt"], "x").await;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("PTY allocation request failed"), "{told}");
    let output = door.run("user", &["-A", "-o", "SendEnv=PATH HOME"], "x").await;
    assert!(output.status.success(), "{output:?}");
    for options in [
        &["-o", "ExitOnForwardFailure=yes", "-R", "0:127.0.0.1:1"][..],
        &["-o", "ExitOnForwardFailure=yes", "-R", "/tmp/nothing:127.0.0.1:1"],
        &["-W", "127.0.0.1:22"],
        &["-s"],
    ] {
        // With -W there is no command: the name of one is an error of the client's own.
        let mut ssh = door.ssh("user", options);
        if options[0] != "-W" {
            ssh.arg("sftp");
        }
        ssh.stdin(Stdio::null());
        let output = tokio::task::spawn_blocking(move || ssh.output().unwrap()).await.unwrap();
        assert_eq!(output.status.code(), Some(255), "{options:?}: {output:?}");
        assert!(output.stdout.is_empty(), "{options:?}: {output:?}");
    }
}

/// S14: a forwarded port listens at the client, and each connection to it is refused.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_comes_through_a_port_that_openssh_forwards() {
    let door = door("exec cat", SshLimits::default()).await;
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let forward = format!("127.0.0.1:{port}:{}", door.address);
    let mut ssh = door.ssh("user", &["-L", &forward]);
    let mut ssh = ssh.arg("x").stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut forwarded = None;
    for _ in 0..200 {
        tokio::time::sleep(Duration::from_millis(25)).await;
        if let Ok(stream) = TcpStream::connect(("127.0.0.1", port)).await {
            forwarded = Some(stream);
            break;
        }
    }
    let mut bytes = Vec::new();
    let read = forwarded.expect("the client listens").read_to_end(&mut bytes).await;
    assert!(read.is_err() || bytes.is_empty(), "the door would have greeted: {bytes:?}");
    ssh.kill().unwrap();
    ssh.wait().unwrap();
}

/// S16: each channel above the limit is refused, and the connection goes on.
#[tokio::test(flavor = "multi_thread")]
async fn of_a_thousand_channels_ten_are_opened() {
    let door = door("exec cat", SshLimits::default()).await;
    let session = door.client("user").await;
    let mut open = Vec::new();
    for _ in 0..1_000 {
        open.extend(session.channel_open_session().await.ok());
    }
    assert_eq!(open.len(), 10);
    let channel = open.pop().unwrap();
    channel.exec(true, "x").await.unwrap();
    channel.eof().await.unwrap();
    assert_eq!(ended(channel).await.0, Some(0));
}

/// S16: what is asked for after the end of input has none.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_after_the_end_of_input_has_none() {
    let door = door("exec cat", SshLimits::default()).await;
    let session = door.client("user").await;
    let channel = session.channel_open_session().await.unwrap();
    channel.eof().await.unwrap();
    channel.exec(true, "x").await.unwrap();
    assert_eq!(ended(channel).await.0, Some(0));
}
