//! The target that `TARGET` names, under libFuzzer: `tools/fuzz TARGET SECONDS`.

#![no_main]

use fuzz_targets::{Target, target};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static CHOSEN: LazyLock<Target> = LazyLock::new(|| target(&std::env::var("TARGET").expect("TARGET names one")));

fuzz_target!(|bytes: &[u8]| (CHOSEN.run)(bytes));
