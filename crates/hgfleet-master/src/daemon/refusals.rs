//! Why pushes were refused, for who asks afterwards. A server forgets it with its end.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use hgfleet_log::RepositoryName;

use crate::clock::unix_ms;
use crate::protocol::RefusedPush;

/// Repositories of which the last refusal is kept.
const REPOSITORIES_MAX: usize = 1000;
/// Longest text that is kept, in characters.
const TEXT_MAX: usize = 2000;

/// A letter as it may be printed on others' terminals: what moves the cursor, or turns what follows around, is escaped.
fn printable(letter: char) -> impl Iterator<Item = char> {
    let is_plain = matches!(letter, '\n' | '"' | '\'' | '\\') || letter.escape_debug().count() == 1;
    let escaped = (!is_plain).then(|| letter.escape_debug());
    is_plain.then_some(letter).into_iter().chain(escaped.into_iter().flatten())
}

/// The last refusal of each repository.
#[derive(Debug, Default)]
pub(crate) struct Refusals(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    last: HashMap<RepositoryName, RefusedPush>,
    /// In the order in which they came to be there.
    order: VecDeque<RepositoryName>,
}

impl Refusals {
    /// Keeps one.
    pub(crate) fn add(&self, name: &RepositoryName, who: &str, text: &str) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let text = text.trim_end().chars().take(TEXT_MAX).flat_map(printable).collect();
        let refused = RefusedPush { who: who.to_owned(), at_ms: unix_ms(), text };
        if kept.last.insert(name.clone(), refused).is_none() {
            kept.order.push_back(name.clone());
        }
        if kept.order.len() > REPOSITORIES_MAX
            && let Some(oldest) = kept.order.pop_front()
        {
            kept.last.remove(&oldest);
        }
    }

    /// Returns the last one.
    pub(crate) fn last(&self, name: &RepositoryName) -> Option<RefusedPush> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).last.get(name).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_will_read_is_short_and_plain() {
        let refusals = Refusals::default();
        let name = RepositoryName::parse("a").unwrap();
        let text = |text: &str| {
            refusals.add(&name, "a@b", text);
            refusals.last(&name).map(|refused| refused.text).unwrap_or_default()
        };
        assert_eq!(text("refused: \"x\", on a\\b.\n  é ü\n"), "refused: \"x\", on a\\b.\n  é ü");
        assert_eq!(text("a\x1b[2J\r\u{202e}\u{9b}\0"), "a\\u{1b}[2J\\r\\u{202e}\\u{9b}\\0");
        assert_eq!(text(&"x".repeat(10_000)).len(), TEXT_MAX);
    }

    #[test]
    fn the_last_one_is_kept_of_so_many_repositories() {
        let refusals = Refusals::default();
        let name = |number: usize| RepositoryName::parse(format!("r{number}")).unwrap();
        for number in 0..=REPOSITORIES_MAX {
            refusals.add(&name(number), "a@b", "first");
            refusals.add(&name(number), "a@b", "second");
        }
        assert_eq!(refusals.last(&name(0)), None);
        assert_eq!(refusals.last(&name(1)).map(|refused| refused.text).as_deref(), Some("second"));
    }
}
