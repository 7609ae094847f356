//! What a browser is shown instead of a program: who you are is not known, it sleeps, it starts, nothing listens.
//!
//! A program's client that wants no page gets the same as a sentence.

use axum::http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reeve_types::Digest;

/// Says what kind of page it is, for clients that cannot read: `asleep`, `starting`, `nothing_listens`.
const X_PREVIEW: HeaderName = HeaderName::from_static("x-reeve-preview");
/// Where the button of the page for a sleeping workspace leads.
pub(crate) const START_PATH: &str = "/__reeve/start";
/// How often a page that waits looks again, in seconds.
const AGAIN_SECS: u32 = 2;

const STYLE: &str = "html{color-scheme:light dark}body{margin:0;min-height:100vh;display:grid;place-items:center;\
    font:16px/1.5 system-ui,sans-serif;color:#1f2328;background:#f6f7f9}main{max-width:30rem;padding:2rem}\
    h1{font-size:1.35rem;margin:0 0 .5rem}p{margin:.5rem 0;color:#57606a}code{font-family:ui-monospace,monospace;font-size:.92em}\
    button,a.b{display:inline-block;font:inherit;margin-top:1rem;padding:.5rem 1.1rem;border:0;border-radius:.4rem;\
    background:#1f6feb;color:#fff;text-decoration:none;cursor:pointer}\
    @media(prefers-color-scheme:dark){body{color:#e6edf3;background:#0f1216}p{color:#9aa4af}}";

/// What is shown instead of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Page {
    /// There is no such preview.
    Unknown,
    /// The browser has no pass, or it has ended. `platform` is where one is given.
    NotSignedIn { platform: Option<String> },
    /// The request comes from a page that has no business here.
    Foreign,
    /// The workspace does not run. `start` is the path of the button.
    Asleep { state: String, start: Option<String> },
    /// The workspace is on its way.
    Starting,
    /// The workspace runs, and nothing listens on the port.
    NothingListens { port: u16 },
    /// A program listens, and does not speak HTTP, or broke off.
    BrokeOff { port: u16 },
    /// A program listens, and did not answer in time.
    TooSlow { port: u16 },
    /// Policy or people stand before it.
    Refused { status: u16, said: String },
}

impl Page {
    fn status(&self) -> StatusCode {
        match self {
            Self::Unknown => StatusCode::NOT_FOUND,
            Self::NotSignedIn { .. } => StatusCode::UNAUTHORIZED,
            Self::Foreign => StatusCode::FORBIDDEN,
            Self::Asleep { .. } | Self::Starting => StatusCode::SERVICE_UNAVAILABLE,
            Self::NothingListens { .. } | Self::BrokeOff { .. } => StatusCode::BAD_GATEWAY,
            Self::TooSlow { .. } => StatusCode::GATEWAY_TIMEOUT,
            Self::Refused { status, .. } => StatusCode::from_u16(*status).unwrap_or(StatusCode::FORBIDDEN),
        }
    }

    fn word(&self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::NotSignedIn { .. } => "not_signed_in",
            Self::Foreign => "foreign",
            Self::Asleep { .. } => "asleep",
            Self::Starting => "starting",
            Self::NothingListens { .. } => "nothing_listens",
            Self::BrokeOff { .. } => "broke_off",
            Self::TooSlow { .. } => "too_slow",
            Self::Refused { .. } => "refused",
        }
    }

    /// The heading, and what to do in a sentence or two.
    fn words(&self) -> (&'static str, String) {
        match self {
            Self::Unknown => (
                "There is no such preview",
                "The address names no workspace and port. Open the preview from the workspace's ports.".to_owned(),
            ),
            Self::NotSignedIn { .. } => (
                "This preview is private",
                "Your browser has no pass for it, or the pass has ended. Open it again from the workspace.".to_owned(),
            ),
            Self::Foreign => (
                "Another page may not reach this preview",
                "The request came from a page of another workspace or site.".to_owned(),
            ),
            Self::Asleep { state, .. } => (
                "The workspace is asleep",
                format!("It is {state}. Its files are safe; start it, then start the program that serves this page."),
            ),
            Self::Starting => ("The workspace is starting", "This page looks again by itself in a moment.".to_owned()),
            Self::NothingListens { port } => (
                "Nothing listens on this port yet",
                format!("Start a program that listens on port {port}. This page looks again by itself."),
            ),
            Self::BrokeOff { port } => (
                "The program broke off",
                format!(
                    "What listens on port {port} closed the connection, or does not speak HTTP. Look at its output."
                ),
            ),
            Self::TooSlow { port } => (
                "The program did not answer in time",
                format!("What listens on port {port} took the request and said nothing. Look at its output."),
            ),
            Self::Refused { said, .. } => ("This is not possible now", said.clone()),
        }
    }

    /// Whether looking again may show something else.
    fn looks_again(&self) -> bool {
        matches!(self, Self::Starting | Self::NothingListens { .. })
    }

    fn button(&self) -> String {
        match self {
            Self::Asleep { start: Some(path), .. } => {
                format!("<form method=\"post\" action=\"{}\"><button>Start the workspace</button></form>", escape(path))
            }
            Self::NotSignedIn { platform: Some(url) } => {
                format!("<a class=\"b\" href=\"{}\" target=\"_top\" rel=\"noreferrer\">Open Reeve</a>", escape(url))
            }
            _ => String::new(),
        }
    }

    fn html(&self) -> String {
        let (heading, words) = self.words();
        let again = if self.looks_again() {
            format!("<meta http-equiv=\"refresh\" content=\"{AGAIN_SECS}\">")
        } else {
            String::new()
        };
        format!(
            "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
             {again}<title>{heading}</title><style>{STYLE}</style></head><body><main><h1>{heading}</h1><p>{}</p>{}</main></body></html>\n",
            escape(&words),
            self.button(),
        )
    }

    /// The answer: a page where one is wanted, a sentence elsewhere.
    pub(crate) fn answer(&self, request: &HeaderMap) -> Response {
        let wants_page =
            request.get(ACCEPT).and_then(|v| v.to_str().ok()).is_some_and(|text| text.contains("text/html"));
        let (kind, text) = if wants_page {
            ("text/html; charset=utf-8", self.html())
        } else {
            let (heading, words) = self.words();
            ("text/plain; charset=utf-8", format!("{heading}. {words}\n"))
        };
        let mut response = (self.status(), text).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        headers.insert(X_PREVIEW, HeaderValue::from_static(self.word()));
        if self.looks_again() {
            headers.insert(RETRY_AFTER, HeaderValue::from(AGAIN_SECS));
        }
        let style = STANDARD.encode(Digest::of(STYLE.as_bytes()).as_bytes());
        let policy = format!("default-src 'none'; style-src 'sha256-{style}'; form-action 'self'; base-uri 'none'");
        if let Ok(policy) = HeaderValue::from_str(&policy) {
            headers.insert(CONTENT_SECURITY_POLICY, policy);
        }
        response
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn html() -> HeaderMap {
        HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("text/html,*/*"))])
    }

    #[test]
    fn a_page_that_waits_looks_again_and_the_others_do_not() {
        for (page, again) in [
            (Page::Starting, true),
            (Page::NothingListens { port: 80 }, true),
            (Page::Unknown, false),
            (Page::Asleep { state: "suspended".to_owned(), start: Some(START_PATH.to_owned()) }, false),
        ] {
            assert_eq!(page.html().contains("http-equiv=\"refresh\""), again, "{page:?}");
            assert_eq!(page.answer(&html()).headers().contains_key(RETRY_AFTER), again);
        }
    }

    #[test]
    fn a_sleeping_workspace_can_be_started_from_its_page() {
        let page = Page::Asleep { state: "suspended".to_owned(), start: Some(START_PATH.to_owned()) };
        assert!(page.html().contains("<form method=\"post\" action=\"/__reeve/start\">"));
        assert_eq!(page.answer(&html()).status(), 503);
    }

    #[test]
    fn what_is_said_cannot_become_markup() {
        let page = Page::Refused { status: 403, said: "<script>alert(1)</script>".to_owned() };
        assert!(!page.html().contains("<script"));
        let kind = page.answer(&HeaderMap::new()).headers()[CONTENT_TYPE].clone();
        assert_eq!(kind, "text/plain; charset=utf-8");
    }
}
