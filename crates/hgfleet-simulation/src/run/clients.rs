//! Those who push and read.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::Duration;

use hgfleet_log::RepositoryName;

use super::Run;
use crate::check::Checker;
use crate::fleet::{Kind, say};
use crate::history::Node;
use crate::log::SimulatedLog;
use crate::push::push;
use crate::read::Reader;
use crate::world::{self, Chance};

/// Whether they are to stop, and how many have not.
#[derive(Debug, Clone, Default)]
pub(super) struct Clients {
    pub(super) stop: Arc<AtomicBool>,
    pub(super) left: Arc<AtomicUsize>,
}

impl Run {
    pub(super) fn start_clients(&mut self) {
        // One repository has two who push to it, and meet.
        for (number, name) in [(0, "a"), (1, "b"), (2, "b")] {
            self.client(number, name, pusher);
        }
        for (number, name) in [(3, "a"), (4, "b"), (5, "a")] {
            self.client(number, name, reader);
        }
    }

    fn client(&self, number: usize, name: &str, work: fn(&Client)) {
        let addresses = self.fleet.of(Kind::Balancer).iter().map(|server| self.fleet.address(*server)).collect();
        let client = Client {
            checker: self.checker.clone(),
            stop: self.clients.stop.clone(),
            log: self.fleet.log.clone(),
            run: self.fleet.run_folder(),
            addresses,
            repository: RepositoryName::parse(name).expect("a name"),
            chance: RefCell::new(Chance::new(self.chance.clone().draw(), 50 + number as u64)),
            number,
        };
        self.clients.left.fetch_add(1, Ordering::SeqCst);
        let left = self.clients.left.clone();
        world::spawn_on(world::CLIENTS, move || {
            work(&client);
            left.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

/// Somebody who pushes or reads.
struct Client {
    checker: Arc<Checker>,
    stop: Arc<AtomicBool>,
    log: Arc<SimulatedLog>,
    run: PathBuf,
    addresses: Vec<Arc<Mutex<Option<SocketAddr>>>>,
    repository: RepositoryName,
    chance: RefCell<Chance>,
    number: usize,
}

impl Client {
    fn pause(&self, milliseconds: u64) {
        let pause = self.chance.borrow_mut().below(milliseconds);
        sleep(Duration::from_millis(pause));
    }

    fn stops(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }
}

fn pusher(client: &Client) {
    while !client.stops() {
        client.pause(1_800);
        let door = if client.chance.borrow_mut().per_mille(500) { "one" } else { "two" };
        let pushed = push(client.run.join(door), &client.repository, &client.checker.history);
        say(&format!("client {} pushed {:?}: {:?}", client.number, pushed.changeset.map(|c| c.node), pushed.told));
        client.checker.pushed(&client.log, &client.repository, pushed);
    }
}

fn reader(client: &Client) {
    let door = client.addresses[client.number % client.addresses.len()].clone();
    let path = format!("/{}?cmd=heads", client.repository);
    let mut seen: Option<Node> = None;
    let mut reader = Reader::default();
    // A balancer that was started anew has forgotten what it showed: it is another door.
    let mut known = None;
    while !client.stops() {
        client.pause(400);
        let Some(address) = *door.lock().expect("an address") else { continue };
        if known != Some(address) {
            (known, seen, reader) = (Some(address), None, Reader::default());
        }
        let begun = world::now();
        match reader.get(address, &path) {
            Ok(reply) if reply.status == 200 => {
                client.checker.read(&client.log, &client.repository, &reply.body, begun, &mut seen);
            }
            Ok(reply) => {
                say(&format!("client {}: {} {}", client.number, reply.status, reply.body.trim()));
                client.checker.unanswered();
            }
            Err(error) => {
                say(&format!("client {}: {error}", client.number));
                client.checker.unanswered();
                reader = Reader::default();
            }
        }
    }
}
