//! Every way in which a provider can fail.

use std::time::Duration;

use futures_util::StreamExt as _;
use reeve_gate::model::{ModelEvent, ModelFailureKind, Models as _};
use reeve_gate::{SystemClock, TaskCx};
use reeve_types::TenantId;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::asking::{Outcome, ask, ask_within, catalog, cx, prompt, provider};
use crate::scripted_provider::{Answer, End, ScriptedProvider, quick_clock, transcript};

const OVERLOADED: &str = r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;

/// A question to a provider of Anthropic's kind, with what the configuration says more.
async fn asked(server: &ScriptedProvider, more: &str) -> Outcome {
    ask(&catalog(&format!("{}{more}", provider("anthropic", &server.url))), "p/claude-sonnet-4-5", prompt()).await
}

fn good() -> Answer {
    Answer::transcript("anthropic-text")
}

/// The beginning of an answer, words included.
fn half() -> Answer {
    let whole = transcript("anthropic-text");
    let text = String::from_utf8_lossy(&whole);
    let words = text.find("92 %").expect("words");
    let end = text[..words].rfind("\n\n").expect("the end of an event");
    Answer::stream(&whole[..end + 2])
}

#[tokio::test]
async fn an_overloaded_or_limited_provider_is_asked_again_when_it_says() {
    quick_clock();
    let server = ScriptedProvider::start([
        Answer::refusal(529, OVERLOADED),
        Answer::refusal(429, OVERLOADED).header("retry-after", "9"),
        Answer::refusal(500, "oops").header("retry-after-ms", "50"),
        good(),
    ])
    .await;
    let started = Instant::now();
    let outcome = asked(&server, "").await;
    assert_eq!(outcome.words(), outcome.reply().blocks.iter().map(text).collect::<String>());
    let retries = outcome.retries();
    assert_eq!(retries.iter().map(|(attempt, ..)| *attempt).collect::<Vec<_>>(), [2, 3, 4]);
    let waits: Vec<Duration> = retries.iter().map(|(_, wait, _)| *wait).collect();
    assert!((Duration::from_millis(250)..=Duration::from_millis(500)).contains(&waits[0]), "{waits:?}");
    assert!((Duration::from_secs(9)..Duration::from_secs(10)).contains(&waits[1]), "{waits:?}");
    assert!((Duration::from_millis(50)..Duration::from_secs(1)).contains(&waits[2]), "{waits:?}");
    assert!(started.elapsed() >= waits.iter().sum());
    assert!(retries[0].2.contains("529") && retries[0].2.contains("Overloaded"), "{}", retries[0].2);
}

#[tokio::test]
async fn a_provider_that_stays_overloaded_is_given_up() {
    quick_clock();
    let server = ScriptedProvider::start(vec![Answer::refusal(529, OVERLOADED); 9]).await;
    let outcome = asked(&server, "").await;
    assert_eq!(outcome.failure().kind, ModelFailureKind::Limited);
    assert_eq!(server.seen().len(), 4);
    let message = &outcome.failure().message;
    for word in ["p/claude-sonnet-4-5", "127.0.0.1", "529", "4 attempts", "models.fallbacks"] {
        assert!(message.contains(word), "`{word}` is missing: {message}");
    }
}

#[tokio::test]
async fn a_provider_that_asks_for_an_hour_is_given_up_at_once() {
    quick_clock();
    let server = ScriptedProvider::start([Answer::refusal(429, "").header("retry-after", "3600")]).await;
    let outcome = asked(&server, "").await;
    assert_eq!(outcome.failure().kind, ModelFailureKind::Limited);
    assert_eq!((server.seen().len(), outcome.retries().len()), (1, 0));
}

#[tokio::test]
async fn what_came_before_a_drop_is_void() {
    quick_clock();
    for end in [End::Dropped, End::Whole] {
        let server = ScriptedProvider::start([half().ending(end), good()]).await;
        let outcome = asked(&server, "").await;
        let events = &outcome.events;
        let retry = events.iter().position(|event| matches!(event, ModelEvent::Retrying { .. })).expect("a retry");
        assert!(events[..retry].contains(&ModelEvent::Text("The disk is ".into())), "{events:?}");
        assert!(events[retry + 1..].contains(&ModelEvent::Text("The disk is ".into())), "{events:?}");
        assert_eq!(outcome.reply().blocks.iter().map(text).collect::<String>(), "The disk is 92 % full – see µ.");
    }
}

#[tokio::test]
async fn a_provider_that_always_drops_is_unreachable() {
    quick_clock();
    let server = ScriptedProvider::start(vec![half().ending(End::Dropped); 4]).await;
    let outcome = asked(&server, "").await;
    assert_eq!(outcome.failure().kind, ModelFailureKind::Unreachable);
    assert!(outcome.failure().message.contains("broke off"), "{}", outcome.failure().message);
    let nobody = catalog(&provider("openai", "http://127.0.0.1:9"));
    assert_eq!(ask(&nobody, "p/x", prompt()).await.failure().kind, ModelFailureKind::Unreachable);
}

#[tokio::test]
async fn an_error_in_the_middle_of_a_stream_is_heard() {
    quick_clock();
    let server = ScriptedProvider::start([Answer::transcript("anthropic-overloaded"), good()]).await;
    let outcome = asked(&server, "").await;
    assert!(outcome.retries()[0].2.contains("Overloaded"));
    assert!(outcome.answer.is_ok());

    let chat = "data: {\"error\":{\"message\":\"out of memory\",\"type\":\"server_error\"}}\n\n";
    let gemini = "data: {\"error\":{\"code\":503,\"message\":\"busy\",\"status\":\"UNAVAILABLE\"}}\n\n";
    let failed = "event: response.failed\ndata: {\"type\":\"response.failed\",\"response\":{\"status\":\"failed\",\
                  \"error\":{\"code\":\"server_error\",\"message\":\"sorry\"}}}\n\n";
    let llama = "error: {\"code\":500,\"message\":\"slot lost\",\"type\":\"server_error\"}\n\ndata: [DONE]\n\n";
    for (kind, stream, word) in [
        ("openai", chat, "out of memory"),
        ("openai", llama, "slot lost"),
        ("gemini", gemini, "busy"),
        ("openai-responses", failed, "sorry"),
    ] {
        let server = ScriptedProvider::start([Answer::stream(stream.as_bytes())]).await;
        let outcome = ask(&catalog(&provider(kind, &server.url)), "p/x", prompt()).await;
        assert!(outcome.retries()[0].2.contains(word), "{kind}: {:?}", outcome.retries());
    }
}

#[tokio::test]
async fn what_cannot_be_understood_is_malformed() {
    let answers = [
        (Answer::stream(b"event: message_start\ndata: {\"type\":\n\n"), "no JSON"),
        (good().header("content-type", "text/html"), "text/html"),
        (Answer::stream(b"").ending(End::Forever(&[b'x'; 65_536])), "too much at once"),
        (Answer::stream(b"").ending(End::Forever(&FLOOD)), "64 MiB"),
    ];
    for (answer, word) in answers {
        let server = ScriptedProvider::start([answer]).await;
        let outcome = asked(&server, "").await;
        assert_eq!(outcome.failure().kind, ModelFailureKind::Malformed, "{}", outcome.failure().message);
        assert!(outcome.failure().message.contains(word), "`{word}`: {}", outcome.failure().message);
        assert_eq!(server.seen().len(), 1);
    }
}

/// Sixteen comments of 4,096 bytes.
static FLOOD: [u8; 65_536] = {
    let mut bytes = [b':'; 65_536];
    let mut at = 4_095;
    while at < bytes.len() {
        bytes[at] = b'\n';
        at += 4_096;
    }
    bytes
};

#[tokio::test]
async fn a_provider_that_falls_silent_is_left() {
    quick_clock();
    let server =
        ScriptedProvider::start([Answer::stream(b"").ending(End::Silent), half().ending(End::Silent), good()]).await;
    let started = Instant::now();
    let outcome = asked(&server, "timeout_ms = 7000\nidle_timeout_ms = 3000").await;
    assert!(outcome.answer.is_ok(), "{outcome:?}");
    let reasons: Vec<&str> = outcome.retries().iter().map(|(.., reason)| *reason).collect();
    assert!(reasons[0].ends_with("said nothing for 7s") && reasons[1].ends_with("said nothing for 3s"), "{reasons:?}");
    let elapsed = started.elapsed();
    assert!((Duration::from_secs(10)..Duration::from_secs(60)).contains(&elapsed), "{elapsed:?}");
}

#[tokio::test]
async fn an_answer_that_only_pings_ends() {
    quick_clock();
    // A ping each second, for ever: never silent, never done.
    let server = ScriptedProvider::start([half().ending(End::Pinging)]).await;
    let outcome = asked(&server, "answer_timeout_ms = 30000\nidle_timeout_ms = 5000").await;
    assert_eq!(outcome.failure().kind, ModelFailureKind::Timeout);
    assert!(outcome.failure().message.contains("answer_timeout_ms"), "{}", outcome.failure().message);
}

#[tokio::test]
async fn a_counted_answer_without_its_last_line_is_whole() {
    quick_clock();
    // The counts came, `[DONE]` did not.
    let whole = String::from_utf8(transcript("openai-chat-text")).expect("text");
    let cut = whole.replace("data: [DONE]\n\n", "");
    assert_ne!(whole, cut);
    for end in [End::Whole, End::Dropped, End::Silent] {
        let server = ScriptedProvider::start([Answer::stream(cut.as_bytes()).ending(end)]).await;
        let config = provider("openai", &server.url) + "idle_timeout_ms = 4000";
        let outcome = ask(&catalog(&config), "p/x", prompt()).await;
        assert_eq!(outcome.reply().usage.output_tokens, 15);
    }
}

#[tokio::test]
async fn a_refused_key_is_told_without_the_key() {
    let body = r#"{"error":{"message":"Incorrect API key provided: sk-secret","code":"invalid_api_key"}}"#;
    for (status, kind) in [(401, ModelFailureKind::Unauthorized), (400, ModelFailureKind::Rejected)] {
        let body = body.replace("invalid_api_key", if status == 400 { "other" } else { "invalid_api_key" });
        let server = ScriptedProvider::start([Answer::refusal(status, &body)]).await;
        let outcome = asked(&server, "").await;
        assert_eq!(outcome.failure().kind, kind);
        assert!(!format!("{outcome:?}").contains("sk-secret"), "{outcome:?}");
        assert_eq!(server.seen().len(), 1);
    }
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let server = ScriptedProvider::start([Answer::refusal(307, "").header("location", "/elsewhere"), good()]).await;
    assert_eq!(asked(&server, "").await.failure().kind, ModelFailureKind::Rejected);
    assert_eq!(server.only().path, "/v1/messages");
}

#[tokio::test]
async fn fallbacks_are_asked_in_order() {
    quick_clock();
    let limited = ScriptedProvider::start(vec![Answer::refusal(529, OVERLOADED); 2]).await;
    let fine = ScriptedProvider::start([Answer::transcript("openai-chat-text")]).await;
    let config = format!(
        "default = 'p/a'\nfallbacks = ['gone/b', 'local/c']\nattempts = 2\n{}\
         [providers.gone]\nkind = 'openai'\nbase_url = 'http://127.0.0.1:9'\n\
         [providers.local]\nkind = 'openai'\nbase_url = '{}'\n",
        provider("anthropic", &limited.url),
        fine.url
    );
    let outcome = ask_within(&catalog(&config), None, prompt(), &cx()).await;
    assert_eq!(outcome.reply().model, "local/c");
    assert_eq!(fine.only().header("authorization"), None);
    let attempts: Vec<u32> = outcome.retries().iter().map(|(attempt, ..)| *attempt).collect();
    assert_eq!(attempts, [2, 3, 4, 5]);
    assert!(outcome.retries()[1].2.contains("Asking gone/b instead"), "{:?}", outcome.retries());
    let unknown = ask_within(&catalog(&config), Some("nobody/x"), prompt(), &cx()).await;
    // The script of the last one is over, which is what ended it; what was wanted comes first in the message.
    assert_eq!(unknown.failure().kind, ModelFailureKind::Rejected);
    assert!(unknown.failure().message.starts_with("`nobody/x` names no model"), "{}", unknown.failure().message);
}

#[tokio::test]
async fn a_rejected_request_is_not_put_to_others() {
    let strict =
        ScriptedProvider::start([Answer::refusal(400, r#"{"error":{"message":"prompt is too long: 9 > 8"}}"#)]).await;
    let other = ScriptedProvider::start([good()]).await;
    let config = format!(
        "fallbacks = ['o/x']\n{}[providers.o]\nkind = 'anthropic'\nbase_url = '{}'",
        provider("anthropic", &strict.url),
        other.url
    );
    let outcome = ask(&catalog(&config), "p/x", prompt()).await;
    assert_eq!(outcome.failure().kind, ModelFailureKind::TooLong);
    assert_eq!(other.seen().len(), 0);
}

#[tokio::test]
async fn a_question_can_be_called_off_and_has_a_deadline() {
    quick_clock();
    let server = ScriptedProvider::start(vec![half().ending(End::Silent); 2]).await;
    let catalog = catalog(&provider("anthropic", &server.url));
    let cancel = CancellationToken::new();
    let cx = TaskCx::new(std::sync::Arc::new(SystemClock), cancel.clone(), Duration::from_secs(60));
    let tenant = TenantId::default_tenant();
    let mut stream = catalog.ask(&tenant, Some("p/x"), prompt(), &cx).await.expect("a stream");
    assert!(matches!(stream.next().await, Some(Ok(ModelEvent::Text(_)))));
    cancel.cancel();
    let failure = stream.next().await.expect("an end").expect_err("a failure");
    assert_eq!(failure.kind, ModelFailureKind::Cancelled);

    let cx = self::cx().within(Duration::from_secs(20));
    let late = ask_within(&catalog, Some("p/x"), prompt(), &cx).await;
    assert_eq!(late.failure().kind, ModelFailureKind::Timeout);
}

#[tokio::test]
async fn dropping_the_stream_closes_the_connection() {
    let (gone, mut is_gone) = tokio::sync::mpsc::channel(1);
    let server = ScriptedProvider::start([half().ending(End::Watched(gone))]).await;
    let catalog = catalog(&provider("anthropic", &server.url));
    let (tenant, cx) = (TenantId::default_tenant(), cx());
    let mut stream = catalog.ask(&tenant, Some("p/x"), prompt(), &cx).await.expect("a stream");
    assert!(stream.next().await.is_some());
    drop(stream);
    assert_eq!(is_gone.recv().await, None, "the server's side of the answer is dropped");
}

fn text(block: &reeve_types::model::Block) -> &str {
    match block {
        reeve_types::model::Block::Text { text } => text,
        _ => "",
    }
}
