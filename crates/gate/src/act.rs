//! The act: what exactly an approval is for, and how its arguments are shown without secrets.

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
        "arguments": arguments,
        "resource": resource,
        "policy": policy,
        "requester": { "tenant": requester.tenant, "party": requester.root().label(), "as": requester.label() },
    }))
}

const SECRET_WORDS: [&str; 6] = ["password", "passwd", "secret", "token", "api_key", "private_key"];

/// The arguments as they may be recorded and shown: connection strings lose their passwords, and arguments named like
/// a secret lose their value.
pub fn masked_arguments(arguments: &Arguments, target_argument: Option<&str>) -> Arguments {
    arguments
        .iter()
        .map(|(key, value)| {
            let lower = key.to_ascii_lowercase();
            let masked = if SECRET_WORDS.iter().any(|word| lower.contains(word)) {
                Value::String(reeve_types::secret::MASK.to_owned())
            } else if Some(key.as_str()) == target_argument {
                match value {
                    Value::String(text) => Value::String(mask_dsn(text)),
                    other => other.clone(),
                }
            } else {
                value.clone()
            };
            (key.clone(), masked)
        })
        .collect()
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
        for other in others {
            assert_ne!(base, other);
        }
        assert_eq!(base, act_digest("cancel_query", &args, &db, Digest::ZERO, &alice).unwrap());
    }

    #[test]
    fn recorded_arguments_hold_no_secret() {
        let args = arguments(json!({"connection_string": "host=a password=hunter2", "api_key": "hunter2", "pid": 7}));
        let shown = masked_arguments(&args, Some("connection_string"));
        assert!(!serde_json::to_string(&shown).unwrap().contains("hunter2"));
        assert_eq!(shown["pid"], 7);
    }
}
