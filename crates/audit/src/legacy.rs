//! The hash of records in the first version of the format, for reading logs that were written so.
//!
//! It leaves out who asked, for what purpose and what policy said. Nothing is written with it.

use reeve_types::Digest;
use serde_json::{Map, Value};

/// Why a record has no hash of the first version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LegacyError {
    /// It is not an object.
    #[error("the record is not a JSON object")]
    NotAnObject,
    /// A part that the formula needs is absent or of another kind.
    #[error("the record has no usable field `{field}`, which its hash covers")]
    BadField {
        /// The field.
        field: &'static str,
    },
}

/// How a field of a nested object enters the hash.
#[derive(Clone, Copy)]
enum Rule {
    /// As it stands; left out when absent.
    AsIs,
    /// A time; this one when absent.
    TimeOr(&'static str),
    /// A time; left out when absent.
    Time,
    /// A number, 0 when absent.
    NumberOrZero,
    /// A text, empty when absent.
    TextOrEmpty,
    /// A list; `null` when empty or absent.
    ListOrNull,
}

use Rule::{AsIs, ListOrNull, NumberOrZero, TextOrEmpty, Time, TimeOr};

type Fields = &'static [(&'static str, Rule)];

const NO_TIME: &str = "0001-01-01T00:00:00Z";

const SESSION: Fields = &[
    ("id", TextOrEmpty),
    ("user_id", AsIs),
    ("agent_name", AsIs),
    ("started_at", TimeOr(NO_TIME)),
    ("delegation_count", NumberOrZero),
];
const INPUT: Fields = &[("user_query", TextOrEmpty), ("infrastructure_context", AsIs)];
const OUTPUT: Fields = &[("response", AsIs)];
const TOOL: Fields = &[
    ("name", AsIs),
    ("agent", AsIs),
    ("parameters", AsIs),
    ("raw_command", AsIs),
    ("result", AsIs),
    ("error", AsIs),
    ("duration_ms", AsIs),
    ("pre_state", AsIs),
];
const APPROVAL: Fields = &[
    ("required", AsIs),
    ("status", AsIs),
    ("requested_by", AsIs),
    ("requested_at", TimeOr(NO_TIME)),
    ("approved_by", AsIs),
    ("approved_at", TimeOr(NO_TIME)),
    ("justification", AsIs),
    ("policy_name", AsIs),
    ("expires_at", TimeOr(NO_TIME)),
];
const DECISION: Fields = &[
    ("agent", AsIs),
    ("request_category", AsIs),
    ("confidence", AsIs),
    ("user_intent", AsIs),
    ("reasoning_chain", ListOrNull),
    ("alternatives_considered", ListOrNull),
    ("playbook_series_id", AsIs),
];
const OUTCOME: Fields = &[("status", AsIs), ("error_message", AsIs), ("duration_ms", NumberOrZero)];

/// The hash that a record of the first version should have: SHA-256 over its covered fields in their fixed order.
pub fn legacy_event_hash(event_json: &Value) -> Result<Digest, LegacyError> {
    Ok(Digest::of(covered_text(event_json)?.as_bytes()))
}

fn covered_text(event_json: &Value) -> Result<String, LegacyError> {
    let event = event_json.as_object().ok_or(LegacyError::NotAnObject)?;
    let mut out = ObjectText::new();
    for (field, rule) in [("event_id", AsIs), ("timestamp", Time), ("event_type", AsIs)] {
        let text = text_of(event, field)?.ok_or(LegacyError::BadField { field })?;
        out.field(field, |out| write_ruled(out, &Value::String(text.to_owned()), rule));
    }
    for field in ["trace_id", "parent_id", "action_class", "prev_hash"] {
        if let Some(text) = text_of(event, field)?.filter(|text| !text.is_empty()) {
            out.field(field, |out| write_text(out, text));
        }
    }
    let empty = Map::new();
    for (field, fields) in [("session", SESSION), ("input", INPUT)] {
        let part = part_of(event, field)?.unwrap_or(&empty);
        out.field(field, |out| write_part(out, part, fields));
    }
    let optional =
        [("output", OUTPUT), ("tool", TOOL), ("approval", APPROVAL), ("decision", DECISION), ("outcome", OUTCOME)];
    for (field, fields) in optional {
        if let Some(part) = part_of(event, field)? {
            out.field(field, |out| write_part(out, part, fields));
        }
    }
    Ok(out.end())
}

fn text_of<'a>(event: &'a Map<String, Value>, field: &'static str) -> Result<Option<&'a str>, LegacyError> {
    match event.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(LegacyError::BadField { field }),
    }
}

fn part_of<'a>(
    event: &'a Map<String, Value>,
    field: &'static str,
) -> Result<Option<&'a Map<String, Value>>, LegacyError> {
    match event.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(part)) => Ok(Some(part)),
        Some(_) => Err(LegacyError::BadField { field }),
    }
}

/// A JSON object being written, without spaces.
struct ObjectText(String);

impl ObjectText {
    fn new() -> Self {
        Self("{".to_owned())
    }

    fn field(&mut self, name: &str, value: impl FnOnce(&mut String)) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        write_text(&mut self.0, name);
        self.0.push(':');
        value(&mut self.0);
    }

    fn end(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

fn write_part(out: &mut String, part: &Map<String, Value>, fields: Fields) {
    let mut text = ObjectText::new();
    for (name, rule) in fields {
        let absent = match rule {
            AsIs | Time => None,
            TimeOr(time) => Some(Value::String((*time).to_owned())),
            NumberOrZero => Some(Value::from(0)),
            TextOrEmpty => Some(Value::String(String::new())),
            ListOrNull => Some(Value::Null),
        };
        if let Some(value) = part.get(*name).filter(|value| !value.is_null()).or(absent.as_ref()) {
            text.field(name, |out| write_ruled(out, value, *rule));
        }
    }
    out.push_str(&text.end());
}

fn write_ruled(out: &mut String, value: &Value, rule: Rule) {
    match (rule, value) {
        (Time | TimeOr(_), Value::String(time)) => write_text(out, &plain_time(time)),
        (ListOrNull, Value::Array(items)) if items.is_empty() => out.push_str("null"),
        _ => write_value(out, value),
    }
}

/// A time without zeros at the end of its fraction and with `Z` for the zero offset.
fn plain_time(time: &str) -> String {
    let offset_at = time.find('T').and_then(|t| time[t..].find(['Z', '+', '-']).map(|at| t + at)).unwrap_or(time.len());
    let (clock, offset) = time.split_at(offset_at);
    let clock = if clock.contains('.') { clock.trim_end_matches('0').trim_end_matches('.') } else { clock };
    let offset = if matches!(offset, "+00:00" | "-00:00") { "Z" } else { offset };
    format!("{clock}{offset}")
}

fn write_value(out: &mut String, value: &Value) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(yes) => out.push_str(if *yes { "true" } else { "false" }),
        Value::Number(number) => write_number(out, number),
        Value::String(text) => write_text(out, text),
        Value::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write_value(out, item);
            }
            out.push(']');
        }
        Value::Object(fields) => {
            let mut sorted: Vec<_> = fields.iter().collect();
            sorted.sort_by_key(|(name, _)| *name);
            let mut text = ObjectText::new();
            for (name, value) in sorted {
                text.field(name, |out| write_value(out, value));
            }
            out.push_str(&text.end());
        }
    }
}

/// Numbers as the writers of that format print them: an exponent below 1e-6 and from 1e21 on, with its sign.
fn write_number(out: &mut String, number: &serde_json::Number) {
    let whole = number.as_u64().map(|n| n.to_string()).or_else(|| number.as_i64().map(|n| n.to_string()));
    let text = match (whole, number.as_f64()) {
        (Some(whole), _) => whole,
        (None, Some(float)) if float != 0.0 && !(1e-6..1e21).contains(&float.abs()) => {
            let text = format!("{float:e}");
            if text.contains("e-") { text } else { text.replace('e', "e+") }
        }
        (None, Some(float)) => float.to_string(),
        (None, None) => number.to_string(),
    };
    out.push_str(&text);
}

/// A JSON string in which `<`, `>`, `&` and the two Unicode line separators are escaped as well.
fn write_text(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            _ => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn vector() -> Value {
        json!({
            "input": {"user_query": "a<b"},
            "session": {"delegation_count": 0, "started_at": "2026-01-02T03:04:05Z", "id": "s1"},
            "timestamp": "2026-01-02T03:04:05.120000000Z",
            "event_id": "evt_00000001",
            "event_type": "tool_execution",
            "trace_id": "tr_1",
            "parent_id": "",
            "action_class": "read",
            "prev_hash": Digest::ZERO.to_string(),
            "event_hash": "of no importance",
            "principal": {"user_id": "alice"},
        })
    }

    #[test]
    fn the_worked_example_has_its_hash() {
        let hash = legacy_event_hash(&vector()).unwrap().to_string();
        assert_eq!(hash, "167ade9b79b806970591914c751fff45671fc4f3be0461d6a7ef963697da76c8");
    }

    #[test]
    fn nested_parts_are_written_in_their_order() {
        let mut event = vector();
        event["tool"] = json!({"parameters": {"z": 1, "a": [1.5, 1e21, 1e-7, -2, 5.0]}, "name": "t", "unknown": 1});
        event["approval"] = json!({"status": "approved", "approved_at": "2026-01-02T03:04:05.10+02:00"});
        event["decision"] = json!({"agent": "database", "confidence": 0.9, "reasoning_chain": []});
        event["outcome"] = json!({"status": "success"});
        let text = covered_text(&event).unwrap();
        let tail = text.split_once(r#""input":{"user_query":"a\u003cb"},"#).unwrap().1;
        assert_eq!(
            tail,
            concat!(
                r#""tool":{"name":"t","parameters":{"a":[1.5,1e+21,1e-7,-2,5],"z":1}},"#,
                r#""approval":{"status":"approved","requested_at":"0001-01-01T00:00:00Z","#,
                r#""approved_at":"2026-01-02T03:04:05.1+02:00","expires_at":"0001-01-01T00:00:00Z"},"#,
                r#""decision":{"agent":"database","confidence":0.9,"reasoning_chain":null,"alternatives_considered":null},"#,
                r#""outcome":{"status":"success","duration_ms":0}}"#,
            )
        );
    }

    #[test]
    fn what_the_formula_leaves_out_can_be_changed_unseen() {
        let mut event = vector();
        let before = legacy_event_hash(&event).unwrap();
        event["principal"] = json!({"user_id": "mallory"});
        assert_eq!(legacy_event_hash(&event).unwrap(), before);
        event["action_class"] = json!("write");
        assert_ne!(legacy_event_hash(&event).unwrap(), before);
    }

    #[test]
    fn other_shapes_are_refused() {
        assert_eq!(legacy_event_hash(&json!([])), Err(LegacyError::NotAnObject));
        assert_eq!(legacy_event_hash(&json!({})), Err(LegacyError::BadField { field: "event_id" }));
        let mut event = vector();
        event["tool"] = json!("text");
        assert_eq!(legacy_event_hash(&event), Err(LegacyError::BadField { field: "tool" }));
    }

    #[test]
    fn times_have_one_spelling() {
        let table = [
            ("2026-01-02T03:04:05.000Z", "2026-01-02T03:04:05Z"),
            ("2026-01-02T03:04:10Z", "2026-01-02T03:04:10Z"),
            ("2026-01-02T03:04:05.500+00:00", "2026-01-02T03:04:05.5Z"),
            ("2026-01-02T03:04:05.5-07:00", "2026-01-02T03:04:05.5-07:00"),
            ("no time", "no time"),
        ];
        for (time, plain) in table {
            assert_eq!(plain_time(time), plain);
        }
    }
}
