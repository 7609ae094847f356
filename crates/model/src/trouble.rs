//! Why one attempt failed, and whether another one may help.

use std::time::Duration;

use jiff::Timestamp;
use reeve_gate::model::ModelFailureKind;
use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serde_json::Value;

/// Longest text of a provider that is passed on.
const MAX_WORDS: usize = 300;

/// Whether asking the same model again may help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Again {
    Never,
    /// After a wait of our choice.
    Soon,
    /// After at least so long; the provider said so.
    After(Duration),
}

/// Why one attempt failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(crate) kind: ModelFailureKind,
    /// What the provider did, to be put after its name.
    pub(crate) what: String,
    pub(crate) again: Again,
}

impl Trouble {
    pub(crate) fn final_(kind: ModelFailureKind, what: impl Into<String>) -> Self {
        Self { kind, what: what.into(), again: Again::Never }
    }

    pub(crate) fn passing(kind: ModelFailureKind, what: impl Into<String>) -> Self {
        Self { kind, what: what.into(), again: Again::Soon }
    }

    pub(crate) fn malformed(what: impl Into<String>) -> Self {
        Self::final_(ModelFailureKind::Malformed, what)
    }

    /// The answer ended before it was complete.
    pub(crate) fn broke_off() -> Self {
        Self::passing(ModelFailureKind::Unreachable, "broke off in the middle of its answer")
    }

    /// An error in the middle of a stream, told as JSON.
    pub(crate) fn told(error: &Value) -> Self {
        let told = Told::read(error);
        let (kind, again) = told.judge(None);
        Self { kind, what: format!("broke off with an error{}", told.words()), again }
    }

    /// An answer that is no success.
    pub(crate) fn refused(status: StatusCode, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Self {
        let told = serde_json::from_slice(body).map(|value| Told::read(&value)).unwrap_or_else(|_| Told::plain(body));
        let (kind, mut again) = told.judge(Some(status));
        match headers.get("x-should-retry").map(|value| value.as_bytes()) {
            Some(b"true") if again == Again::Never => again = Again::Soon,
            Some(b"false") => again = Again::Never,
            _ => {}
        }
        if again != Again::Never
            && let Some(wait) = wait_of(headers, now).or(told.wait)
        {
            again = Again::After(wait);
        }
        // A provider that refuses a key likes to repeat part of it.
        let words = if kind == ModelFailureKind::Unauthorized { String::new() } else { told.words() };
        Self { kind, what: format!("answered {}{words}", status.as_u16()), again }
    }
}

/// How long the provider asks to wait: `retry-after-ms`, or `retry-after` as seconds or as a date.
fn wait_of(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let seconds = |seconds: f64| Duration::try_from_secs_f64(seconds).ok();
    if let Some(wait) = text("retry-after-ms").and_then(|ms| seconds(ms.parse::<f64>().ok()? / 1_000.0)) {
        return Some(wait);
    }
    let after = text("retry-after")?;
    if let Ok(number) = after.parse::<f64>() {
        return seconds(number);
    }
    let until = jiff::fmt::rfc2822::parse(after).ok()?.timestamp();
    Some(Duration::try_from(until.duration_since(now)).unwrap_or_default())
}

/// What a provider says of an error.
struct Told {
    /// Its type, code or status word.
    word: String,
    message: String,
    /// Its HTTP status, where the JSON names one.
    code: Option<u16>,
    wait: Option<Duration>,
}

impl Told {
    /// Understands `{"error": {…}}`, `[{"error": {…}}]`, `{"error": "…"}`, `{"message": "…"}` and `{"detail": "…"}`.
    fn read(value: &Value) -> Self {
        let value = value.get(0).unwrap_or(value);
        let error = value.get("error").filter(|error| !error.is_null()).unwrap_or(value);
        let text = |key: &str| error.get(key).and_then(Value::as_str).unwrap_or_default();
        let message = match error {
            Value::String(message) => message.as_str(),
            _ => [text("message"), text("detail")].into_iter().find(|text| !text.is_empty()).unwrap_or_default(),
        };
        let words = [text("code"), text("status"), text("type")];
        Self {
            word: words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" "),
            message: message.to_owned(),
            code: error.get("code").and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok()),
            wait: retry_info(error),
        }
    }

    fn plain(body: &[u8]) -> Self {
        let text = String::from_utf8_lossy(body);
        // A page of HTML helps nobody.
        let message = if text.trim_start().starts_with('<') { String::new() } else { text.into_owned() };
        Self { word: String::new(), message, code: None, wait: None }
    }

    fn words(&self) -> String {
        let text = if self.message.trim().is_empty() { &self.word } else { &self.message };
        let text: String = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_WORDS).collect();
        if text.is_empty() { text } else { format!(": {text}") }
    }

    fn judge(&self, status: Option<StatusCode>) -> (ModelFailureKind, Again) {
        use ModelFailureKind as Kind;
        let says = |words: &[&str]| words.iter().any(|word| self.word.contains(word));
        let message = self.message.to_ascii_lowercase();
        let mentions = |texts: &[&str]| texts.iter().any(|text| message.contains(text));
        let status = status.map(|status| status.as_u16()).or(self.code).unwrap_or(0);

        let too_long = says(&["context_length_exceeded", "exceed_context_size", "request_too_large"])
            || mentions(&[
                "prompt is too long",
                "maximum context length",
                "exceeds the maximum number of tokens",
                "exceed context limit",
                "exceeds the context window",
                "available context size",
            ]);
        if status == 413 || (too_long && status != 429) {
            return (Kind::TooLong, Again::Never);
        }
        if says(&["insufficient_quota", "billing_error"]) || status == 402 {
            return (Kind::Limited, Again::Never);
        }
        let limited = ["overloaded", "rate_limit", "RESOURCE_EXHAUSTED", "UNAVAILABLE", "slow_down"];
        if matches!(status, 429 | 503 | 529) || says(&limited) {
            return (Kind::Limited, Again::Soon);
        }
        let key =
            ["authentication_error", "permission_error", "invalid_api_key", "UNAUTHENTICATED", "PERMISSION_DENIED"];
        if matches!(status, 401 | 403) || says(&key) || mentions(&["api key not valid"]) {
            return (Kind::Unauthorized, Again::Never);
        }
        let request =
            ["invalid_request", "invalid_prompt", "not_found", "INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION"];
        match status {
            408 | 409 | 425 | 500..=599 => (Kind::Unreachable, Again::Soon),
            1..=499 => (Kind::Rejected, Again::Never),
            _ if says(&request) => (Kind::Rejected, Again::Never),
            _ => (Kind::Unreachable, Again::Soon),
        }
    }
}

/// Google's `RetryInfo`: `{"retryDelay": "37s"}` among the details.
fn retry_info(error: &Value) -> Option<Duration> {
    let details = error.get("details")?.as_array()?;
    let delay = details.iter().find_map(|detail| detail.get("retryDelay")?.as_str())?;
    Duration::try_from_secs_f64(delay.strip_suffix('s')?.parse().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: &str = "2026-11-21T12:00:00Z";

    type Headers<'a> = &'a [(&'static str, &'a str)];

    fn refused(status: u16, headers: Headers<'_>, body: &str) -> Trouble {
        let headers = headers.iter().map(|(name, value)| {
            (reqwest::header::HeaderName::from_static(name), value.parse().expect("a header value"))
        });
        let status = StatusCode::from_u16(status).expect("a status");
        Trouble::refused(status, &headers.collect(), body.as_bytes(), NOW.parse().expect("a time"))
    }

    #[test]
    fn errors_of_every_provider_are_understood() {
        use ModelFailureKind as Kind;
        let table = [
            (
                400,
                r#"{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 210000 tokens > 200000 maximum"}}"#,
                Kind::TooLong,
                Again::Never,
            ),
            (
                400,
                r#"{"error":{"message":"This model's maximum context length is 8192 tokens.","type":"invalid_request_error","code":"context_length_exceeded"}}"#,
                Kind::TooLong,
                Again::Never,
            ),
            (
                400,
                r#"[{"error":{"code":400,"message":"The input token count (2000000) exceeds the maximum number of tokens allowed (1048576).","status":"INVALID_ARGUMENT"}}]"#,
                Kind::TooLong,
                Again::Never,
            ),
            (
                400,
                r#"{"error":{"code":400,"message":"the request exceeds the available context size","type":"exceed_context_size_error"}}"#,
                Kind::TooLong,
                Again::Never,
            ),
            (413, "", Kind::TooLong, Again::Never),
            (
                400,
                r#"{"error":{"code":400,"message":"API key not valid. Please pass a valid API key.","status":"INVALID_ARGUMENT"}}"#,
                Kind::Unauthorized,
                Again::Never,
            ),
            (
                401,
                r#"{"error":{"message":"Incorrect API key provided: sk-ab**yz","code":"invalid_api_key"}}"#,
                Kind::Unauthorized,
                Again::Never,
            ),
            (404, r#"{"error":"model 'nope' not found"}"#, Kind::Rejected, Again::Never),
            (422, r#"{"detail":"bad"}"#, Kind::Rejected, Again::Never),
            (429, r#"{"error":{"message":"slow","type":"rate_limit_error"}}"#, Kind::Limited, Again::Soon),
            (
                429,
                r#"{"error":{"message":"You exceeded your current quota","code":"insufficient_quota"}}"#,
                Kind::Limited,
                Again::Never,
            ),
            (
                529,
                r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#,
                Kind::Limited,
                Again::Soon,
            ),
            (503, "busy", Kind::Limited, Again::Soon),
            (502, "<html>Bad gateway</html>", Kind::Unreachable, Again::Soon),
            (302, "", Kind::Rejected, Again::Never),
        ];
        for (status, body, kind, again) in table {
            let trouble = refused(status, &[], body);
            assert_eq!((trouble.kind, trouble.again), (kind, again), "{status} {body}");
            assert!(!trouble.what.contains("sk-ab") && !trouble.what.contains('<'), "{}", trouble.what);
        }
    }

    #[test]
    fn waits_are_read_in_every_form() {
        let table: [(Headers<'_>, &str, Again); 8] = [
            (&[("retry-after", "7")], "", Again::After(Duration::from_secs(7))),
            (&[("retry-after-ms", "1500"), ("retry-after", "9")], "", Again::After(Duration::from_millis(1_500))),
            (&[("retry-after", "Sat, 21 Nov 2026 12:00:30 GMT")], "", Again::After(Duration::from_secs(30))),
            (&[("retry-after", "Sat, 21 Nov 2026 11:00:00 GMT")], "", Again::After(Duration::ZERO)),
            (&[("retry-after", "-1")], "", Again::Soon),
            (&[("retry-after", "soon")], "", Again::Soon),
            (&[("x-should-retry", "false")], "", Again::Never),
            (
                &[],
                r#"{"error":{"code":429,"details":[{"@type":"x"},{"retryDelay":"37s"}]}}"#,
                Again::After(Duration::from_secs(37)),
            ),
        ];
        for (headers, body, again) in table {
            assert_eq!(refused(429, headers, body).again, again, "{headers:?} {body}");
        }
    }

    #[test]
    fn errors_in_the_middle_of_a_stream_are_understood() {
        let overloaded =
            Trouble::told(&json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}));
        assert_eq!(overloaded.kind, ModelFailureKind::Limited);
        assert_eq!(overloaded.again, Again::Soon);
        assert!(overloaded.what.ends_with("Overloaded"));
        let bad = Trouble::told(&json!({"error": {"type": "invalid_request_error", "message": "no"}}));
        assert_eq!((bad.kind, bad.again), (ModelFailureKind::Rejected, Again::Never));
        let server = Trouble::told(&json!({"error": {"code": "server_error", "message": "oops"}}));
        assert_eq!((server.kind, server.again), (ModelFailureKind::Unreachable, Again::Soon));
    }

    #[test]
    fn long_words_are_cut_and_made_one_line() {
        let trouble = refused(400, &[], &format!("line\nline {}", "x".repeat(1_000)));
        assert!(trouble.what.len() < 400 && !trouble.what.contains('\n'));
    }
}
