//! Standard input and output through the relay to a running server.

use std::sync::Arc;

use futures_util::StreamExt as _;
use reeve_mcp::relay::{self, Incoming, Outgoing, Send};
use rmcp::model::ClientConfig;
use rmcp::service::{ClientLifecycleMode, ClientServiceExt as _};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, DuplexStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::house::{Client, House, PATIENCE, modern, older};

fn to(url: String, key: String) -> Send {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    Arc::new(move |outgoing: Outgoing| {
        let request = http.post(&url).bearer_auth(&key).header("accept", "application/json, text/event-stream");
        let request = outgoing.headers.iter().fold(request, |request, (name, value)| request.header(*name, value));
        let request = request.json(&outgoing.body);
        Box::pin(async move {
            let answer = request.send().await.map_err(|error| error.to_string())?;
            let kind = answer.headers().get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
            let (status, is_stream) = (answer.status().as_u16(), kind.starts_with("text/event-stream"));
            let body = answer.bytes_stream().map(|piece| piece.map(|p| p.to_vec()).map_err(|e| e.to_string())).boxed();
            Ok(Incoming { status, is_stream, body })
        })
    })
}

/// A relay, and our end of its pipes.
fn relayed(send: Send) -> (DuplexStream, JoinHandle<std::io::Result<()>>) {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let (read, write) = tokio::io::split(theirs);
    (ours, tokio::spawn(relay::run(BufReader::new(read), write, send, CancellationToken::new())))
}

async fn client(house: &House, roles: &[&str], lifecycle: ClientLifecycleMode) -> Client {
    let key = house.key("default", "alice", roles).await;
    let (ours, _) = relayed(to(house.url(), key));
    Client(ClientConfig::default().serve_with_lifecycle(tokio::io::split(ours), lifecycle).await.expect("it opens"))
}

#[tokio::test]
async fn a_client_on_standard_input_and_output_gets_the_same_as_over_http() {
    let house = House::new([]).await;
    for lifecycle in [older(), modern()] {
        let alice = client(&house, &["dba"], lifecycle).await;
        let tools = alice.tools().await;
        assert!(tools.iter().any(|tool| tool == "test_look"), "{tools:?}");
        let looked = alice.data("test_look", json!({"connection_string": "db"})).await;
        assert_eq!(looked["state"], "completed");
        let health = rmcp::model::ReadResourceRequestParams::new("reeve://health");
        assert!(alice.0.read_resource(health).await.is_ok());
        let filled = rmcp::model::GetPromptRequestParams::new("debug_session");
        let arguments = json!({"sessionId": "ses_00000000000000000000000000"}).as_object().cloned().unwrap();
        assert!(alice.0.get_prompt(filled.with_arguments(arguments)).await.is_ok());
    }
    assert_eq!(client(&house, &[], older()).await.refused("test_look", json!({})).await["code"], "FORBIDDEN");
}

async fn exchange(pipe: &mut BufReader<DuplexStream>, line: &str) -> Value {
    pipe.get_mut().write_all(line.as_bytes()).await.unwrap();
    pipe.get_mut().write_all(b"\n").await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(PATIENCE, pipe.read_line(&mut answer)).await.expect("an answer in time").unwrap();
    serde_json::from_str(&answer).unwrap()
}

#[tokio::test]
async fn every_request_is_answered_whatever_it_is_and_whether_anybody_is_there() {
    let house = House::new([]).await;
    let key = house.key("default", "alice", &["dba"]).await;
    let (ours, task) = relayed(to(house.url(), key));
    let mut pipe = BufReader::new(ours);
    assert_eq!(exchange(&mut pipe, "nonsense").await["error"]["code"], -32700);
    assert_eq!(exchange(&mut pipe, "[]").await["error"]["code"], -32600);
    let long = format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"x\":\"{}\"}}", "x".repeat(9 << 20));
    assert_eq!(exchange(&mut pipe, &long).await["error"]["code"], -32600);
    let unknown = exchange(&mut pipe, r#"{"jsonrpc":"2.0","id":"é","method":"no/such"}"#).await;
    assert_eq!((&unknown["id"], &unknown["error"]["code"]), (&json!("é"), &json!(-32601)));
    let nothing = r#"{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"no_such_tool"}}"#;
    let nothing = exchange(&mut pipe, nothing).await;
    assert_eq!((&nothing["id"], &nothing["error"]["code"]), (&json!(3), &json!(-32602)));
    drop(pipe);
    tokio::time::timeout(PATIENCE, task).await.expect("it ends with its input").unwrap().unwrap();

    let (ours, _) = relayed(to(house.url(), "reeve_wrong".to_owned()));
    let refused = exchange(&mut BufReader::new(ours), r#"{"jsonrpc":"2.0","id":4,"method":"ping"}"#).await;
    assert_eq!(refused["id"], 4);
    assert!(refused["error"]["message"].as_str().is_some_and(|said| !said.is_empty()), "{refused}");

    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (ours, _) = relayed(to(format!("http://127.0.0.1:{port}/mcp"), String::new()));
    let nobody = exchange(&mut BufReader::new(ours), r#"{"jsonrpc":"2.0","id":5,"method":"ping"}"#).await;
    assert_eq!((&nobody["id"], &nobody["error"]["data"]["code"]), (&json!(5), &json!("SERVER_UNREACHABLE")));
}

#[tokio::test]
async fn a_request_that_is_called_off_hangs_up_and_the_rest_goes_on() {
    let house = House::new([]).await;
    let key = house.key("default", "alice", &["dba"]).await;
    let (ours, _) = relayed(to(house.url(), key));
    let mut pipe = BufReader::new(ours);
    let call = |id: u32, tool: &str, arguments: Value| {
        json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": tool, "arguments": arguments}})
            .to_string()
    };
    let asked = exchange(&mut pipe, &call(1, "test_change", json!({"connection_string": "db"}))).await;
    let act = asked["result"]["structuredContent"]["action_id"].clone();
    let wait = call(2, "wait_for_action", json!({"action_id": act, "timeout_seconds": 300}));
    pipe.get_mut().write_all(format!("{wait}\n").as_bytes()).await.unwrap();
    let off = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 2}}).to_string();
    pipe.get_mut().write_all(format!("{off}\n").as_bytes()).await.unwrap();
    let next = exchange(&mut pipe, &call(3, "get_action", json!({"action_id": act}))).await;
    assert_eq!(next["id"], 3, "the answer of what was called off does not come");
    assert_eq!(next["result"]["structuredContent"]["state"], "awaiting_approval", "nothing was undone by it");
}
