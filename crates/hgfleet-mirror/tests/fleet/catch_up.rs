//! How fast a mirror catches up. Figures, no bounds: `cargo test --release -p hgfleet-mirror --test fleet catch_up -- --ignored --nocapture`.

use std::time::{Duration, Instant};

use super::data;
use super::master::Master;
use super::support::*;

/// Records of each repository, and repositories.
const RECORDS: usize = 400;
const REPOSITORIES: usize = 8;
/// Bytes of the large repositories' content, which does not compress.
const LARGE_BYTES: usize = 150 << 20;

#[test]
#[ignore = "a measure"]
fn catch_up_in_records_and_bytes() {
    let folder = data();
    let data = folder.path();
    let master = Master::start(data);
    let mut works = Vec::new();
    for number in 0..REPOSITORIES {
        let mut work = Work::new(data.join("work").join(number.to_string()));
        work.commit();
        master.take(&format!("small{number}"), &work.path);
        works.push(work);
    }
    // A bookmark that moves is as small as a record gets; stock `hg` would take minutes to commit so often.
    let mut last = None;
    for record in 0..RECORDS {
        for (number, work) in works.iter().enumerate() {
            std::fs::write(work.path.join(".hg/bookmarks"), format!("{:040x} mark{record}\n", 0)).expect("written");
            last = Some(master.take(&format!("small{number}"), &work.path));
        }
    }
    let seconds = follow(&master, data, "mirror-1", last.expect("records"));
    println!("{:.0} small records a second", (RECORDS * REPOSITORIES) as f64 / seconds);

    let mut seed = 1u64;
    let mut content = vec![0; LARGE_BYTES];
    content.chunks_exact_mut(8).for_each(|bytes| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.copy_from_slice(&(seed ^ seed >> 29).to_le_bytes());
    });
    for number in 0..2 {
        let work = Work::new(data.join("work").join(format!("large{number}")));
        std::fs::write(work.path.join("file"), &content).expect("written");
        hg_ok(&["-R", text(&work.path), "commit", "-A", "-q", "-m", "large"]);
        last = Some(master.take(&format!("large{number}"), &work.path));
    }
    let seconds = follow(&master, data, "mirror-1", last.expect("records"));
    println!("{:.0} MB a second of large records", (2 * LARGE_BYTES) as f64 / 1e6 / seconds);
}

/// Starts a mirror and waits until it has applied `last`; seconds.
fn follow(master: &Master, data: &std::path::Path, name: &str, last: hgfleet_log::Sequence) -> f64 {
    if master.view().is_none() {
        master.see(last);
    }
    let begun = Instant::now();
    let mirror = Mirror::start(name, data);
    let deadline = begun + Duration::from_secs(300);
    let wanted = format!("\nposition {last}\n");
    while !mirror.ask("/healthz", None).body().contains(&wanted) {
        assert!(Instant::now() < deadline, "{:?}", master.member(name));
        master.see(last);
        std::thread::sleep(Duration::from_millis(20));
    }
    begun.elapsed().as_secs_f64()
}
