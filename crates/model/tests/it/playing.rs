//! Recording, replaying and scripts.

use std::time::Duration;

use reeve_gate::model::{ModelEvent, ModelFailureKind};
use reeve_model::{Catalog, ModelsConfig, prompt_digest};
use reeve_types::model::{Block, Message, ModelRole, Prompt, StopReason};
use serde_json::json;

use crate::asking::{ask, ask_within, catalog, cx, prompt, provider};
use crate::scripted_provider::{Answer, ScriptedProvider};

#[tokio::test]
async fn what_was_recorded_is_played_without_the_provider_and_without_the_key() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("conversation.jsonl");
    let answers = ["anthropic-thinking-tools", "anthropic-text", "anthropic-text"].map(Answer::transcript);
    let server = ScriptedProvider::start(answers).await;
    let config = format!("record = '{}'\n{}", file.display(), provider("anthropic", &server.url));
    let other = Prompt { messages: vec![Message::user("And staging?")], ..prompt() };
    let recording = catalog(&config);
    let first = ask(&recording, "p/claude-opus-4-6", prompt()).await;
    let again = ask(&recording, "p/claude-opus-4-6", prompt()).await;
    let second = ask(&recording, "p/claude-opus-4-6", other.clone()).await;
    assert_ne!(first.reply(), again.reply());

    let text = std::fs::read_to_string(&file).expect("the recording");
    assert_eq!(text.lines().count(), 3);
    assert!(!text.contains("sk-secret"));
    assert!(text.contains(&prompt_digest(&other).to_string()));
    let mode = std::os::unix::fs::MetadataExt::mode(&file.metadata().expect("the file"));
    assert_eq!(mode & 0o777, 0o600);

    let played = catalog(&format!("[providers.r]\nkind = 'replay'\nrecording = '{}'", file.display()));
    assert_eq!(ask(&played, "r/any", other).await.reply(), second.reply());
    let replayed = ask(&played, "r/any", prompt()).await;
    assert_eq!(replayed.reply(), first.reply());
    assert!(replayed.events.iter().any(|event| matches!(event, ModelEvent::ToolUse { .. })));
    assert_eq!(replayed.words(), "Looking at both.");
    for _ in 0..2 {
        assert_eq!(ask(&played, "r/any", prompt()).await.reply(), again.reply(), "the last one stays");
    }

    let unknown = Prompt { system: "Be long.".to_owned(), ..prompt() };
    let miss = ask(&played, "r/any", unknown.clone()).await;
    assert_eq!(miss.failure().kind, ModelFailureKind::Rejected);
    assert!(miss.failure().message.contains(&prompt_digest(&unknown).to_string()), "{}", miss.failure().message);
}

fn scripted(script: &str) -> (tempfile::TempDir, Result<Catalog, String>) {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("script.jsonl");
    std::fs::write(&file, script).expect("the script");
    let config = format!("[providers.s]\nkind = 'replay'\nscript = '{}'", file.display());
    let config: ModelsConfig = toml::from_str(&config).expect("a configuration");
    let catalog = Catalog::new(config).map_err(|error| error.to_string());
    (dir, catalog)
}

#[tokio::test(start_paused = true)]
async fn a_script_answers_by_the_place_in_the_conversation() {
    let (_dir, catalog) = scripted(
        "# first it looks\n\
         {\"thinking\": \"Hm.\", \"text\": \"One moment.\", \"tools\": [{\"name\": \"look\", \"input\": {\"at\": \"prod\"}}, {\"name\": \"list\"}]}\n\
         \n\
         {\"expect\": \"3 rows\", \"text\": \"Three of them.\", \"pause_ms\": 1000}\n\
         {\"failure\": \"limited\"}\n",
    );
    let catalog = catalog.expect("a catalog");
    let mut asked = prompt();
    let default = ask_within(&catalog, None, asked.clone(), &cx()).await;
    assert_eq!(default.reply().model, "s/replay");
    let first = ask(&catalog, "s/m", asked.clone()).await;
    assert_eq!(first.reply().stop, StopReason::ToolUse);
    assert_eq!(
        first.reply().blocks[2..],
        [
            Block::ToolUse {
                id: "call_1_1".into(),
                name: "look".into(),
                input: json!({ "at": "prod" }),
                signature: None
            },
            Block::ToolUse { id: "call_1_2".into(), name: "list".into(), input: json!({}), signature: None },
        ]
    );
    // The same question again has the same answer: nothing is remembered.
    assert_eq!(ask(&catalog, "s/m", asked.clone()).await.reply(), first.reply());

    asked.messages.push(Message { role: ModelRole::Assistant, blocks: first.reply().blocks.clone() });
    let lost = ask(&catalog, "s/m", asked.clone()).await;
    assert!(lost.failure().message.contains("3 rows"), "{}", lost.failure().message);

    let result = |content: &str| Block::ToolResult {
        tool_use_id: "call_1_1".into(),
        name: "look".into(),
        content: content.into(),
        is_error: false,
    };
    asked.messages.push(Message { role: ModelRole::User, blocks: vec![result("there are 3 rows")] });
    let started = tokio::time::Instant::now();
    let second = ask(&catalog, "s/m", asked.clone()).await;
    assert_eq!(second.words(), "Three of them.");
    assert_eq!(started.elapsed(), Duration::from_secs(3));

    for (answers, kind) in [(2, ModelFailureKind::Limited), (3, ModelFailureKind::Rejected)] {
        let turn = Message { role: ModelRole::Assistant, blocks: Vec::new() };
        let far = Prompt { messages: vec![turn; answers], ..prompt() };
        assert_eq!(ask(&catalog, "s/m", far).await.failure().kind, kind);
    }
}

#[test]
fn a_script_that_makes_no_sense_is_refused_with_its_line() {
    for (script, word) in [
        ("{\"text\": \"a\"}\n{\"txet\": \"b\"}", "line 2"),
        ("{\"failure\": \"boredom\"}", "boredom"),
        ("no json", "line 1"),
    ] {
        let (_dir, catalog) = scripted(script);
        let problem = catalog.err().expect("a problem");
        assert!(problem.contains(word), "{problem}");
    }
}
