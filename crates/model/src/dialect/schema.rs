//! JSON Schema in the part of it that Gemini takes; anything else makes it refuse the whole request.

use std::cell::Cell;

use serde_json::{Map, Value, json};

/// Deepest nesting that is followed; what refers to itself ends here.
const MAX_DEPTH: usize = 12;

/// Most schemas that one schema may come to. Tools of other people's servers have schemas of other people's.
const MAX_SCHEMAS: u32 = 2_000;

/// What is referred to, and how many more schemas may be made of it.
struct Source<'a> {
    root: &'a Value,
    left: Cell<u32>,
}

/// What is passed on as it is.
const KEPT: [&str; 13] = [
    "title",
    "description",
    "nullable",
    "maxItems",
    "minItems",
    "minProperties",
    "maxProperties",
    "minLength",
    "maxLength",
    "pattern",
    "minimum",
    "maximum",
    "default",
];

/// The schema of a tool's arguments, or `None` when there are none: an object without properties is refused too.
pub(super) fn cleaned(schema: &Value) -> Option<Value> {
    let cleaned = clean(schema, &Source { root: schema, left: Cell::new(MAX_SCHEMAS) }, 0);
    cleaned["properties"].as_object().is_some_and(|properties| !properties.is_empty()).then_some(cleaned)
}

fn clean(schema: &Value, source: &Source<'_>, depth: usize) -> Value {
    let left = source.left.get();
    source.left.set(left.saturating_sub(1));
    // `true`, `false`, and what is too much: any text will do.
    let Some(fields) = schema.as_object().filter(|_| depth < MAX_DEPTH && left > 0) else {
        return json!({ "type": "string" });
    };
    if let Some(target) = fields.get("$ref").and_then(Value::as_str) {
        return clean(resolve(target, source.root).unwrap_or(&Value::Null), source, depth + 1);
    }
    let mut out = Map::new();
    for key in KEPT {
        if let Some(value) = fields.get(key).filter(|value| !value.is_null()) {
            out.insert(key.to_owned(), value.clone());
        }
    }
    // All of several: what each of them says, the first word winning.
    for part in fields.get("allOf").and_then(Value::as_array).into_iter().flatten() {
        if let Value::Object(part) = clean(part, source, depth + 1) {
            merge(&mut out, part);
        }
    }
    alternatives(fields, source, depth, &mut out);
    kind(fields, &mut out);
    values(fields, &mut out);
    format(fields, &mut out);
    if let Some(properties) = fields.get("properties").and_then(Value::as_object) {
        let mut cleaned = Map::new();
        for (name, property) in properties {
            cleaned.insert(name.clone(), clean(property, source, depth + 1));
        }
        merge(&mut out, Map::from_iter([("properties".to_owned(), Value::Object(cleaned))]));
        out.entry("type").or_insert(json!("object"));
    }
    required(fields, &mut out);
    if let Some(items) = fields.get("items") {
        out.insert("items".to_owned(), clean(items, source, depth + 1));
        out.entry("type").or_insert(json!("array"));
    }
    if out.get("type") == Some(&json!("array")) {
        out.entry("items").or_insert(json!({ "type": "string" }));
    }
    if !out.contains_key("type") && !out.contains_key("anyOf") {
        out.insert("type".to_owned(), json!("string"));
    }
    Value::Object(out)
}

fn resolve<'a>(target: &str, root: &'a Value) -> Option<&'a Value> {
    root.pointer(target.strip_prefix('#')?)
}

fn merge(out: &mut Map<String, Value>, part: Map<String, Value>) {
    for (key, value) in part {
        match (out.get_mut(&key), value) {
            (Some(Value::Object(there)), Value::Object(more)) if key == "properties" => {
                for (name, property) in more {
                    there.entry(name).or_insert(property);
                }
            }
            (Some(Value::Array(there)), Value::Array(more)) if key == "required" => there.extend(more),
            (Some(_), _) => {}
            (None, value) => {
                out.insert(key, value);
            }
        }
    }
}

/// `anyOf` and `oneOf`; a `null` among them means that it may be absent.
fn alternatives(fields: &Map<String, Value>, source: &Source<'_>, depth: usize, out: &mut Map<String, Value>) {
    let Some(options) = ["anyOf", "oneOf"].iter().find_map(|key| fields.get(*key)?.as_array()) else { return };
    let (nothing, something): (Vec<&Value>, Vec<&Value>) =
        options.iter().partition(|option| option["type"] == json!("null"));
    if !nothing.is_empty() {
        out.insert("nullable".to_owned(), json!(true));
    }
    let mut cleaned: Vec<Value> = something.into_iter().map(|option| clean(option, source, depth + 1)).collect();
    match cleaned.len() {
        0 => {}
        1 => {
            if let Some(Value::Object(only)) = cleaned.pop() {
                merge(out, only);
            }
        }
        _ => {
            out.insert("anyOf".to_owned(), Value::Array(cleaned));
        }
    }
}

/// One kind only; of several the first, or alternatives.
fn kind(fields: &Map<String, Value>, out: &mut Map<String, Value>) {
    match fields.get("type") {
        Some(Value::String(kind)) if kind != "null" => {
            out.insert("type".to_owned(), json!(kind));
        }
        Some(Value::Array(kinds)) => {
            let (nothing, something): (Vec<&Value>, Vec<&Value>) =
                kinds.iter().partition(|kind| **kind == json!("null"));
            if !nothing.is_empty() {
                out.insert("nullable".to_owned(), json!(true));
            }
            match something.as_slice() {
                [] => {}
                [only] => {
                    out.insert("type".to_owned(), (*only).clone());
                }
                several => {
                    let options: Vec<Value> = several.iter().map(|kind| json!({ "type": kind })).collect();
                    out.entry("anyOf").or_insert(Value::Array(options));
                }
            }
        }
        _ => {}
    }
}

/// `enum` and `const`, which may hold texts only.
fn values(fields: &Map<String, Value>, out: &mut Map<String, Value>) {
    let constant = fields.get("const").map(|value| vec![value.clone()]);
    let Some(values) = fields.get("enum").and_then(Value::as_array).cloned().or(constant) else { return };
    let texts: Vec<&Value> = values.iter().filter(|value| value.is_string()).collect();
    if texts.len() == values.len() && !texts.is_empty() {
        out.insert("enum".to_owned(), json!(texts));
        out.insert("type".to_owned(), json!("string"));
        return;
    }
    // The model is told in words what cannot be told in the schema.
    let said = values.iter().map(Value::to_string).collect::<Vec<_>>().join(", ");
    let before = out.get("description").and_then(Value::as_str).map(|text| format!("{text} ")).unwrap_or_default();
    out.insert("description".to_owned(), json!(format!("{before}One of: {said}.")));
    if let Some(kind) = values.iter().find_map(kind_of) {
        out.entry("type").or_insert(json!(kind));
    }
}

fn kind_of(value: &Value) -> Option<&'static str> {
    match value {
        Value::Bool(_) => Some("boolean"),
        Value::Number(number) if number.is_i64() || number.is_u64() => Some("integer"),
        Value::Number(_) => Some("number"),
        Value::String(_) => Some("string"),
        _ => None,
    }
}

fn format(fields: &Map<String, Value>, out: &mut Map<String, Value>) {
    let known: &[&str] = match out.get("type").and_then(Value::as_str) {
        Some("string") => &["date-time"],
        Some("integer") => &["int32", "int64"],
        Some("number") => &["float", "double"],
        _ => &[],
    };
    if let Some(format) = fields.get("format").and_then(Value::as_str).filter(|format| known.contains(format)) {
        out.insert("format".to_owned(), json!(format));
    }
}

/// Only what there is can be required.
fn required(fields: &Map<String, Value>, out: &mut Map<String, Value>) {
    let mut names = out.remove("required").and_then(|names| names.as_array().cloned()).unwrap_or_default();
    names.extend(fields.get("required").and_then(Value::as_array).into_iter().flatten().cloned());
    let properties = out.get("properties").and_then(Value::as_object);
    let is_there = |name: &Value| name.as_str().is_some_and(|name| properties.is_some_and(|p| p.contains_key(name)));
    let mut kept: Vec<Value> = Vec::new();
    for name in names {
        if is_there(&name) && !kept.contains(&name) {
            kept.push(name);
        }
    }
    if !kept.is_empty() {
        out.insert("required".to_owned(), Value::Array(kept));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_without_arguments_has_no_schema() {
        assert_eq!(cleaned(&json!({ "type": "object", "properties": {} })), None);
        assert_eq!(cleaned(&json!({ "type": "object" })), None);
    }

    #[test]
    fn what_gemini_refuses_is_taken_out_or_put_otherwise() {
        let table = [
            (
                json!({ "type": "string", "format": "uuid", "examples": ["x"], "minLength": 1 }),
                json!({ "type": "string", "minLength": 1 }),
            ),
            (
                json!({ "type": ["integer", "null"], "exclusiveMinimum": 0, "format": "int64" }),
                json!({ "type": "integer", "nullable": true, "format": "int64" }),
            ),
            (json!({ "const": "a" }), json!({ "type": "string", "enum": ["a"] })),
            (
                json!({ "enum": [1, 2], "description": "How many." }),
                json!({ "type": "integer", "description": "How many. One of: 1, 2." }),
            ),
            (
                json!({ "oneOf": [{ "type": "string" }, { "type": "null" }] }),
                json!({ "type": "string", "nullable": true }),
            ),
            (
                json!({ "anyOf": [{ "type": "string" }, { "type": "integer" }] }),
                json!({ "anyOf": [{ "type": "string" }, { "type": "integer" }] }),
            ),
            (json!({ "type": "array" }), json!({ "type": "array", "items": { "type": "string" } })),
            (json!(true), json!({ "type": "string" })),
            (json!({ "$ref": "#/$defs/name" }), json!({ "type": "string", "maxLength": 9 })),
            (json!({ "$ref": "#/$defs/gone" }), json!({ "type": "string" })),
        ];
        for (schema, expected) in table {
            let tool = json!({
                "$schema": "https://json-schema.org/draft/2020-12/schema",
                "$defs": { "name": { "type": "string", "maxLength": 9 } },
                "type": "object",
                "additionalProperties": false,
                "properties": { "x": schema },
                "required": ["x", "gone"],
            });
            let cleaned = cleaned(&tool).expect("it has a property");
            assert_eq!(cleaned, json!({ "type": "object", "properties": { "x": expected }, "required": ["x"] }));
        }
    }

    #[test]
    fn parts_of_a_whole_are_put_together() {
        let tool = json!({
            "allOf": [
                { "properties": { "a": { "type": "string" } }, "required": ["a"] },
                { "properties": { "b": { "type": "boolean" } } },
            ],
            "properties": { "c": { "type": "number" } },
            "required": ["c"],
        });
        let cleaned = cleaned(&tool).expect("it has properties");
        assert_eq!(cleaned["properties"].as_object().map(Map::len), Some(3));
        assert_eq!(cleaned["required"], json!(["a", "c"]));
    }

    #[test]
    fn a_schema_that_refers_to_itself_ends() {
        let tool = json!({
            "type": "object",
            "$defs": { "node": { "type": "object", "properties": {
                "a": { "$ref": "#/$defs/node" }, "b": { "$ref": "#/$defs/node" }, "c": { "$ref": "#/$defs/node" },
            } } },
            "properties": { "root": { "$ref": "#/$defs/node" } },
        });
        assert!(cleaned(&tool).expect("it has a property").to_string().len() < 200_000);
    }
}
