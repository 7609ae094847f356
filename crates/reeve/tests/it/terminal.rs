//! A terminal of a workspace on a real server, as a client at the other end of its socket sees it.

use std::net::TcpStream;

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::client::{IntoClientRequest as _, client};
use tokio_tungstenite::tungstenite::{Message, WebSocket};

use crate::server::{PATIENCE, Server};

/// One who looks at a terminal.
pub(crate) struct Terminal {
    socket: WebSocket<TcpStream>,
    pub(crate) id: String,
}

impl Terminal {
    pub(crate) fn open(server: &Server, workspace: &str, argv: &[&str]) -> Self {
        let path = format!("/api/v1/workspaces/{workspace}/terminals");
        let opened = server.post(&path, &json!({"argv": argv})).expect(201);
        Self::attach(server, workspace, opened["id"].as_str().expect("an id"))
    }

    pub(crate) fn attach(server: &Server, workspace: &str, id: &str) -> Self {
        let place = server.url.trim_start_matches("http://");
        let address = format!("ws://{place}/api/v1/workspaces/{workspace}/terminals/{id}/socket");
        let mut request = address.into_client_request().expect("an address");
        let key = format!("Bearer {}", server.token()).parse().expect("a header");
        request.headers_mut().insert("authorization", key);
        request.headers_mut().insert("sec-websocket-protocol", "reeve.term.v1".parse().expect("a header"));
        let stream = TcpStream::connect(place).expect("the server listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        let (socket, _) = client(request, stream).expect("a WebSocket");
        let mut terminal = Self { socket, id: id.to_owned() };
        assert_eq!(terminal.told()["type"], "ready");
        terminal
    }

    fn next(&mut self) -> Message {
        self.socket.read().expect("a message in time")
    }

    /// The next word beside what is shown.
    fn told(&mut self) -> Value {
        loop {
            if let Message::Text(text) = self.next() {
                return serde_json::from_str(&text).expect("JSON");
            }
        }
    }

    pub(crate) fn type_in(&mut self, text: &str) {
        self.socket.send(Message::binary(text.as_bytes().to_vec())).expect("it is sent");
    }

    pub(crate) fn control(&mut self, control: &Value) {
        self.socket.send(Message::text(control.to_string())).expect("it is sent");
    }

    /// Reads so many bytes at least and forgets them.
    pub(crate) fn skip(&mut self, bytes: usize) {
        let mut seen = 0;
        while seen < bytes {
            if let Message::Binary(shown) = self.next() {
                seen += shown.len();
            }
        }
    }

    /// Reads until words were shown, and says how many bytes that took.
    pub(crate) fn until(&mut self, words: &str) -> usize {
        let (mut seen, mut last) = (0, Vec::new());
        loop {
            if let Message::Binary(shown) = self.next() {
                seen += shown.len();
                last.extend_from_slice(&shown);
                if last.windows(words.len()).any(|window| window == words.as_bytes()) {
                    return seen;
                }
                last.drain(..last.len().saturating_sub(words.len()));
            }
        }
    }
}
