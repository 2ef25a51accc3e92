//! The list of all repositories.

use crate::Page;
use maud::{Markup, html};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// A repository's name, and where it is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositoryLine {
    /// The name; empty when the server has but one repository.
    pub name: String,
    /// Where it is cloned from.
    pub clone_address: Option<String>,
    /// Where it is pushed to.
    pub push_address: Option<String>,
    /// How the path of a page begins: nothing, or `/` and words.
    pub prefix: String,
}

const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Returns a repository's name as it is in a URL's path.
pub fn url_path(name: &str) -> String {
    utf8_percent_encode(name, PATH).to_string()
}

/// Returns the commands by which a repository is cloned.
pub(crate) fn clone_commands(line: &RepositoryLine) -> Markup {
    html! {
        @if let Some(address) = &line.clone_address { div { code { "hg clone " (address) } } }
        @if let Some(address) = &line.push_address { div { code { "hg clone " (address) } " " span.aside { "to push" } } }
    }
}

/// Returns the page with all repositories.
pub fn repositories(lines: &[RepositoryLine]) -> Page {
    Page::html(
        200,
        "Repositories",
        &html! {
            h1 { "Repositories" }
            @if lines.is_empty() {
                p { "There is no repository yet." }
            } @else {
                table {
                    @for line in lines {
                        tr {
                            td { a href={ (line.prefix) "/" (url_path(&line.name)) } { (line.name) } }
                            td { (clone_commands(line)) }
                        }
                    }
                }
            }
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_in_links_and_in_text() {
        let line = RepositoryLine {
            name: "a\"onmouseover=<b>".to_owned(),
            clone_address: Some("http://h/<i>".to_owned()),
            push_address: None,
            prefix: String::new(),
        };
        let body = String::from_utf8(repositories(&[line]).body).expect("UTF-8");
        assert!(body.contains("href=\"/a%22onmouseover%3D%3Cb%3E\""), "{body}");
        assert!(!body.contains("<b>") && !body.contains("<i>"));
    }
}
