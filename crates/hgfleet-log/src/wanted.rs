//! Reading one's push: a request may name the record that its answer must have.
//!
//! It does so with the header `X-Hgfleet-Sequence` or the query parameter `hgfleet-sequence`, a sequence in decimal, and may say with
//! `X-Hgfleet-Timeout` or `hgfleet-timeout` how many seconds it waits at most.

use std::time::Duration;

use http::{HeaderMap, Uri};

use crate::ids::Sequence;

const SEQUENCE_HEADER: &str = "x-hgfleet-sequence";
const TIMEOUT_HEADER: &str = "x-hgfleet-timeout";
const SEQUENCE_PARAMETER: &str = "hgfleet-sequence";
const TIMEOUT_PARAMETER: &str = "hgfleet-timeout";

/// How long a request waits that does not say.
const WAIT: Duration = Duration::from_secs(10);
/// The longest that one waits, whatever it says.
const WAIT_SECONDS_MAX: f64 = 60.0;

/// What a request wants to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The record that the answer must have.
    pub sequence: Sequence,
    /// How long the request waits for it, at most.
    pub wait: Duration,
}

impl Wanted {
    /// Reads it from a request's head, and takes its parameters out of the target, which nobody behind knows.
    ///
    /// # Errors
    /// One line that says what can't be.
    pub fn take(headers: &HeaderMap, target: &mut Uri) -> Result<Option<Wanted>, &'static str> {
        let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
        let wanted = Wanted::parse(header(SEQUENCE_HEADER), header(TIMEOUT_HEADER), target.query())?;
        if let Some(rest) = target.path_and_query().and_then(|target| without_parameters(target.as_str())) {
            *target = rest.parse().map_err(|_| "the address is malformed")?;
        }
        Ok(wanted)
    }

    /// Reads it from the two headers' values and the query. Where both name something, the header counts.
    fn parse(
        sequence: Option<&str>,
        timeout: Option<&str>,
        query: Option<&str>,
    ) -> Result<Option<Wanted>, &'static str> {
        let parameter = |wanted: &str| {
            let mut parameters = query?.split('&').filter_map(|one| one.split_once('='));
            parameters.find(|(name, _)| *name == wanted).map(|(_, value)| value)
        };
        let Some(sequence) = sequence.or_else(|| parameter(SEQUENCE_PARAMETER)) else { return Ok(None) };
        let number = sequence.parse().ok().and_then(Sequence::new);
        let sequence = number.ok_or("the wanted sequence is not a record's number")?;
        let wait = match timeout.or_else(|| parameter(TIMEOUT_PARAMETER)) {
            None => WAIT,
            Some(seconds) => {
                let seconds = seconds.parse::<f64>().ok().filter(|seconds| seconds.is_finite() && *seconds >= 0.0);
                let seconds = seconds.ok_or("the time limit is not a number of seconds")?;
                Duration::from_secs_f64(seconds.min(WAIT_SECONDS_MAX))
            }
        };
        Ok(Some(Wanted { sequence, wait }))
    }

    /// Returns what whoever waited in vain is told, in one line.
    pub fn not_yet(&self, shown: Option<Sequence>) -> String {
        let shown = shown.map_or(0, Sequence::get);
        format!("record {} is not visible yet, the fleet shows {shown}: ask again in a moment", self.sequence)
    }
}

/// Returns a path and query without these parameters; none where there are none in it.
fn without_parameters(path_and_query: &str) -> Option<String> {
    let (path, query) = path_and_query.split_once('?')?;
    let is_ours = |one: &&str| {
        let name = one.split_once('=').map_or(*one, |(name, _)| name);
        name == SEQUENCE_PARAMETER || name == TIMEOUT_PARAMETER
    };
    if !query.split('&').any(|one| is_ours(&one)) {
        return None;
    }
    let kept: Vec<&str> = query.split('&').filter(|one| !is_ours(one)).collect();
    Some(if kept.is_empty() { path.to_owned() } else { format!("{path}?{}", kept.join("&")) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_names_a_record_by_header_or_query() {
        let at = |sequence, seconds: f64| {
            let sequence = Sequence::new(sequence).expect("a sequence");
            Ok(Some(Wanted { sequence, wait: Duration::from_secs_f64(seconds) }))
        };
        assert_eq!(Wanted::parse(None, None, None), Ok(None));
        assert_eq!(Wanted::parse(None, Some("3"), Some("cmd=heads")), Ok(None));
        assert_eq!(Wanted::parse(Some("7"), None, Some("hgfleet-sequence=8")), at(7, 10.0));
        assert_eq!(Wanted::parse(None, None, Some("a&hgfleet-sequence=8&hgfleet-timeout=0.5")), at(8, 0.5));
        assert_eq!(Wanted::parse(Some("7"), Some("1e9"), None), at(7, 60.0));
        for (sequence, timeout) in
            [("0", "1"), ("x", "1"), ("-1", "1"), ("", "1"), ("7", "soon"), ("7", "-1"), ("7", "NaN")]
        {
            assert!(Wanted::parse(Some(sequence), Some(timeout), None).is_err(), "{sequence} {timeout}");
        }
    }

    #[test]
    fn the_rest_of_a_query_stays_as_it_is() {
        assert_eq!(without_parameters("/a?cmd=heads"), None);
        assert_eq!(without_parameters("/hgfleet-sequence=3"), None);
        assert_eq!(without_parameters("/a?hgfleet-sequence=3").as_deref(), Some("/a"));
        assert_eq!(without_parameters("/a?x=%20&hgfleet-sequence=3&y").as_deref(), Some("/a?x=%20&y"));
        assert_eq!(without_parameters("/a?hgfleet-timeout&b").as_deref(), Some("/a?b"));
    }
}
