//! A push as bundle2.

use super::transaction::{self, NotTaken, Taken};
use super::{AfterPush, PushFailure, reply};
use crate::bundle2_reader::{Bundle2Reader, BundleLimits};
use crate::decompression::ExpansionLimits;
use crate::host::Host;
use std::fs::File;
use std::io::{self, BufReader, Write};

/// Bytes of the bundle read at a time.
const READ_BYTES: usize = 128 << 10;

/// Takes the bundle and returns a bundle2 that says what became of it.
pub(super) fn take(
    bundle: Result<File, String>,
    messages: &mut dyn Write,
    host: &mut dyn Host,
) -> io::Result<(Vec<u8>, AfterPush)> {
    let taken = bundle.map_err(|text| NotTaken::from(PushFailure::abort(text)));
    let taken = taken.and_then(|bundle| apply(bundle, messages, host));
    match taken.map_err(|not_taken| not_taken.noted(host)) {
        Ok(Taken { value: replies, after }) => Ok((reply::success(&replies)?, after)),
        Err(NotTaken { failure, after }) => Ok((reply::failure(&failure, messages)?, after)),
    }
}

fn apply(
    bundle: File,
    messages: &mut dyn Write,
    host: &mut dyn Host,
) -> Result<Taken<Vec<crate::bundle2_writer::PartHeader>>, NotTaken> {
    let limits = BundleLimits {
        expansion: ExpansionLimits { bytes_max: host.push_limits().bundle_bytes_max, ..ExpansionLimits::default() },
        ..BundleLimits::default()
    };
    let input = BufReader::with_capacity(READ_BYTES, bundle);
    let mut bundle = Bundle2Reader::open(input, limits).map_err(PushFailure::from)?;
    transaction::run(messages, host, |application, messages| {
        while let Some(mut part) = bundle.next_part()? {
            application.apply(&mut part, messages)?;
        }
        Ok(std::mem::take(&mut application.replies))
    })
}
