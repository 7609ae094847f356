//! Rows as the server gives them: each a list of named JSON values in the order of the statement's columns.
//!
//! A statement is wrapped so that the server itself renders every row as JSON. Numbers stay numbers, times are
//! RFC 3339, arrays are arrays, and no type of any extension is unknown to us.

use std::borrow::Cow;
use std::fmt;

use futures_util::TryStreamExt as _;
use reeve_types::limits::TOOL_OUTPUT_BYTES_MAX;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::masking::masked;
use super::params::{Param, bound};
use super::render::pretty_bytes;
use crate::connect::Session;
use crate::failure::QueryFailure;

/// One row: column names and values, in the statement's order.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Row(pub(super) Vec<(String, Value)>);

impl Row {
    pub(super) fn get(&self, column: &str) -> &Value {
        self.0.iter().find(|(name, _)| name == column).map_or(&Value::Null, |(_, value)| value)
    }
    pub(super) fn text(&self, column: &str) -> Option<&str> {
        self.get(column).as_str()
    }
    pub(super) fn int(&self, column: &str) -> Option<i64> {
        self.get(column).as_i64()
    }
    pub(super) fn float(&self, column: &str) -> Option<f64> {
        self.get(column).as_f64()
    }
    pub(super) fn is(&self, column: &str) -> bool {
        self.get(column).as_bool() == Some(true)
    }

    /// The row as an object; a `…_bytes` column brings its readable form along as `…_pretty`.
    pub(super) fn object(&self) -> Value {
        self.clone().into_object()
    }

    /// The same, without a copy.
    fn into_object(self) -> Value {
        let mut object = Map::new();
        for (name, value) in self.0 {
            let pretty = match (name.strip_suffix("_bytes"), value.as_f64()) {
                (Some(stem), Some(bytes)) => Some((format!("{stem}_pretty"), Value::String(pretty_bytes(bytes)))),
                _ => None,
            };
            let mut key = name;
            if object.contains_key(&key) {
                let mut copies = (2..).map(|copy| format!("{key}_{copy}"));
                key = copies.find(|copy| !object.contains_key(copy)).unwrap_or_default();
            }
            object.insert(key, value);
            object.extend(pretty);
        }
        Value::Object(object)
    }
}

/// What a statement gave back.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Rows {
    pub(super) rows: Vec<Row>,
    /// Whether rows were left out because the answer grew too large.
    pub(super) cut: bool,
}

impl Rows {
    pub(super) fn data(&self) -> Value {
        self.clone().into_data(false)
    }
    /// The rows as an array of objects; a single one as the object itself, or null.
    pub(super) fn into_data(self, single: bool) -> Value {
        let mut objects = self.rows.into_iter().map(Row::into_object);
        if single { objects.next().unwrap_or_default() } else { Value::Array(objects.collect()) }
    }
    pub(super) fn first(&self) -> Option<&Row> {
        self.rows.first()
    }
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

/// Runs a statement and gives its rows, at most as many as fit into one answer. Texts lose the passwords they hold.
pub(super) async fn fetch(session: &Session, sql: &str, params: &[Param]) -> Result<Rows, QueryFailure> {
    fetch_at_most(session, sql, params, None).await
}

/// The same with a limit of rows that the server applies.
pub(super) async fn fetch_at_most(
    session: &Session,
    sql: &str,
    params: &[Param],
    limit: Option<i64>,
) -> Result<Rows, QueryFailure> {
    // OFFSET is a fence: the row is rendered once. A row that alone is too large stays on the server.
    let limit = limit.map_or_else(String::new, |n| format!(" LIMIT {n}"));
    let wrapped = format!(
        "SELECT CASE WHEN octet_length(reeve_rows_.json) <= {TOOL_OUTPUT_BYTES_MAX} THEN reeve_rows_.json END FROM (\n\
         SELECT pg_catalog.row_to_json(reeve_row_.*)::text AS json FROM (\n{sql}\n) AS reeve_row_ OFFSET 0{limit}) AS reeve_rows_"
    );
    session.within(collect(session, &wrapped, params)).await
}

async fn collect(session: &Session, sql: &str, params: &[Param]) -> Result<Rows, tokio_postgres::Error> {
    let statement = session.prepared(sql).await?;
    let stream = session.query_raw(&statement, bound(params)).await?;
    futures_util::pin_mut!(stream);
    let mut rows = Rows::default();
    let mut bytes = 0;
    while let Some(row) = stream.try_next().await? {
        let json: Option<&str> = row.try_get(0)?;
        let Some(json) = json else {
            rows.cut = true;
            continue;
        };
        bytes += json.len();
        if bytes > TOOL_OUTPUT_BYTES_MAX {
            rows.cut = true;
            break;
        }
        rows.rows.push(parse(json));
    }
    Ok(rows)
}

/// The only row of a statement that always gives one.
pub(super) async fn fetch_one(session: &Session, sql: &str, params: &[Param]) -> Result<Row, QueryFailure> {
    Ok(fetch(session, sql, params).await?.rows.into_iter().next().unwrap_or_default())
}

fn parse(json: &str) -> Row {
    // The server wrote it, so it is JSON; should it ever not be, the text itself is the most honest answer.
    serde_json::from_str(json).unwrap_or_else(|_| Row(vec![("row".to_owned(), Value::String(json.to_owned()))]))
}

impl<'de> Deserialize<'de> for Row {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Row;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a row as a JSON object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Row, A::Error> {
                let mut row = Row::default();
                while let Some((name, raw)) = map.next_entry::<String, &RawValue>()? {
                    row.0.push((name, value_of(raw)));
                }
                Ok(row)
            }
        }
        d.deserialize_map(InOrder)
    }
}

/// The value; a number that JSON readers would round stays exact as text.
fn value_of(raw: &RawValue) -> Value {
    let text = raw.get();
    match serde_json::from_str(text) {
        Ok(Value::String(string)) => match masked(&string) {
            Cow::Borrowed(_) => Value::String(string),
            Cow::Owned(masked) => Value::String(masked),
        },
        Ok(Value::Number(number)) if number.is_f64() && significant_digits(text) > 15 => Value::String(text.to_owned()),
        Ok(value) => value,
        Err(_) => Value::String(text.to_owned()),
    }
}

fn significant_digits(number: &str) -> usize {
    let mantissa = number.split(['e', 'E']).next().unwrap_or(number);
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    digits.trim_start_matches('0').len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rows_keep_the_order_of_columns_and_the_exact_value_of_numbers() {
        let row = parse(r#"{"z":1,"a":1.5,"n":12345678901234567890.123,"z":"second","q":"alter role b password 'x'"}"#);
        let names: Vec<&str> = row.0.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["z", "a", "n", "z", "q"]);
        assert_eq!(
            row.object(),
            json!({"z": 1, "a": 1.5, "n": "12345678901234567890.123", "z_2": "second", "q": "alter role b password '***'"})
        );
    }

    #[test]
    fn sizes_come_with_a_readable_form() {
        let row = parse(r#"{"total_bytes":1536}"#);
        assert_eq!(row.object(), json!({"total_bytes": 1536, "total_pretty": "1.5 kB"}));
    }
}
