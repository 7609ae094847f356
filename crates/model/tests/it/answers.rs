//! What each provider sends is understood.

use reeve_gate::model::ModelEvent;
use reeve_types::model::{Block, StopReason, Usage};
use serde_json::json;

use crate::asking::{Outcome, ask, catalog, prompt, provider};
use crate::scripted_provider::{Answer, ScriptedProvider, transcript};

async fn answered(kind: &str, model: &str, transcript: &str) -> Outcome {
    let server = ScriptedProvider::start([Answer::transcript(transcript)]).await;
    ask(&catalog(&provider(kind, &server.url)), &format!("p/{model}"), prompt()).await
}

fn text(text: &str) -> Block {
    Block::Text { text: text.to_owned() }
}

fn thought(text: &str, signature: Option<&str>) -> Block {
    Block::Thinking { text: text.to_owned(), signature: signature.map(str::to_owned) }
}

fn call(id: &str, name: &str, input: serde_json::Value) -> Block {
    Block::ToolUse { id: id.to_owned(), name: name.to_owned(), input, signature: None }
}

fn usage(input: u64, output: u64, read: u64, write: u64, cost: Option<u64>) -> Usage {
    Usage {
        input_tokens: input,
        output_tokens: output,
        cache_read_tokens: read,
        cache_write_tokens: write,
        cost_micro_usd: cost,
    }
}

#[tokio::test]
async fn words_and_usage_of_every_provider() {
    // Dollars per million: 3 in, 15 out, 0.3 read, 3.75 written; 2, 8, 0.5; 0.75, 3.75, 0.075.
    let table = [
        ("anthropic", "claude-sonnet-4-5", "anthropic-text", usage(12, 15, 1_000, 200, Some(36 + 225 + 300 + 750))),
        ("openai", "gpt-4.1", "openai-chat-text", usage(219, 15, 1_000, 0, Some(438 + 120 + 500))),
        ("gemini", "gemini-3.8-flash", "gemini-text", usage(219, 32, 1_000, 0, Some(359))),
    ];
    for (kind, model, transcript, usage) in table {
        let outcome = answered(kind, model, transcript).await;
        let reply = outcome.reply();
        assert_eq!(outcome.words(), "The disk is 92 % full – see µ.", "{kind}");
        assert!(reply.blocks.contains(&text("The disk is 92 % full – see µ.")), "{kind}: {:?}", reply.blocks);
        assert_eq!((reply.stop, reply.usage), (StopReason::EndTurn, usage), "{kind}");
        assert_eq!(reply.model, format!("p/{model}"));
        assert!(!reply.id.is_empty());
    }
}

#[tokio::test]
async fn thoughts_and_calls_of_anthropic() {
    let outcome = answered("anthropic", "claude-opus-4-6", "anthropic-thinking-tools").await;
    let seal = "anthropic:EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxBdjrkzLoky3dl1pk=";
    let hidden = "anthropic:EmwKAhgBEgy3va3pzix/LafPsn4aDFIT2Xlxh0L5L8rLVyIw";
    assert_eq!(
        outcome.reply().blocks,
        [
            thought("Two databases, so two calls.", Some(seal)),
            Block::RedactedThinking { data: hidden.to_owned() },
            text("Looking at both."),
            call("toolu_01T1x1fJ34qAmk2tNTrN7Up6", "list_sessions", json!({ "database": "prod" })),
            call("toolu_01A09q90qw90lq917835lq9", "list_locks", json!({})),
        ]
    );
    assert_eq!(outcome.reply().stop, StopReason::ToolUse);
    let called = ModelEvent::ToolUse { id: "toolu_01A09q90qw90lq917835lq9".into(), name: "list_locks".into() };
    assert_eq!(outcome.events.last(), Some(&called));
    assert!(outcome.events.contains(&ModelEvent::Thinking("so two calls.".into())));
}

#[tokio::test]
async fn calls_of_openai_and_of_ollama_which_counts_otherwise() {
    for (transcript, first, second) in [
        ("openai-chat-tools", "call_DdmO9pD3xa9XTPNJ32zg2hcA", "call_Fz8nH4kq0t2WmXy7bVc1sLpR"),
        ("ollama-tools", "call_k0ml1b2c", "call_9xq2w3er"),
    ] {
        let outcome = answered("openai", "some", transcript).await;
        let calls: Vec<&Block> =
            outcome.reply().blocks.iter().filter(|block| matches!(block, Block::ToolUse { .. })).collect();
        let expected =
            [call(first, "list_sessions", json!({ "database": "prod" })), call(second, "list_locks", json!({}))];
        assert_eq!(calls, expected.iter().collect::<Vec<_>>(), "{transcript}");
        assert_eq!(outcome.reply().stop, StopReason::ToolUse, "{transcript}");
    }
}

#[tokio::test]
async fn thoughts_of_local_servers() {
    let outcome = answered("openai", "qwen3", "vllm-reasoning").await;
    assert_eq!(outcome.reply().blocks, [thought("It asks for one word.", None), text("ready")]);
    assert_eq!(outcome.reply().usage, usage(9, 12, 0, 0, None));
    let outcome = answered("openai", "qwen3", "ollama-tools").await;
    assert_eq!(outcome.reply().blocks[0], thought("Two calls.", None));
}

#[tokio::test]
async fn items_of_openais_responses() {
    let outcome = answered("openai-responses", "gpt-5-mini", "openai-responses-tools").await;
    let seal = "openai:rs_68af4030baa48193b0b43b4c2a176a1a:gAAAAABorkAwQ3J5cHRlZA==";
    assert_eq!(
        outcome.reply().blocks,
        [
            thought("Two databases.\n\nSo two calls.", Some(seal)),
            text("Looking at both."),
            call("call_DdmO9pD3xa9XTPNJ32zg2hcA", "list_sessions", json!({ "database": "prod" })),
            call("call_Fz8nH4kq0t2WmXy7bVc1sLpR", "list_locks", json!({})),
        ]
    );
    assert_eq!(outcome.reply().usage, usage(18, 120, 64, 0, Some(246)));
    assert_eq!(outcome.reply().stop, StopReason::ToolUse);

    let cut = answered("openai-responses", "gpt-5-mini", "openai-responses-incomplete").await;
    assert_eq!(cut.reply().stop, StopReason::MaxTokens);
    assert_eq!(cut.reply().blocks, [text("Looking")]);
}

#[tokio::test]
async fn calls_and_refusals_of_gemini() {
    let outcome = answered("gemini", "gemini-3.8-flash", "gemini-tools").await;
    let blocks = &outcome.reply().blocks;
    let sealed = Block::ToolUse {
        id: "fn-1841".into(),
        name: "list_sessions".into(),
        input: json!({ "database": "prod" }),
        signature: Some("gemini:CqUBAdHtim8rU2lnbmVk".into()),
    };
    assert_eq!(blocks[0], sealed);
    // No id came with the second call, so it has one of ours.
    assert!(matches!(&blocks[1], Block::ToolUse { id, name, .. } if id.starts_with("reeve_") && name == "list_locks"));
    assert_eq!(outcome.reply().stop, StopReason::ToolUse);

    let refused = answered("gemini", "gemini-3.8-flash", "gemini-blocked").await;
    assert_eq!((refused.reply().stop, refused.reply().blocks.len()), (StopReason::Refusal, 0));
}

#[tokio::test]
async fn arguments_that_are_no_json_are_passed_on_as_text() {
    let whole = String::from_utf8(transcript("openai-chat-tools")).expect("text");
    // The model forgot a brace and a quote.
    let broken = whole.replace(r#"\"prod\"}"#, r#"prod"#);
    assert_ne!(whole, broken);
    let server = ScriptedProvider::start([Answer::stream(broken.as_bytes())]).await;
    let outcome = ask(&catalog(&provider("openai", &server.url)), "p/some", prompt()).await;
    assert_eq!(
        outcome.reply().blocks[0],
        call("call_DdmO9pD3xa9XTPNJ32zg2hcA", "list_sessions", json!("{\"database\":prod"))
    );
}
