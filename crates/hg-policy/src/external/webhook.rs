//! A server as a check: the description is sent there, and its status decides.

use std::io::Write;
use std::time::Instant;

use bounded_http::{Bounds, Url, post};

use super::description::Description;
use super::lines::Lines;
use super::{ExternalCheck, Said};

/// Bytes of an answer.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// The status that refuses.
const REFUSED: u16 = 403;

/// Asks. Any other status than 2xx and 403 is none that decides.
pub(super) fn ask(
    url: &Url,
    check: &ExternalCheck,
    description: &Description,
    messages: &mut dyn Write,
) -> Result<Said, String> {
    let begun = Instant::now();
    let body = description.json(None)?;
    let bounds = Bounds { time: check.time, body_bytes: ANSWER_BYTES_MAX };
    let answer = post(url, "application/json", body, bounds).map_err(|error| error.to_string())?;
    tracing::info!(
        check = check.name,
        status = answer.status.as_u16(),
        milliseconds = begun.elapsed().as_millis() as u64,
        "external check was asked"
    );
    let said = match answer.status {
        status if status.is_success() => Said::Yes,
        status if status.as_u16() == REFUSED => Said::No,
        status => return Err(format!("its status is {status}")),
    };
    let mut lines = Lines::new(&check.name, messages);
    lines.add(&answer.body);
    lines.finish();
    Ok(said)
}
