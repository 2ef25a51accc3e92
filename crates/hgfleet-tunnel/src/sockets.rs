//! Which sockets a server has.

/// What kind of server it is, as far as its sockets go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerKind {
    /// A master, or a standby that can become one.
    Master,
    /// A mirror.
    Mirror,
}

/// A server with sockets for others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    /// Its name in the configuration.
    pub name: String,
    /// What it is.
    pub kind: ServerKind,
}

impl Served {
    /// Returns the paths, below `run/`, of the sockets that servers on other machines use.
    pub fn sockets(&self) -> Vec<String> {
        let Served { name, kind } = self;
        let copies = format!("{name}.copies.sock");
        match kind {
            ServerKind::Master => vec![format!("{name}/mirrors.sock"), format!("{name}/ssh.sock"), copies],
            ServerKind::Mirror => vec![format!("{name}.sock"), copies],
        }
    }
}
