//! JSON-RPC 2.0: what a frame says, and how ours are put into words.
//!
//! Ids are kept as they were written. JSON has numbers that no type of ours holds, and an agent that asks with such an
//! id waits for exactly those characters.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::error::sentence;

/// Longest id that is answered, in bytes.
const ID_BYTES_MAX: usize = 4096;

/// An id as it was written.
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub(super) struct Id(Box<RawValue>);

impl Id {
    /// Without line breaks, which would end a frame that carries it back.
    fn read(raw: &RawValue) -> Result<Self, String> {
        if raw.get().len() > ID_BYTES_MAX {
            return Err(format!("its id has {} bytes", raw.get().len()));
        }
        if !raw.get().contains(['\n', '\r']) {
            return Ok(Self(raw.to_owned()));
        }
        let value: Value = serde_json::from_str(raw.get()).map_err(|error| error.to_string())?;
        serde_json::value::to_raw_value(&value).map(Self).map_err(|error| error.to_string())
    }

    /// The number that one of our own calls has.
    pub(super) fn number(&self) -> Option<u64> {
        self.0.get().parse().ok()
    }

    /// For comparing and for showing.
    pub(super) fn text(&self) -> &str {
        self.0.get()
    }
}

/// What an agent answers instead of a result.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Refusal {
    pub(super) code: i64,
    pub(super) message: String,
    pub(super) data: Option<Value>,
}

/// One message.
#[derive(Debug)]
pub(super) enum Message {
    Request { id: Id, method: String, params: Option<Box<RawValue>> },
    Notification { method: String, params: Option<Box<RawValue>> },
    Answer { id: Id, outcome: Result<Box<RawValue>, Refusal> },
}

#[derive(Deserialize)]
struct Envelope<'a> {
    jsonrpc: Option<String>,
    method: Option<String>,
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    params: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    result: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    error: Option<&'a RawValue>,
}

/// `null` is something else than nothing.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

impl Message {
    /// Reads a frame; otherwise says what is wrong with it, without repeating it.
    pub(super) fn read(frame: &[u8]) -> Result<Self, String> {
        match frame.trim_ascii_start().first() {
            Some(b'{') => {}
            Some(b'[') => return Err("a batch, which the protocol has not".to_owned()),
            _ => return Err("it is no JSON object".to_owned()),
        }
        let envelope: Envelope<'_> = serde_json::from_slice(frame).map_err(|error| whats_wrong(&error))?;
        if envelope.jsonrpc.as_deref() != Some("2.0") {
            return Err("it does not say `\"jsonrpc\":\"2.0\"`".to_owned());
        }
        let id = envelope.id.map(Id::read).transpose()?;
        let params = envelope.params.map(ToOwned::to_owned);
        let error = envelope.error.filter(|error| error.get() != "null");
        match (envelope.method, id, envelope.result, error) {
            (Some(method), Some(id), ..) => Ok(Self::Request { id, method, params }),
            (Some(method), None, ..) => Ok(Self::Notification { method, params }),
            (None, Some(id), _, Some(error)) => Ok(Self::Answer { id, outcome: Err(Refusal::read(error)) }),
            (None, Some(id), Some(result), None) => Ok(Self::Answer { id, outcome: Ok(result.to_owned()) }),
            _ => Err("it is neither a request nor an answer".to_owned()),
        }
    }
}

impl Refusal {
    fn read(raw: &RawValue) -> Self {
        #[derive(Deserialize)]
        struct Told {
            #[serde(default)]
            code: Option<Value>,
            #[serde(default)]
            message: Option<Value>,
            #[serde(default)]
            data: Option<Value>,
        }
        let told: Told = serde_json::from_str(raw.get()).unwrap_or(Told { code: None, message: None, data: None });
        let code = told.code.and_then(|code| code.as_i64()).unwrap_or(-32603);
        let message = told.message.as_ref().and_then(Value::as_str).unwrap_or("it gives no reason");
        Self { code, message: sentence(message), data: told.data }
    }
}

/// Serde's own words repeat what they met; a category and a place do not.
fn whats_wrong(error: &serde_json::Error) -> String {
    let category = match error.classify() {
        serde_json::error::Category::Eof => "it breaks off",
        serde_json::error::Category::Syntax => "it is no JSON",
        serde_json::error::Category::Data | serde_json::error::Category::Io => "its parts have the wrong types",
    };
    format!("{category}, at column {}", error.column())
}

#[derive(Serialize)]
struct Call<'a, P> {
    jsonrpc: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<u64>,
    method: &'a str,
    params: &'a P,
}

/// A request, or a notification when it has no id.
pub(super) fn call(id: Option<u64>, method: &str, params: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    line(&Call { jsonrpc: "2.0", id, method, params })
}

/// An answer to the agent.
pub(super) fn answer(id: &Id, result: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    #[derive(Serialize)]
    struct Answer<'a, R> {
        jsonrpc: &'static str,
        id: &'a Id,
        result: &'a R,
    }
    line(&Answer { jsonrpc: "2.0", id, result })
}

/// A refusal to the agent.
pub(super) fn refusal(id: &Id, code: i64, message: &str) -> serde_json::Result<Vec<u8>> {
    #[derive(Serialize)]
    struct Error<'a> {
        code: i64,
        message: &'a str,
    }
    #[derive(Serialize)]
    struct Answer<'a> {
        jsonrpc: &'static str,
        id: &'a Id,
        error: Error<'a>,
    }
    line(&Answer { jsonrpc: "2.0", id, error: Error { code, message } })
}

fn line(message: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_come_back_as_they_came() {
        for id in ["7", "\"7\"", "null", "1.0", "1e3", "-0", "123456789012345678901234567890", "true", "{\"a\":[1]}"] {
            let frame = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"x\"}}");
            let Ok(Message::Request { id: read, .. }) = Message::read(frame.as_bytes()) else { panic!("{frame}") };
            let back = String::from_utf8(answer(&read, &1).expect("an answer")).expect("text");
            assert_eq!(back, format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":1}}\n"));
        }
        let frame = "{\"jsonrpc\":\"2.0\",\"id\":{\n},\"method\":\"x\"}";
        let Ok(Message::Request { id, .. }) = Message::read(frame.as_bytes()) else { panic!("{frame}") };
        assert_eq!(id.text(), "{}");
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            if Message::read(&bytes).is_ok() {
                proptest::prop_assert!(serde_json::from_slice::<serde::de::IgnoredAny>(&bytes).is_ok());
            }
        }

        #[test]
        fn what_is_refused_is_not_repeated(word in "[a-z]{12}") {
            let frame = format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":{{\"{word}\":\"{word}\"}}}}");
            let said = Message::read(frame.as_bytes()).expect_err("a refusal");
            proptest::prop_assert!(!said.contains(&word), "{said}");
        }
    }
}
