//! What one check found, and how a client reads it.

use hg_store::Node;

use crate::shown::shown;

/// Places that are listed; of the others only the number is told.
const LISTED_MAX: usize = 20;

/// Where something was found, and what; bounded, however much there is.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    listed: Vec<String>,
    count: usize,
}

impl Findings {
    /// Adds one in words.
    pub(crate) fn add(&mut self, place: impl FnOnce() -> String) {
        if self.listed.len() < LISTED_MAX {
            self.listed.push(place());
        }
        self.count += 1;
    }

    /// Adds a changeset.
    pub(crate) fn changeset(&mut self, node: Node) {
        self.add(|| format!("changeset {}", short(&node)));
    }

    /// Adds a file of a changeset.
    pub(crate) fn file(&mut self, node: Node, path: &[u8]) {
        self.add(|| format!("changeset {}, file {}", short(&node), shown(path)));
    }

    /// Forgets all.
    pub(crate) fn clear(&mut self) {
        *self = Findings::default();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The text for the client, if there is anything: what is wrong, on which repository, what to do; and a list where there is more
    /// than one place.
    pub(crate) fn text(&self, what: &str, repository: &str, remedy: &str) -> Option<String> {
        match &self.listed[..] {
            [] => None,
            [place] => Some(format!("refused: {what} ({place}), on {repository}. {remedy}")),
            places => {
                let mut text = format!("refused: {what} ({} times), on {repository}. {remedy}", self.count);
                for place in places {
                    text.push_str("\n  ");
                    text.push_str(place);
                }
                if self.count > places.len() {
                    text.push_str(&format!("\n  and {} more", self.count - places.len()));
                }
                Some(text)
            }
        }
    }
}

/// A changeset's name as people write it: 12 digits.
pub(crate) fn short(node: &Node) -> String {
    let mut hex = node.to_string();
    hex.truncate(12);
    hex
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_cut_and_says_so() {
        let mut findings = Findings::default();
        assert_eq!(findings.text("links", "a", "Don't"), None);
        findings.file(Node::new([0xab; 20]), b"x/y");
        let one = "refused: links (changeset abababababab, file x/y), on a. Don't";
        assert_eq!(findings.text("links", "a", "Don't").as_deref(), Some(one));
        for _ in 0..30 {
            findings.changeset(Node::new([1; 20]));
        }
        let text = findings.text("links", "a", "Don't").expect("a text");
        assert!(
            text.starts_with("refused: links (31 times), on a. Don't\n  changeset abababababab, file x/y\n"),
            "{text}"
        );
        assert!(text.ends_with("\n  and 11 more"), "{text}");
        assert_eq!(text.lines().count(), 22);
    }
}
