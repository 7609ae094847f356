//! Secrets taken out of what agents say, before it is stored.
//!
//! By the name of a field (`token`, `password`, `Authorization`, …) everything in it, and anywhere what has the shape of
//! a known secret. When in doubt more is taken out rather than less; counts of tokens stay, since they are no secrets.

mod shapes;

use serde_json::Value;

/// How deep is looked. What lies deeper is taken out whole.
const DEPTH_MAX: usize = 200;
/// How what stands instead of a secret begins.
const MARK: &str = "[REDACTED:";
/// Parts of names of fields that hold secrets, without case and punctuation.
const SECRET_NAMES: [&str; 11] = [
    "token",
    "secret",
    "password",
    "passwd",
    "passphrase",
    "apikey",
    "accesskey",
    "privatekey",
    "authorization",
    "cookie",
    "credential",
];

/// Takes secrets out, in place. What stands there instead says what it was: `[REDACTED:github-token]`.
pub fn redact(value: &mut Value) {
    plain(value, 0);
}

fn plain(value: &mut Value, depth: usize) {
    if depth > DEPTH_MAX {
        *value = mark("too-deep");
        return;
    }
    match value {
        Value::String(text) => {
            if let Some(redacted) = shapes::redacted(text) {
                *text = redacted;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| plain(item, depth + 1)),
        Value::Object(fields) => {
            // Variables and headers are often written as objects with a name and a value.
            let named = ["name", "key", "header"].iter().filter_map(|key| fields.get(*key)?.as_str());
            let holds_secret = named.into_iter().any(|name| secret_name(name).is_some());
            for (key, field) in fields.iter_mut() {
                match secret_name(key) {
                    Some(name) => secret(field, name, depth + 1),
                    None if holds_secret && key.eq_ignore_ascii_case("value") => secret(field, "value", depth + 1),
                    None => plain(field, depth + 1),
                }
            }
            redact_names(fields);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Everything in a field that holds a secret. Numbers of tokens are counts.
fn secret(value: &mut Value, name: &'static str, depth: usize) {
    if depth > DEPTH_MAX {
        *value = mark("too-deep");
        return;
    }
    match value {
        Value::String(text) if text.is_empty() || is_mark(text) => {}
        Value::Number(_) if name == "token" => {}
        Value::String(_) | Value::Number(_) => *value = mark(name),
        Value::Array(items) => items.iter_mut().for_each(|item| secret(item, name, depth + 1)),
        Value::Object(fields) => {
            fields.iter_mut().for_each(|(_, field)| secret(field, name, depth + 1));
            redact_names(fields);
        }
        Value::Null | Value::Bool(_) => {}
    }
}

/// A name may be a secret, too.
fn redact_names(fields: &mut serde_json::Map<String, Value>) {
    let telling: Vec<(String, String)> =
        fields.keys().filter_map(|key| Some((key.clone(), shapes::redacted(key)?))).collect();
    for (key, redacted) in telling {
        if let Some(field) = fields.remove(&key) {
            fields.insert(redacted, field);
        }
    }
}

fn secret_name(key: &str) -> Option<&'static str> {
    // What was taken out of a name before says nothing about it.
    let said = key.split(MARK).enumerate().map(|(place, part)| match place {
        0 => part,
        _ => part.split_once(']').map_or("", |(_, after)| after),
    });
    let letters = said.flat_map(str::chars).filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase());
    let plain: String = letters.take(200).collect();
    SECRET_NAMES.into_iter().find(|name| plain.contains(name))
}

fn mark(label: &str) -> Value {
    Value::String(format!("{MARK}{label}]"))
}

fn is_mark(text: &str) -> bool {
    text.starts_with(MARK) && text.ends_with(']') && text.len() < 64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_are_known_by_their_names_and_counts_stay() {
        let mut value = json!({
            "apiKey": "abc", "API_KEY": "abc", "x-api-key": ["abc"], "Authorization": "Basic abc", "Set-Cookie": {"a": "abc"},
            "password": 1234, "client_secret": null, "credentials": {"user": "ada", "deep": [{"pass": "abc"}]},
            "env": [{"name": "GITHUB_TOKEN", "value": "abc"}, {"name": "EDITOR", "value": "vi"}],
            "usage": {"inputTokens": 11, "outputTokens": 5, "cacheReadTokens": 0, "tokens": {"total": 16}},
            "path": "/workspace/a", "ok": true,
        });
        redact(&mut value);
        assert_eq!(
            value,
            json!({
                "apiKey": "[REDACTED:apikey]", "API_KEY": "[REDACTED:apikey]", "x-api-key": ["[REDACTED:apikey]"],
                "Authorization": "[REDACTED:authorization]", "Set-Cookie": {"a": "[REDACTED:cookie]"},
                "password": "[REDACTED:password]", "client_secret": null,
                "credentials": {"user": "[REDACTED:credential]", "deep": [{"pass": "[REDACTED:credential]"}]},
                "env": [{"name": "GITHUB_TOKEN", "value": "[REDACTED:value]"}, {"name": "EDITOR", "value": "vi"}],
                "usage": {"inputTokens": 11, "outputTokens": 5, "cacheReadTokens": 0, "tokens": {"total": 16}},
                "path": "/workspace/a", "ok": true,
            })
        );
    }

    #[test]
    fn what_is_too_deep_is_taken_out_whole() {
        let mut value = json!("ghp_abcdefghijklmnopqrstuvwxyz0123456789");
        for _ in 0..300 {
            value = json!([value]);
        }
        redact(&mut value);
        assert!(!value.to_string().contains("ghp_"));
    }

    fn secrets() -> impl Strategy<Value = String> {
        prop_oneof![
            "gh[pousr]_[A-Za-z0-9]{36}",
            "github_pat_[A-Za-z0-9_]{60}",
            "sk-[A-Za-z0-9]{32}",
            "sk-ant-api03-[A-Za-z0-9_-]{40}",
            "xox[abprs]-[0-9]{10}-[A-Za-z0-9]{20}",
            "glpat-[A-Za-z0-9_-]{20}",
            "(AKIA|ASIA)[A-Z0-9]{16}",
            "AIza[A-Za-z0-9_-]{35}",
        ]
    }

    fn values(leaf: BoxedStrategy<Value>) -> impl Strategy<Value = Value> {
        leaf.prop_recursive(5, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::Array),
                prop::collection::vec(("[a-zA-Z_]{0,12}", inner), 0..5)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_secret_is_found_wherever_it_stands(
            secret in secrets(), before in "(\\PC{0,20}[ \"=:,(])?", after in "([ \"',;)]\\PC{0,20})?",
            surroundings in values(any::<u8>().prop_map(Value::from).boxed()),
        ) {
            let text = format!("{before}{secret}{after}");
            let mut value = json!({"around": surroundings, "text": text.clone(), "list": [{"x": text.clone()}], text: 1});
            redact(&mut value);
            prop_assert!(!value.to_string().contains(&secret), "{value}");
            let again = value.clone();
            redact(&mut value);
            prop_assert_eq!(value, again);
        }

        #[test]
        fn what_holds_no_secret_is_left_alone(value in values("[a-zA-Z0-9 /.\n]{0,16}".prop_map(Value::from).boxed())) {
            let mut redacted = value.clone();
            redact(&mut redacted);
            let named = value.to_string().to_lowercase().replace('_', "");
            let named = SECRET_NAMES.iter().any(|name| named.contains(name));
            prop_assert!(named || redacted == value, "{value} became {redacted}");
        }

        #[test]
        fn anything_in_a_field_of_a_telling_name_is_gone(word in "[a-z]{10}", inner in values(Just(Value::Null).boxed())) {
            let mut value = json!({"db_password": {"inner": inner, "x": [word.clone()]}});
            redact(&mut value);
            prop_assert!(!value.to_string().contains(&word));
        }
    }
}
