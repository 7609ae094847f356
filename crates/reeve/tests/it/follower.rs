//! A client that watches a session over server-sent events, and remembers all that it was told.

use std::io::{BufRead as _, BufReader};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use serde_json::Value;

use crate::server::{Server, eventually};

/// A client that watches one session from its beginning until the stream breaks.
pub(crate) struct Follower {
    seen: Arc<Mutex<Vec<Value>>>,
    reading: JoinHandle<()>,
}

impl Follower {
    pub(crate) fn of(server: &Server, key: &str, session: &str) -> Self {
        let client = reqwest::blocking::Client::builder().timeout(None).build().expect("a client");
        let answer = client
            .get(format!("{}/api/v1/sessions/{session}/stream?after=0", server.url))
            .bearer_auth(key)
            .send()
            .expect("a stream");
        assert_eq!(answer.status().as_u16(), 200);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&seen);
        let reading = std::thread::spawn(move || {
            let (mut id, mut data) = (None, None);
            for line in BufReader::new(answer).lines().map_while(Result::ok) {
                match line.split_once(':') {
                    Some(("id", number)) => id = number.trim().parse::<u64>().ok(),
                    Some(("data", text)) => data = Some(text.to_owned()),
                    _ => {
                        // An empty line ends a frame; one without a number is about the stream.
                        if let (Some(number), Some(text)) = (id.take(), data.take()) {
                            let event: Value = serde_json::from_str(&text).expect("JSON");
                            assert_eq!(event["seq"], number, "the frame's number is the event's");
                            sink.lock().expect("no panic").push(event);
                        }
                    }
                }
            }
        });
        Self { seen, reading }
    }

    pub(crate) fn until(&self, kind: &str) -> Value {
        eventually(|| self.seen.lock().expect("no panic").iter().find(|event| event["event"] == kind).cloned())
    }

    /// Everything that was seen before the stream broke.
    pub(crate) fn end(self) -> Vec<Value> {
        self.reading.join().expect("the follower read what it can");
        let seen = self.seen.lock().expect("no panic").clone();
        assert!(seen.iter().zip(1_u64..).all(|(event, number)| event["seq"] == number), "a gap in {seen:?}");
        seen
    }
}
