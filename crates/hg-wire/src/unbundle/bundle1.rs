//! A push as bundle1: one changegroup of version 01, and for an answer one number.

use super::failure::BROKEN;
use super::race::ExpectedHeads;
use super::transaction::{self, NotTaken, Taken};
use super::{AfterPush, PushFailure, reply};
use crate::changegroup_reader::{ChangegroupReader, ChangegroupVersion};
use crate::commands::{BUNDLE2_REQUIRED, bundle1_is_spoken};
use crate::decompression::{Compression, Decompressor, ExpansionLimits};
use crate::error::shown;
use crate::host::Host;
use hg_store::Bundle1Action;
use std::fs::File;
use std::io::{self, BufReader, Seek, SeekFrom, Write};

/// What a client reads in place of the invitation to send its payload.
pub(super) const RACED_EARLY: &str = "repository changed while preparing changes - please try again";
/// What a client reads in place of the result, its payload having been received.
const RACED: &str = "repository changed while uploading changes - please try again";
/// Bytes of the bundle read at a time.
const READ_BYTES: usize = 128 << 10;

/// How the changegroup lies in the bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Form {
    /// Bytes before it.
    header_bytes: u64,
    compression: Compression,
}

impl Form {
    /// The form of a bundle that starts with these bytes; or why it is none, in stock's words.
    pub(super) fn of(start: &[u8]) -> Result<Form, String> {
        if start.len() < 4 {
            return Err(format!("stream ended unexpectedly (got {} bytes, expected 4)", start.len()));
        }
        let packed = |compression| Ok(Form { header_bytes: 6, compression });
        match start {
            // Without a header, as clients send it: the first chunk's length, which is below 16 MiB.
            [0, ..] => Ok(Form { header_bytes: 0, compression: Compression::None }),
            b"HG10UN" => packed(Compression::None),
            b"HG10GZ" => packed(Compression::Zlib),
            b"HG10BZ" => packed(Compression::Bzip2AfterMagic),
            [b'H', b'G', b'1', b'0', kind @ ..] => Err(format!("unknown compression type {}", shown(kind))),
            [b'H', b'G', version @ ..] => Err(format!("stream: unknown bundle version {}", shown(&version[..2]))),
            _ => Err("stream: not a Mercurial bundle".into()),
        }
    }
}

/// Takes the bundle and returns what a client of bundle1 gets.
pub(super) fn take(
    bundle: Result<File, String>,
    form: Form,
    expected: &ExpectedHeads,
    messages: &mut dyn Write,
    host: &mut dyn Host,
) -> io::Result<(Vec<u8>, AfterPush)> {
    let taken = bundle.map_err(|text| NotTaken::from(PushFailure::abort(text)));
    let taken = taken.and_then(|bundle| apply(bundle, form, expected, messages, host));
    match taken.map_err(|not_taken| not_taken.noted(host)) {
        Ok(Taken { value: result, after }) => Ok((reply::bundle1(result), after)),
        Err(NotTaken { failure: PushFailure::Raced(text), after }) => Ok((reply::text(&text), after)),
        Err(NotTaken { failure, after }) => {
            writeln!(messages, "{}", failure.line())?;
            if let PushFailure::Abort { hint: Some(hint), .. } = &failure {
                writeln!(messages, "({hint})")?;
            }
            Ok((reply::bundle1(0), after))
        }
    }
}

fn apply(
    mut bundle: File,
    form: Form,
    expected: &ExpectedHeads,
    messages: &mut dyn Write,
    host: &mut dyn Host,
) -> Result<Taken<i64>, NotTaken> {
    let unread = |error: io::Error| PushFailure::refused(error, "in the bundle", BROKEN);
    bundle.seek(SeekFrom::Start(form.header_bytes)).map_err(unread)?;
    let expansion = ExpansionLimits { bytes_max: host.push_limits().bundle_bytes_max, ..ExpansionLimits::default() };
    let input = BufReader::with_capacity(READ_BYTES, bundle);
    let input = BufReader::new(Decompressor::new(input, form.compression, expansion).map_err(unread)?);
    transaction::run(messages, host, |application, messages| {
        if !bundle1_is_spoken(application.snapshot, Bundle1Action::Push) {
            let (message, hint) = BUNDLE2_REQUIRED.split_once('\n').unwrap_or((BUNDLE2_REQUIRED, ""));
            let hint = hint.trim_matches(['(', ')']).to_owned();
            return Err(PushFailure::Abort { message: message.to_owned(), hint: Some(hint) });
        }
        // Stock looks at what it remembers from before, and so lets two such pushes pass each other; here the lock decides.
        if !expected.hold(application.snapshot).map_err(PushFailure::store)? {
            return Err(PushFailure::Raced(RACED.into()));
        }
        let reader = ChangegroupReader::new(input, ChangegroupVersion::V1, application.limits);
        application.check_format(false)?;
        Ok(application.add_changegroup(reader, messages)?.return_code())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_is_known_by_its_first_bytes() {
        let form = |header_bytes, compression| Ok(Form { header_bytes, compression });
        assert_eq!(Form::of(b"\0\0\0\0\0\0"), form(0, Compression::None));
        assert_eq!(Form::of(b"HG10UN"), form(6, Compression::None));
        assert_eq!(Form::of(b"HG10GZ"), form(6, Compression::Zlib));
        assert_eq!(Form::of(b"HG10BZ"), form(6, Compression::Bzip2AfterMagic));
        for (start, text) in [
            (b"".as_slice(), "stream ended unexpectedly (got 0 bytes, expected 4)"),
            (b"HG", "stream ended unexpectedly (got 2 bytes, expected 4)"),
            (b"XXXX", "stream: not a Mercurial bundle"),
            (b"HG99UN", "stream: unknown bundle version 99"),
            (b"HG10XX", "unknown compression type XX"),
            (b"HG10", "unknown compression type "),
        ] {
            assert_eq!(Form::of(start), Err(text.to_owned()));
        }
    }
}
