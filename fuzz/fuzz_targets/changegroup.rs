//! Reads any bytes as a changegroup whose version the first one says, to its end or to the first error. `cargo +nightly fuzz run changegroup`
#![no_main]

use hg_store::prepare::{Incoming, IncomingChangegroup};
use hg_wire::changegroup_reader::{ChangegroupLimits, ChangegroupReader, ChangegroupVersion};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((version, rest)) = bytes.split_first() else { return };
    let version = [ChangegroupVersion::V1, ChangegroupVersion::V2, ChangegroupVersion::V3][usize::from(version % 3)];
    let mut changegroup = ChangegroupReader::new(rest, version, ChangegroupLimits::default());
    while let Ok(piece) = changegroup.next() {
        if piece == Incoming::End {
            return;
        }
    }
});
