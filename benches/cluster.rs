//! NATS servers that keep a log.

use crate::measure::on_path;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Three NATS servers of one cluster.
pub struct Cluster {
    servers: Vec<Child>,
    urls: Vec<String>,
}

impl Cluster {
    /// Starts it, with its files in this folder; `None`, with the reason printed, where there is no program.
    pub fn start(folder: &Path) -> Option<Cluster> {
        let Some(program) = on_path("nats-server") else {
            println!("NATS is left out: no nats-server on the PATH (`make client` gets it)");
            return None;
        };
        let port =
            || std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port();
        let (clients, routes): (Vec<u16>, Vec<u16>) = (0..3).map(|_| (port(), port())).unzip();
        let others: Vec<String> = routes.iter().map(|port| format!("\"nats://127.0.0.1:{port}\"")).collect();
        let start = |n: usize| {
            let own = folder.join(format!("nats-{n}"));
            std::fs::create_dir_all(&own).expect("made");
            let config = format!(
                "server_name: n{n}\nlisten: \"127.0.0.1:{}\"\njetstream {{ store_dir: {:?}, sync_interval: always }}\n\
                 cluster {{ name: bench, listen: \"127.0.0.1:{}\", routes: [{}] }}\n",
                clients[n],
                own.join("store"),
                routes[n],
                others.join(", ")
            );
            std::fs::write(own.join("nats.conf"), config).expect("written");
            Command::new(&program)
                .arg("-c")
                .arg(own.join("nats.conf"))
                .stderr(Stdio::null())
                .spawn()
                .expect("it starts")
        };
        let servers = (0..3).map(start).collect();
        Some(Cluster { servers, urls: clients.iter().map(|port| format!("'nats://127.0.0.1:{port}'")).collect() })
    }

    /// The section of the configuration that has the log there.
    pub fn section(&self) -> String {
        format!("[log]\nbackend = 'jetstream'\nservers = [{}]\nreplicas = 3\n", self.urls.join(", "))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for server in &mut self.servers {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}
