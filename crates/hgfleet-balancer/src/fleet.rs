//! The mirrors behind this balancer, and which of them to ask first.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use hgfleet_log::View;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::MirrorAddress;
use crate::body::RequestBody;
use crate::floor::Floor;
use crate::headers::prepare_reply;
use crate::mirror::{Address, Health, Mirror};

/// How often each mirror is asked how it is.
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// The first pause, doubled each time, while one that a new view names does not serve yet.
const PROBE_SOON: Duration = Duration::from_millis(20);
/// How long it may take to say so, twice in a row, before it counts as silent.
const PROBE_TIME: Duration = Duration::from_secs(1);
/// Ending of a server's door for copies, before `.sock`: it lies beside the mirrors' sockets, and is none.
const COPIES_ENDING: &str = ".copies";
const PROBE_BODY_MAX: usize = 64 * 1024;

/// All mirrors that were ever heard of, with the floor.
///
/// A mirror that left the view stays known: when the master is gone, nobody is in service and yet
/// every read is to be answered.
#[derive(Debug)]
pub(crate) struct Fleet {
    pub(crate) floor: Floor,
    run: PathBuf,
    elsewhere: Vec<MirrorAddress>,
    known: RwLock<Arc<[Known]>>,
    turn: AtomicUsize,
    /// A view names other mirrors than the one before.
    renamed: Notify,
    /// A mirror's health is another than before.
    pub(crate) turned: Notify,
}

#[derive(Debug, Clone)]
struct Known {
    mirror: Arc<Mirror>,
    in_view: bool,
}

impl Fleet {
    pub(crate) fn new(run: PathBuf, elsewhere: Vec<MirrorAddress>) -> Arc<Self> {
        let known = elsewhere
            .iter()
            .map(|there| Known { mirror: Mirror::new(&there.name, Address::Network(there.address)), in_view: false })
            .collect();
        Arc::new(Self {
            floor: Floor::default(),
            run,
            elsewhere,
            known: RwLock::new(known),
            turn: AtomicUsize::new(0),
            renamed: Notify::new(),
            turned: Notify::new(),
        })
    }

    /// Takes a view over: its position, and which mirrors are in service.
    pub(crate) fn follow(&self, view: &View) {
        self.floor.raise(view.visible);
        let named: Vec<&str> = view.mirrors.iter().map(|m| m.name.as_str()).collect();
        self.learn(&named, |name| named.contains(&name));
    }

    /// Looks for mirrors' sockets: what is left to do where no view can be read.
    pub(crate) fn discover(&self) {
        let Ok(folder) = std::fs::read_dir(&self.run) else {
            return;
        };
        let names: Vec<String> = folder
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter_map(|name| name.strip_suffix(".sock").map(str::to_owned))
            // Of every server: the door at which others take copies of its repositories.
            .filter(|name| !name.ends_with(COPIES_ENDING))
            .collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        self.learn(&names, |_| false);
    }

    /// Whether any mirror was ever heard of.
    pub(crate) fn knows_any(&self) -> bool {
        !self.known().is_empty()
    }

    fn learn(&self, names: &[&str], in_view: impl Fn(&str) -> bool) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let mut next: Vec<Known> = known.to_vec();
        for name in names {
            let is_new = next.iter().all(|one| one.mirror.name() != *name);
            // The name becomes part of a path.
            if is_new && !name.is_empty() && !name.contains(['/', '\0']) {
                next.push(Known { mirror: Mirror::new(name, self.address_of(name)), in_view: false });
            }
        }
        let mut is_renamed = false;
        for one in &mut next {
            let before = std::mem::replace(&mut one.in_view, in_view(one.mirror.name()));
            is_renamed |= one.in_view != before;
        }
        *known = next.into();
        if is_renamed {
            self.renamed.notify_one();
        }
    }

    fn address_of(&self, name: &str) -> Address {
        self.elsewhere.iter().find(|there| there.name == name).map_or_else(
            || Address::Socket(self.run.join(format!("{name}.sock"))),
            |there| Address::Network(there.address),
        )
    }

    fn known(&self) -> Arc<[Known]> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The mirrors in the order in which they are to be asked: those in service that have the least
    /// to do first, equal ones in turn.
    pub(crate) fn order(&self) -> Vec<Arc<Mirror>> {
        let known = self.known();
        let mut order: Vec<&Known> = known.iter().collect();
        if !order.is_empty() {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed) % order.len();
            order.rotate_left(turn);
        }
        order.sort_by_key(|one| {
            let health = one.mirror.health();
            (health, !one.in_view, one.mirror.outstanding())
        });
        order.into_iter().map(|one| one.mirror.clone()).collect()
    }

    /// Asks each mirror how it is, for ever.
    pub(crate) async fn probe(&self) {
        let mut missed: Vec<(String, u32)> = Vec::new();
        let mut pause = PROBE_SOON;
        loop {
            let known = self.known();
            let asked = known.iter().map(|one| self.ask(&one.mirror));
            let answers = futures_util::future::join_all(asked).await;
            let mut turned = false;
            for (one, answer) in known.iter().zip(answers) {
                let name = one.mirror.name();
                let before =
                    missed.iter().position(|(missing, _)| missing == name).map_or(0, |at| missed.swap_remove(at).1);
                match answer {
                    Some(health) => turned |= one.mirror.set_health(health),
                    None if before > 0 => turned |= one.mirror.set_health(Health::Silent),
                    None => {}
                }
                if answer.is_none() {
                    missed.push((name.to_owned(), before.saturating_add(1)));
                }
            }
            if turned {
                self.turned.notify_one();
            }
            // Silence is judged by misses a second apart.
            let is_awaited = |one: &Known| one.in_view && one.mirror.health() == Health::Lapsed;
            pause = if known.iter().any(is_awaited) { (pause * 2).min(PROBE_EVERY) } else { PROBE_EVERY };
            if timeout(pause, self.renamed.notified()).await.is_ok() {
                pause = PROBE_SOON;
            }
        }
    }

    async fn ask(&self, mirror: &Arc<Mirror>) -> Option<Health> {
        let request =
            Request::get("/healthz").header("host", "localhost").body(RequestBody::kept(Bytes::new())).ok()?;
        let asked = async {
            let (response, loan) = mirror.send(request).await.ok()?;
            let (mut head, body) = response.into_parts();
            let whole = Limited::new(body, PROBE_BODY_MAX).collect().await.is_ok();
            if whole {
                loan.give_back();
            }
            let marks = prepare_reply(head.status, &mut head.headers);
            self.floor.raise(marks.position);
            Some(match head.status {
                StatusCode::OK if !marks.lapsed => Health::Serving,
                _ => Health::Lapsed,
            })
        };
        timeout(PROBE_TIME, asked).await.ok()?
    }
}

#[cfg(test)]
mod tests {
    use hgfleet_log::{Epoch, Incarnation, MirrorInView, Sequence};

    use super::*;

    fn view(visible: u64, names: &[&str]) -> View {
        View {
            epoch: Epoch::FIRST,
            version: 1,
            visible: Sequence::new(visible),
            mirrors: names
                .iter()
                .map(|name| MirrorInView { name: (*name).to_owned(), incarnation: Incarnation::from_bytes([1; 16]) })
                .collect(),
        }
    }

    fn names(fleet: &Fleet) -> Vec<String> {
        let order = fleet.order();
        order.iter().map(|m| m.name().to_owned()).collect()
    }

    #[test]
    fn equal_mirrors_take_turns() {
        let fleet = Fleet::new("run".into(), Vec::new());
        fleet.follow(&view(3, &["a", "b"]));
        assert_eq!(fleet.floor.get(), Sequence::new(3));
        assert_eq!(names(&fleet), ["a", "b"]);
        assert_eq!(names(&fleet), ["b", "a"]);
    }

    #[test]
    fn only_mirrors_are_found_by_their_sockets() {
        let run = tempfile::tempdir().expect("a folder");
        for name in ["a.sock", "a.copies.sock", "master.copies.sock", "b.sock", "other"] {
            std::fs::write(run.path().join(name), "").expect("written");
        }
        let fleet = Fleet::new(run.path().to_owned(), Vec::new());
        fleet.discover();
        let mut found = names(&fleet);
        found.sort();
        assert_eq!(found, ["a", "b"]);
    }

    #[test]
    fn a_mirror_out_of_the_view_stays_known_and_comes_last() {
        let fleet = Fleet::new("run".into(), Vec::new());
        fleet.follow(&view(3, &["a", "b"]));
        fleet.follow(&view(4, &["b"]));
        assert_eq!(names(&fleet), ["b", "a"]);
        assert_eq!(names(&fleet), ["b", "a"]);
        fleet.follow(&view(4, &[]));
        assert_eq!(names(&fleet).len(), 2);
    }

    #[test]
    fn how_a_mirror_answers_weighs_more_than_the_view() {
        let fleet = Fleet::new("run".into(), Vec::new());
        fleet.follow(&view(3, &["a", "b", "c"]));
        let order = fleet.order();
        let of = |name: &str| order.iter().find(|m| m.name() == name).expect(name).clone();
        of("a").set_health(Health::Silent);
        of("b").set_health(Health::Lapsed);
        of("c").set_health(Health::Serving);
        assert_eq!(names(&fleet), ["c", "b", "a"]);
    }

    #[test]
    fn a_view_can_name_no_other_file() {
        let fleet = Fleet::new("run".into(), Vec::new());
        fleet.follow(&view(3, &["../x", "", "a"]));
        assert_eq!(names(&fleet), ["a"]);
    }
}
