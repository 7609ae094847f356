//! What is sent to each provider.

use reeve_types::model::{Block, Message, ModelRole, Prompt, ToolChoice};
use serde_json::{Value, json};

use crate::asking::{ask, catalog, prompt, provider, tools};
use crate::scripted_provider::{Answer, ScriptedProvider, Seen};

async fn sent(kind: &str, model: &str, transcript: &str, more: &str, prompt: Prompt) -> Seen {
    let server = ScriptedProvider::start([Answer::transcript(transcript)]).await;
    let config = format!("{}{more}", provider(kind, &server.url));
    ask(&catalog(&config), &format!("p/{model}"), prompt).await.answer.expect("an answer");
    server.only()
}

/// A conversation with all there can be in one, thoughts of every provider among it.
fn conversation() -> Prompt {
    let thought = |seal: &str| Block::Thinking { text: "Hm.".into(), signature: Some(seal.into()) };
    let call = |id: &str, name: &str, input, signature: Option<&str>| Block::ToolUse {
        id: id.into(),
        name: name.into(),
        input,
        signature: signature.map(str::to_owned),
    };
    let result = |id: &str, name: &str, content: &str, is_error| Block::ToolResult {
        tool_use_id: id.into(),
        name: name.into(),
        content: content.into(),
        is_error,
    };
    Prompt {
        messages: vec![
            Message {
                role: ModelRole::User,
                blocks: vec![
                    Block::Text { text: "What is this?".into() },
                    Block::Image { media_type: "image/png".into(), data: "aGk=".into() },
                ],
            },
            Message {
                role: ModelRole::Assistant,
                blocks: vec![
                    thought("anthropic:A"),
                    thought("openai:rs_1:O"),
                    thought("gemini:G"),
                    Block::Thinking { text: "unsealed".into(), signature: None },
                    Block::RedactedThinking { data: "anthropic:R".into() },
                    Block::Text { text: "A database.".into() },
                    call("call:1", "list_sessions", json!({ "database": "prod" }), None),
                    call("reeve_1", "list_locks", json!("{oops"), Some("gemini:S")),
                ],
            },
            Message {
                role: ModelRole::User,
                blocks: vec![
                    Block::Text { text: "Go on.".into() },
                    result("call:1", "list_sessions", "3 rows", false),
                    result("reeve_1", "list_locks", "denied", true),
                ],
            },
        ],
        tools: tools(),
        max_output_tokens: Some(500),
        ..prompt()
    }
}

/// The requests that `tests/honest` checks against the vendors' own types. Written anew with `REWRITE_REQUESTS=1`.
#[tokio::test]
async fn the_requests_that_the_vendors_types_check_are_the_ones_sent() {
    let thinking = Prompt { thinking_tokens: Some(4_000), ..conversation() };
    let forced = Prompt { tool_choice: ToolChoice::Required, temperature: Some(0.5), ..conversation() };
    for (name, kind, model, transcript) in [
        ("anthropic", "anthropic", "claude-opus-5-5", "anthropic-text"),
        ("anthropic-older", "anthropic", "claude-haiku-4-5", "anthropic-text"),
        ("openai-chat", "openai", "gpt-4.1", "openai-chat-text"),
        ("openai-responses", "openai-responses", "gpt-6.1-sol", "openai-responses-tools"),
    ] {
        for (variant, prompt) in [("thinking", &thinking), ("forced", &forced)] {
            let mut body = sent(kind, model, transcript, "", prompt.clone()).await.body;
            if kind == "openai" {
                // Open models' field, which the vendor's types do not have; the vendor is not sent it.
                for message in body["messages"].as_array_mut().expect("messages") {
                    message.as_object_mut().expect("a message").remove("reasoning_content");
                }
            }
            if kind == "anthropic" {
                // Known to the version of the API that is asked for, but no longer to the newest client.
                body.as_object_mut().expect("an object").remove("temperature");
            }
            let path = format!("{}/tests/requests/{name}-{variant}.json", env!("CARGO_MANIFEST_DIR"));
            let now = serde_json::to_string_pretty(&body).expect("JSON") + "\n";
            if std::env::var_os("REWRITE_REQUESTS").is_some() {
                std::fs::write(&path, &now).expect("the file");
            }
            let kept = std::fs::read_to_string(&path).unwrap_or_default();
            assert_eq!(kept, now, "{path} is not what is sent");
        }
    }
}

#[tokio::test]
async fn anthropic_gets_its_own_thoughts_back_and_marks_for_its_cache() {
    let seen = sent("anthropic", "claude-sonnet-4-5", "anthropic-text", "", conversation()).await;
    assert_eq!(seen.path, "/v1/messages");
    assert_eq!(seen.header("x-api-key"), Some("sk-secret"));
    assert_eq!(seen.header("anthropic-version"), Some("2023-06-01"));
    assert_eq!(seen.header("anthropic-beta"), None);
    let cached = json!({ "type": "ephemeral" });
    assert_eq!(seen.body["system"], json!([{ "type": "text", "text": "Be brief.", "cache_control": cached }]));
    assert_eq!(seen.body["tools"][0]["cache_control"], Value::Null);
    assert_eq!(seen.body["tools"][1]["cache_control"], cached);
    assert_eq!(seen.body["max_tokens"], 500);
    assert_eq!(
        seen.body["messages"],
        json!([
            { "role": "user", "content": [
                { "type": "text", "text": "What is this?" },
                { "type": "image", "source": { "type": "base64", "media_type": "image/png", "data": "aGk=" } },
            ] },
            { "role": "assistant", "content": [
                { "type": "thinking", "thinking": "Hm.", "signature": "A" },
                { "type": "redacted_thinking", "data": "R" },
                { "type": "text", "text": "A database." },
                { "type": "tool_use", "id": "call_1", "name": "list_sessions", "input": { "database": "prod" } },
                { "type": "tool_use", "id": "reeve_1", "name": "list_locks", "input": { "not_an_object": "{oops" } },
            ] },
            { "role": "user", "content": [
                { "type": "tool_result", "tool_use_id": "call_1", "content": "3 rows" },
                { "type": "tool_result", "tool_use_id": "reeve_1", "content": "denied", "is_error": true },
                { "type": "text", "text": "Go on.", "cache_control": cached },
            ] },
        ])
    );
}

#[tokio::test]
async fn anthropic_thinks_as_each_generation_can() {
    let thinking = Prompt { thinking_tokens: Some(20_000), temperature: Some(0.2), ..prompt() };
    let body = |model: &'static str, prompt: Prompt| async move {
        sent("anthropic", model, "anthropic-text", "", prompt).await.body
    };
    let older = body("claude-haiku-4-5", thinking.clone()).await;
    assert_eq!(older["thinking"], json!({ "type": "enabled", "budget_tokens": 20_000 }));
    assert!(older["max_tokens"].as_u64().is_some_and(|most| most > 20_000), "{older}");
    assert_eq!(older["temperature"], Value::Null);
    let newer = body("claude-opus-5-5", thinking.clone()).await;
    assert_eq!(newer["thinking"], json!({ "type": "adaptive", "display": "summarized" }));
    assert_eq!(newer["output_config"], json!({ "effort": "high" }));
    let forced = Prompt { tools: tools(), tool_choice: ToolChoice::Required, ..thinking };
    let forced = body("claude-opus-5-5", forced).await;
    assert_eq!(forced["thinking"], Value::Null);
    assert_eq!(forced["tool_choice"], json!({ "type": "any" }));
    let calm = Prompt { temperature: Some(0.5), ..prompt() };
    assert_eq!(body("claude-haiku-4-5", calm.clone()).await["temperature"], 0.5);
    assert_eq!(body("claude-opus-4-7", calm).await["temperature"], Value::Null);
}

#[tokio::test]
async fn chat_completions_get_results_right_after_the_calls() {
    let seen = sent("openai", "qwen3", "openai-chat-text", "headers = { x-team = 'ops' }", conversation()).await;
    assert_eq!(seen.path, "/v1/chat/completions");
    assert_eq!(seen.header("authorization"), Some("Bearer sk-secret"));
    assert_eq!(seen.header("x-team"), Some("ops"));
    assert_eq!(seen.body["stream_options"], json!({ "include_usage": true }));
    assert_eq!((&seen.body["max_tokens"], &seen.body["max_completion_tokens"]), (&json!(500), &Value::Null));
    assert_eq!(seen.body["tools"][1]["function"]["name"], "list_locks");
    let call = |id: &str, name: &str, arguments: &str| json!({ "id": id, "type": "function", "function": { "name": name, "arguments": arguments } });
    assert_eq!(
        seen.body["messages"],
        json!([
            { "role": "system", "content": "Be brief." },
            { "role": "user", "content": [
                { "type": "text", "text": "What is this?" },
                { "type": "image_url", "image_url": { "url": "data:image/png;base64,aGk=" } },
            ] },
            {
                "role": "assistant",
                "content": "A database.",
                "reasoning_content": "unsealed",
                "tool_calls": [
                    call("call:1", "list_sessions", "{\"database\":\"prod\"}"),
                    call("reeve_1", "list_locks", "{oops"),
                ],
            },
            { "role": "tool", "tool_call_id": "call:1", "content": "3 rows" },
            { "role": "tool", "tool_call_id": "reeve_1", "content": "The tool failed: denied" },
            { "role": "user", "content": "Go on." },
        ])
    );
}

#[tokio::test]
async fn responses_get_sealed_thoughts_back_and_store_nothing() {
    let prompt = Prompt { thinking_tokens: Some(1_000), ..conversation() };
    let seen = sent("openai-responses", "gpt-5-mini", "openai-responses-tools", "", prompt).await;
    assert_eq!(seen.path, "/v1/responses");
    assert_eq!(seen.body["store"], false);
    assert_eq!(seen.body["include"], json!(["reasoning.encrypted_content"]));
    assert_eq!(seen.body["reasoning"], json!({ "effort": "low", "summary": "auto" }));
    assert_eq!(seen.body["instructions"], "Be brief.");
    let kinds: Vec<&Value> = seen.body["input"].as_array().expect("items").iter().map(|item| &item["type"]).collect();
    let expected = [
        "message",
        "reasoning",
        "message",
        "function_call",
        "function_call",
        "function_call_output",
        "function_call_output",
        "message",
    ];
    assert_eq!(kinds, expected);
    let reasoning = json!({
        "type": "reasoning",
        "id": "rs_1",
        "summary": [{ "type": "summary_text", "text": "Hm." }],
        "encrypted_content": "O",
    });
    assert_eq!(seen.body["input"][1], reasoning);
    assert_eq!(seen.body["input"][2]["content"], "A database.");
}

#[tokio::test]
async fn gemini_gets_a_schema_that_it_takes_and_a_seal_with_each_turn_of_calls() {
    let prompt = Prompt { thinking_tokens: Some(1_000), ..conversation() };
    let seen = sent("gemini", "gemini-3.8-flash", "gemini-text", "", prompt.clone()).await;
    assert_eq!(seen.path, "/v1beta/models/gemini-3.8-flash:streamGenerateContent?alt=sse");
    assert_eq!(seen.header("x-goog-api-key"), Some("sk-secret"));
    let declared = &seen.body["tools"][0]["functionDeclarations"];
    let parameters = json!({ "type": "object", "properties": { "database": { "type": "string" } } });
    assert_eq!(declared[0]["parameters"], parameters);
    assert_eq!(declared[1].get("parameters"), None);
    assert_eq!(seen.body["systemInstruction"], json!({ "parts": [{ "text": "Be brief." }] }));
    assert_eq!(
        seen.body["generationConfig"],
        json!({ "maxOutputTokens": 500, "thinkingConfig": { "includeThoughts": true, "thinkingLevel": "low" } })
    );
    assert_eq!(
        seen.body["contents"][1]["parts"],
        json!([
            { "text": "", "thoughtSignature": "G" },
            { "text": "A database." },
            {
                "functionCall": { "name": "list_sessions", "args": { "database": "prod" }, "id": "call:1" },
                "thoughtSignature": "skip_thought_signature_validator",
            },
            {
                "functionCall": { "name": "list_locks", "args": { "not_an_object": "{oops" } },
                "thoughtSignature": "S",
            },
        ])
    );
    assert_eq!(
        seen.body["contents"][2]["parts"][1],
        json!({ "functionResponse": { "name": "list_locks", "response": { "error": "denied" } } })
    );
    let older = sent("gemini", "gemini-2.5-flash", "gemini-text", "", prompt).await.body;
    assert_eq!(older["generationConfig"]["thinkingConfig"]["thinkingBudget"], 1_000);
    assert_eq!(older["contents"][1]["parts"][2].get("thoughtSignature"), None);
}
