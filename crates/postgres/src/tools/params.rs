//! Values that go into statements as bind parameters, in PostgreSQL's text form.
//!
//! The server reads the text with the input function of the type it inferred, so one kind of parameter serves every
//! column type, and nothing from outside ever becomes part of a statement's text.

use std::error::Error;

use bytes::BytesMut;
use serde_json::Value;
use tokio_postgres::types::{Format, IsNull, Kind, ToSql, Type};

/// One bind parameter.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Param(Value);

impl Param {
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self(Value::String(text.into()))
    }
    pub(super) fn number(number: i64) -> Self {
        Self(Value::from(number))
    }
    pub(super) fn optional(text: Option<&str>) -> Self {
        Self(text.map_or(Value::Null, |t| Value::String(t.to_owned())))
    }
}

impl From<Value> for Param {
    fn from(value: Value) -> Self {
        Self(value)
    }
}

/// The text that the input function of `ty` reads as `value`; absent for SQL's null.
fn text_of(value: &Value, ty: &Type) -> Option<String> {
    let is_json = *ty == Type::JSON || *ty == Type::JSONB;
    match value {
        Value::Null => None,
        _ if is_json => Some(value.to_string()),
        Value::String(text) => Some(text.clone()),
        Value::Array(items) if matches!(ty.kind(), Kind::Array(_)) => Some(array_literal(items)),
        other => Some(other.to_string()),
    }
}

fn array_literal(items: &[Value]) -> String {
    let parts: Vec<String> = items
        .iter()
        .map(|item| match item {
            Value::Null => "NULL".to_owned(),
            Value::Array(inner) => array_literal(inner),
            Value::String(text) => quoted(text),
            other => quoted(&other.to_string()),
        })
        .collect();
    format!("{{{}}}", parts.join(","))
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

impl ToSql for Param {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match text_of(&self.0, ty) {
            None => Ok(IsNull::Yes),
            Some(text) => {
                out.extend_from_slice(text.as_bytes());
                Ok(IsNull::No)
            }
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn to_sql_checked(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        self.to_sql(ty, out)
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }
}

/// The parameters in the form that the client takes.
pub(super) fn bound(params: &[Param]) -> Vec<&(dyn ToSql + Sync)> {
    params.iter().map(|p| p as &(dyn ToSql + Sync)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn json_values_become_the_text_of_their_type() {
        let table = [
            (json!("o'hara"), Type::TEXT, Some("o'hara")),
            (json!(42), Type::INT8, Some("42")),
            (json!(true), Type::BOOL, Some("true")),
            (json!(null), Type::TEXT, None),
            (json!(["a", "b\"c", null, 1]), Type::TEXT_ARRAY, Some(r#"{"a","b\"c",NULL,"1"}"#)),
            (json!({"a": 1}), Type::JSONB, Some(r#"{"a":1}"#)),
            (json!("quoted"), Type::JSON, Some(r#""quoted""#)),
            (json!([1, 2]), Type::JSON, Some("[1,2]")),
        ];
        for (value, ty, expected) in table {
            assert_eq!(text_of(&value, &ty).as_deref(), expected, "{value} as {ty}");
        }
    }
}
