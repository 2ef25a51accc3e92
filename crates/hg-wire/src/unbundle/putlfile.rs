//! `putlfile` over SSH: a largefile comes in, before the changesets whose standins name it. It is a push of its own.
//!
//! ```text
//! S: 0 LF: send it         or: length LF text: it is not taken
//! C: chunks as in a push   S: 0 LF, "1" LF, "0": it is here now, "1": it isn't
//! ```

use super::receive::{Received, no_room, receive};
use super::transaction::{NotTaken, Taken, run};
use super::{AfterPush, PushFailure, PushIoError, refuse_payload, reply};
use crate::CommandError;
use crate::commands::largefiles;
use crate::host::Host;
use hg_store::largefiles::LargefileHash;
use std::fs::File;
use std::io::{BufRead, Write};

/// The reply of a command that worked; 1 is one that didn't.
const STORED: i64 = 0;

/// Serves the command from its argument `sha` on.
///
/// # Errors
/// Only where the session can't go on. A file that is not taken is answered.
pub(crate) fn serve(
    sha: &[u8],
    input: &mut dyn BufRead,
    output: &mut dyn Write,
    messages: &mut dyn Write,
    host: &mut dyn Host,
) -> Result<AfterPush, PushIoError> {
    let named = host.snapshot().map_err(CommandError::from).and_then(|snapshot| {
        let hash = largefiles::hash(&snapshot, sha)?;
        Ok((hash, snapshot.repository().largefile(hash)?.is_some()))
    });
    let (hash, is_here) = match named {
        Ok(named) => named,
        Err(error) => return refuse_payload(output, host, &error.client_text()),
    };
    let spool = host.spool().map_err(|error| no_room(&error));
    output.write_all(b"0\n")?;
    output.flush()?;
    let Received { file, .. } = receive(input, spool, host.push_limits().bundle_bytes_max)?;
    let taken = match (is_here, file) {
        (true, _) => Ok(Taken { value: (), after: AfterPush::Continue }),
        (false, Err(text)) => Err(NotTaken::from(PushFailure::abort(text)).noted(host)),
        (false, Ok(file)) => take(hash, file, messages, host),
    };
    let (result, after) = match taken {
        Ok(Taken { after, .. }) => (STORED, after),
        Err(NotTaken { failure, after }) => {
            writeln!(messages, "{}", failure.line())?;
            (1, after)
        }
    };
    messages.flush()?;
    output.write_all(&reply::bundle1(result))?;
    output.flush()?;
    Ok(after)
}

/// Stores the file. What is said meanwhile is told only where it fails: a push has many of them, perhaps.
fn take(
    hash: LargefileHash,
    mut file: File,
    messages: &mut dyn Write,
    host: &mut dyn Host,
) -> Result<Taken<()>, NotTaken> {
    let mut said = Vec::new();
    let taken = run(&mut said, host, |application, _| {
        application.preparation.add_largefile(hash, &mut file)?;
        Ok(())
    });
    taken.map_err(|not_taken| {
        let _ = messages.write_all(&said);
        not_taken.noted(host)
    })
}
