//! What comes over the line: broken, split, huge, noise.

use reeve_agents::acp::{AcpError, ContentBlock, End, ProtocolWarning, StopReason, Update};
use serde_json::{Value, json};

use crate::script::{Ear, SOON, connected, opening, options, plainly, prompted};

fn said(text: &str) -> Update {
    Update::AgentMessage { content: ContentBlock::text(text), message_id: None }
}

fn chunk(text: &str) -> Value {
    json!({"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": text}})
}

#[tokio::test]
async fn characters_may_be_split_anywhere_and_lines_may_be_counted() {
    let (ear, mut mind) = Ear::new();
    let (_connection, mut agent) = plainly(&ear).await;
    let params = json!({"sessionId": "s", "update": chunk("grüß dich 😀")});
    let line = format!("{}\r\n", json!({"jsonrpc": "2.0", "method": "session/update", "params": params}));
    for byte in line.as_bytes() {
        agent.raw(&[*byte]).await;
    }
    let body = line.trim_end();
    agent.raw(format!("\n\nContent-Length: {}\r\nContent-Type: x\r\n\r\n{body}", body.len()).as_bytes()).await;
    agent.raw(line.as_bytes()).await;
    for _ in 0..3 {
        assert_eq!(mind.update().await, said("grüß dich 😀"));
    }
}

#[tokio::test]
async fn noise_is_told_once_counted_and_survived() {
    let (ear, mut mind) = Ear::new();
    let (connection, mut agent) = plainly(&ear).await;
    let noise: [&[u8]; 9] = [
        b"Loaded cached credentials.\n",
        b"{\"jsonrpc\":\"2.0\",\"method\":\n",
        b"\xff\xfe{}\n",
        b"{\"jsonrpc\":\"2.0\",\"method\":\"session/update\",\"params\":\"\xff\"}\n",
        b"[{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"x\"}]\n",
        b"{\"jsonrpc\":\"1.0\",\"id\":1,\"method\":\"x\"}\n",
        b"{\"jsonrpc\":\"2.0\",\"id\":1}\n",
        b"{\"jsonrpc\":\"2.0\",\"id\":1,\"id\":2,\"method\":\"x\"}\n",
        b"null\n",
    ];
    for line in noise {
        agent.raw(line).await;
    }
    agent.update(chunk("still here")).await;
    assert!(matches!(mind.warning().await, ProtocolWarning::Garbage(_)));
    assert_eq!(mind.update().await, said("still here"));
    assert_eq!(connection.counts().garbage, 9);
    assert_eq!(connection.end(), None);
}

#[tokio::test]
async fn too_much_noise_ends_the_connection_and_whoever_waits_is_told() {
    let (ear, _mind) = Ear::new();
    let few = reeve_agents::acp::Options { garbage_max: 3, ..options() };
    let (connection, mut agent) = connected(&ear, few, json!({})).await;
    let (turn, _) = prompted(&connection, &mut agent).await;
    agent.raw(b"a\nb\nc\nd\ne\n").await;
    let end = tokio::time::timeout(SOON, connection.ended()).await.expect("an end");
    assert!(matches!(&end, End::Garbage { lines: 4, .. }), "{end:?}");
    assert_eq!(turn.await.expect("no panic"), Err(AcpError::Ended { why: end }));
}

#[tokio::test]
async fn a_huge_message_ends_it_whichever_way_it_is_framed() {
    for counted in [false, true] {
        let (ear, _mind) = Ear::new();
        let small = reeve_agents::acp::Options { frame_bytes_max: 100_000, ..options() };
        let (connection, mut agent) = connected(&ear, small, json!({})).await;
        let (turn, _) = prompted(&connection, &mut agent).await;
        if counted {
            agent.raw(b"Content-Length: 100001\r\n\r\n").await;
        } else {
            agent.raw(&vec![b'x'; 100_001]).await;
        }
        let expected = AcpError::Ended { why: End::FrameTooLarge { bytes_max: 100_000 } };
        assert_eq!(turn.await.expect("no panic"), Err(expected));
    }
}

#[tokio::test]
async fn a_large_message_below_the_bound_passes_both_ways() {
    let (ear, mut mind) = Ear::new();
    let (connection, mut agent) = plainly(&ear).await;
    let text = "ü".repeat(3_000_000);
    let update = chunk(&text);
    let telling = tokio::spawn(async move {
        agent.update(update).await;
        agent
    });
    assert_eq!(mind.update().await, said(&text));
    let mut agent = telling.await.expect("no panic");
    let asking = std::sync::Arc::clone(&connection);
    let prompt = vec![ContentBlock::text(text.clone())];
    let turn = tokio::spawn(async move { asking.prompt("s", prompt).await.map(|done| done.stop) });
    let (id, params) = agent.hear_request("session/prompt").await;
    assert_eq!(params["prompt"][0]["text"].as_str().map(str::len), Some(6_000_000));
    agent.answer(&id, json!({"stopReason": "end_turn"})).await;
    assert_eq!(turn.await.expect("no panic"), Ok(StopReason::EndTurn));
    let too_long = vec![ContentBlock::text("x".repeat(17_000_000))];
    let refused = connection.prompt("s", too_long).await.expect_err("too long");
    assert!(matches!(refused, AcpError::TooLarge { method: "session/prompt", .. }), "{refused}");
    assert_eq!(connection.end(), None);
}

#[tokio::test]
async fn the_end_of_the_output_fails_what_is_open_and_what_follows() {
    let (ear, _mind) = Ear::new();
    let (connection, mut agent) = plainly(&ear).await;
    let (turn, _) = prompted(&connection, &mut agent).await;
    drop(agent);
    let ended = AcpError::Ended { why: End::Closed };
    assert_eq!(turn.await.expect("no panic"), Err(ended.clone()));
    assert_eq!(connection.ended().await, End::Closed);
    assert_eq!(connection.authenticate("key").await, Err(ended));
}

#[tokio::test]
async fn an_agent_that_ends_in_the_middle_of_a_message_has_ended() {
    let (opening, mut agent) = opening(options());
    agent.hear_request("initialize").await;
    agent.raw(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"resu").await;
    drop(agent);
    let failed = opening.await.expect("no panic").err().expect("no connection");
    assert_eq!(failed, AcpError::Ended { why: End::Closed });
}
