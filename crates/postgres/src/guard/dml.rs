//! One change of rows, for the governed tools that make or explain such changes.

use serde_json::{Map, Value};

use super::walk::{node, part, statement_name, text};
use super::{GuardOptions, Name, Names, Refused, parse};

/// What kind of change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DmlKind {
    /// New rows.
    Insert,
    /// Changed rows.
    Update,
    /// Removed rows.
    Delete,
}

impl DmlKind {
    /// `insert`, `update` or `delete`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

/// One `INSERT`, `UPDATE` or `DELETE`. Everything in it besides the change itself passes the rule for reads: no further
/// change in a `WITH`, no function with effects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dml {
    /// What it does.
    pub kind: DmlKind,
    /// The table whose rows it changes.
    pub table: Name,
    /// Whether it has a `WHERE`; without one it hits every row.
    pub has_where: bool,
    /// The one statement, without a semicolon.
    pub sql: String,
    /// The names in it.
    pub names: Names,
}

/// Checks that the text is one change of rows.
pub fn single_dml(sql: &str) -> Result<Dml, Refused> {
    let statement = parse::single(sql)?;
    let (tag, body) = node(&statement.tree).ok_or(Refused::Empty)?;
    let kind = match tag {
        "InsertStmt" => DmlKind::Insert,
        "UpdateStmt" => DmlKind::Update,
        "DeleteStmt" => DmlKind::Delete,
        other => {
            return Err(Refused::Construct {
                what: format!("{} in place of insert, update or delete", statement_name(other)),
            });
        }
    };
    let relation = body.get("relation").and_then(Value::as_object).ok_or(Refused::Empty)?;
    let table = Name {
        schema: Some(text(relation, "schemaname").to_owned()).filter(|schema| !schema.is_empty()),
        name: text(relation, "relname").to_owned(),
    };
    if matches!(table.schema.as_deref(), Some("pg_catalog" | "information_schema" | "pg_toast"))
        || table.schema.is_none() && table.name.starts_with("pg_")
    {
        return Err(Refused::Construct { what: format!("changing the system catalog `{table}`") });
    }
    // The statement's own node is the only one beyond the rule for reads; its parts are walked as they are.
    let parts: Map<String, Value> = body.iter().map(|(key, value)| (key.clone(), without_default(value))).collect();
    let names = part(&Value::Object(parts), &GuardOptions::default())?;
    let has_where = body.get("where_clause").is_some_and(|clause| !clause.is_null());
    Ok(Dml { kind, table, has_where, sql: statement.sql, names })
}

/// `DEFAULT` in place of a value is fine in a change, unlike in a read, and so is assigning a row to several columns.
fn without_default(value: &Value) -> Value {
    match node(value) {
        Some(("SetToDefault", _)) => return Value::Null,
        Some(("MultiAssignRef", body)) => return body.get("source").map(without_default).unwrap_or_default(),
        // The names and conditions of ON CONFLICT are walked below their own nodes.
        Some(("IndexElem", body)) => return Value::Object(body.clone()),
        _ => {}
    }
    match value {
        Value::Array(items) => Value::Array(items.iter().map(without_default).collect()),
        Value::Object(fields) => fields.iter().map(|(key, value)| (key.clone(), without_default(value))).collect(),
        other => other.clone(),
    }
}
