//! The act: what exactly an approval is for, and how its arguments are shown without secrets.

use reeve_audit::record::EXACT_INTEGER_MAX;
use reeve_types::canonical::NotCanonical;
use reeve_types::{Arguments, Digest, Principal, Resource, mask_dsn};
use serde_json::{Value, json};

/// Digest of tool, arguments, resource, policy set and requester. Change any of them and it is another act.
pub fn act_digest(
    tool: &str,
    arguments: &Arguments,
    resource: &Resource,
    policy: Digest,
    requester: &Principal,
) -> Result<Digest, NotCanonical> {
    Digest::of_value(&json!({
        "tool": tool,
        "arguments": exact(&Value::Object(arguments.clone())),
        "resource": resource,
        "policy": policy,
        "requester": { "tenant": requester.tenant, "party": requester.root().label(), "as": requester.label() },
    }))
}

/// The same value with every whole number beyond 2^53 as tagged text: canonical JSON would round it, and two acts would
/// have one digest.
fn exact(value: &Value) -> Value {
    match value {
        Value::Number(number) => {
            let magnitude = number.as_u64().or_else(|| number.as_i64().map(i64::unsigned_abs));
            match magnitude {
                Some(magnitude) if magnitude > EXACT_INTEGER_MAX => json!({ "whole number": number.to_string() }),
                _ => value.clone(),
            }
        }
        Value::Array(items) => items.iter().map(exact).collect(),
        Value::Object(fields) => fields.iter().map(|(key, value)| (key.clone(), exact(value))).collect(),
        other => other.clone(),
    }
}

const SECRET_WORDS: [&str; 6] = ["password", "passwd", "secret", "token", "api_key", "private_key"];

/// The arguments as they may be recorded and shown: connection strings lose their passwords, and arguments named like
/// a secret lose their value, at any depth.
pub fn masked_arguments(arguments: &Arguments, target_argument: Option<&str>) -> Arguments {
    arguments.iter().map(|(key, value)| (key.clone(), masked(key, value, target_argument))).collect()
}

fn masked(key: &str, value: &Value, target_argument: Option<&str>) -> Value {
    let lower = key.to_ascii_lowercase();
    if SECRET_WORDS.iter().any(|word| lower.contains(word)) {
        return Value::String(reeve_types::secret::MASK.to_owned());
    }
    match value {
        Value::String(text) if Some(key) == target_argument => Value::String(mask_dsn(text)),
        Value::Object(fields) => fields.iter().map(|(key, value)| (key.clone(), masked(key, value, None))).collect(),
        Value::Array(items) => items.iter().map(|item| masked("", item, None)).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reeve_types::{AuthMethod, PrincipalKind, ResourceKind};

    fn arguments(value: Value) -> Arguments {
        value.as_object().cloned().unwrap_or_default()
    }

    #[test]
    fn every_part_of_the_act_changes_its_digest() {
        let alice = Principal::new(PrincipalKind::User, "alice", AuthMethod::ApiKey);
        let bob = Principal::new(PrincipalKind::User, "bob", AuthMethod::ApiKey);
        let db = Resource::new(ResourceKind::Database, "orders");
        let mut tagged = db.clone();
        tagged.tags.insert("production".to_owned());
        let args = arguments(json!({"pid": 7}));
        let base = act_digest("cancel_query", &args, &db, Digest::ZERO, &alice).unwrap();
        let others = [
            act_digest("terminate_connection", &args, &db, Digest::ZERO, &alice).unwrap(),
            act_digest("cancel_query", &arguments(json!({"pid": 8})), &db, Digest::ZERO, &alice).unwrap(),
            act_digest("cancel_query", &args, &tagged, Digest::ZERO, &alice).unwrap(),
            act_digest("cancel_query", &args, &db, Digest::of(b"other"), &alice).unwrap(),
            act_digest("cancel_query", &args, &db, Digest::ZERO, &bob).unwrap(),
        ];
        let whole =
            |n: u64| act_digest("cancel_query", &arguments(json!({"xid": n})), &db, Digest::ZERO, &alice).unwrap();
        assert_ne!(whole((1 << 53) + 1), whole((1 << 53) + 2));
        for other in others {
            assert_ne!(base, other);
        }
        assert_eq!(base, act_digest("cancel_query", &args, &db, Digest::ZERO, &alice).unwrap());
    }

    #[test]
    fn recorded_arguments_hold_no_secret() {
        let args = arguments(json!({"connection_string": "host=a password=hunter2", "api_key": "hunter2", "pid": 7,
            "login": {"name": "x", "password": "hunter2"}, "many": [{"token": "hunter2"}]}));
        let shown = masked_arguments(&args, Some("connection_string"));
        assert!(!serde_json::to_string(&shown).unwrap().contains("hunter2"));
        assert_eq!(shown["pid"], 7);
    }
}
