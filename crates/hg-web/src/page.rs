//! A page, and what is around the content of each.

use maud::{DOCTYPE, Markup, PreEscaped, html};

/// A page that is ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The status code.
    pub status: u16,
    /// Header names (lower case) and values, among them the media type.
    pub headers: Vec<(&'static str, &'static str)>,
    /// The body.
    pub body: Vec<u8>,
}

const STYLE: &str = "body{font:16px/1.4 system-ui,sans-serif;max-width:70em;margin:2em auto;padding:0 1em;color:#222}\
code{background:#f2f2f2;padding:.1em .3em;user-select:all}table{border-collapse:collapse;width:100%}\
td,th{text-align:left;vertical-align:top;padding:.2em .8em .2em 0;border-bottom:1px solid #ddd}\
h2{margin-top:2em}.aside{color:#666}a{color:#05a}";

/// Nothing is fetched or run from a page, and none is shown inside another's.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

impl Page {
    /// Returns a page of HTML.
    pub(crate) fn html(status: u16, title: &str, content: &Markup) -> Page {
        let document = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width";
                    title { (title) }
                    style { (PreEscaped(STYLE)) }
                }
                body { (content) }
            }
        };
        Page {
            status,
            headers: vec![
                ("content-type", "text/html; charset=utf-8"),
                ("content-security-policy", POLICY),
                ("x-content-type-options", "nosniff"),
                ("referrer-policy", "same-origin"),
            ],
            body: document.into_string().into_bytes(),
        }
    }
}

/// Returns a page that says what is wrong.
pub fn error(status: u16, text: &str) -> Page {
    let title = format!("{status}: {text}");
    Page::html(
        status,
        &title,
        &html! {
            h1 { (title) }
            p { a href="/" { "All repositories" } }
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_an_error_is_escaped() {
        let body = String::from_utf8(error(404, "<script>").body).expect("UTF-8");
        assert!(body.contains("&lt;script&gt;") && !body.contains("<script>"));
    }
}
