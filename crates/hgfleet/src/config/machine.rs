//! `[[machine]]`: which server runs where, in a fleet of several machines.

use super::Config;
use anyhow::{Context, bail};
use hgfleet_tunnel::{Identity, Machine, Served, ServerKind, TunnelOptions};
use serde::Deserialize;

/// `[[machine]]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachineSection {
    /// Its name, which its certificate is for
    pub name: String,
    /// Where its tunnel listens, as `host:port`
    pub address: String,
    /// The servers that run on it
    pub servers: Vec<String>,
}

impl Config {
    /// What the tunnel of this machine is told.
    ///
    /// # Errors
    ///
    /// There is no such machine, a server runs nowhere or on two machines, or a machine names one that there is not.
    pub fn tunnel_options(&self, machine: &str) -> anyhow::Result<TunnelOptions> {
        let mut machines: Vec<Machine> = self
            .machine
            .iter()
            .map(|section| Machine {
                name: section.name.clone(),
                address: section.address.clone(),
                servers: Vec::new(),
            })
            .collect();
        for (name, kind) in self.servers() {
            let places: Vec<usize> =
                (0..machines.len()).filter(|&at| self.machine[at].servers.contains(name)).collect();
            match places[..] {
                [place] => machines[place].servers.extend(kind.map(|kind| Served { name: name.clone(), kind })),
                [] => bail!("the server {name} is in no [[machine]]; add it to the one that it runs on"),
                _ => bail!("the server {name} is in two [[machine]]s; leave it in the one that it runs on"),
            }
        }
        let unknown = self
            .machine
            .iter()
            .flat_map(|section| &section.servers)
            .find(|server| !self.servers().any(|(name, _)| name == *server));
        if let Some(unknown) = unknown {
            bail!("[[machine]] names the server {unknown}, and there is none; correct the name");
        }
        let names = || self.machine.iter().map(|section| section.name.as_str()).collect::<Vec<_>>().join(", ");
        machines
            .iter()
            .find(|one| one.name == machine)
            .with_context(|| format!("no [[machine]] is called {machine}; there are: {}", names()))?;
        Ok(TunnelOptions {
            machine: machine.to_owned(),
            run: self.run_folder(),
            identity: Identity::below(&self.keys_folder()),
            machines,
        })
    }

    /// All servers; those with a kind have sockets that others use.
    fn servers(&self) -> impl Iterator<Item = (&String, Option<ServerKind>)> {
        let standbys = self.standby.iter().map(|standby| (&standby.name, Some(ServerKind::Master)));
        let mirrors = self.mirror.iter().map(|mirror| (&mirror.name, Some(ServerKind::Mirror)));
        let balancers = self.balancer.iter().map(|balancer| (&balancer.name, None));
        std::iter::once((&self.master.name, Some(ServerKind::Master))).chain(standbys).chain(mirrors).chain(balancers)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::parse;

    #[test]
    fn each_server_runs_on_one_machine() {
        let text = |one: &str, two: &str| {
            format!(
                "[[standby]]\nname = 's'\n[[mirror]]\nname = 'm'\n[[balancer]]\nname = 'b1'\n[[balancer]]\nname = 'b2'\n\
                 [[machine]]\nname = 'one'\naddress = '10.0.0.1:7400'\nservers = [{one}]\n\
                 [[machine]]\nname = 'two'\naddress = '10.0.0.2:7400'\nservers = [{two}]\n"
            )
        };
        let config = parse(&text("'master', 'b1'", "'s', 'm', 'b2'")).expect("parses");
        let options = config.tunnel_options("two").expect("all run somewhere");
        let sockets: Vec<String> = options.machines[1].servers.iter().flat_map(|server| server.sockets()).collect();
        assert_eq!(sockets, ["s/mirrors.sock", "s/ssh.sock", "s.copies.sock", "m.sock", "m.copies.sock"]);
        for (one, two, why) in [
            ("'master', 'b1'", "'s', 'b2'", "m is in no"),
            ("'master', 'b1', 'm'", "'s', 'm', 'b2'", "m is in two"),
            ("'master', 'b1', 'x'", "'s', 'm', 'b2'", "the server x"),
        ] {
            let refused = parse(&text(one, two)).expect("parses").tunnel_options("one").expect_err("refused");
            assert!(refused.to_string().contains(why), "{refused}");
        }
        assert!(config.tunnel_options("three").expect_err("refused").to_string().contains("there are: one, two"));
    }
}
