//! The walk over a parsed statement.
//!
//! The tree is walked as data, every field of every node, so nothing is reached that the walk does not see: a node whose
//! kind is not listed is refused, wherever it hangs.

use serde_json::{Map, Value};

use super::functions::{check, is_secret_relation, is_secret_setting};
use super::{GuardOptions, Name, Names, ReadKind, Refused};

/// Kinds of nodes that a read may consist of.
const ALLOWED_NODES: &[&str] = &[
    "SelectStmt",
    "ResTarget",
    "ColumnRef",
    "AStar",
    "AConst",
    "String",
    "Integer",
    "Float",
    "Boolean",
    "BitString",
    "List",
    "TypeCast",
    "TypeName",
    "FuncCall",
    "NamedArgExpr",
    "AExpr",
    "BoolExpr",
    "NullTest",
    "BooleanTest",
    "SubLink",
    "CaseExpr",
    "CaseWhen",
    "CoalesceExpr",
    "MinMaxExpr",
    "AArrayExpr",
    "AIndices",
    "AIndirection",
    "RowExpr",
    "RangeVar",
    "RangeSubselect",
    "RangeFunction",
    "RangeTableFunc",
    "RangeTableFuncCol",
    "RangeTableSample",
    "JoinExpr",
    "Alias",
    "SortBy",
    "WindowDef",
    "GroupingSet",
    "GroupingFunc",
    "WithClause",
    "CommonTableExpr",
    "CtesearchClause",
    "CtecycleClause",
    "CollateClause",
    "SqlvalueFunction",
    "XmlExpr",
    "XmlSerialize",
    "ParamRef",
    "ColumnDef",
    "JsonOutput",
    "JsonArgument",
    "JsonFuncExpr",
    "JsonTablePathSpec",
    "JsonTable",
    "JsonTableColumn",
    "JsonKeyValue",
    "JsonParseExpr",
    "JsonScalarExpr",
    "JsonSerializeExpr",
    "JsonObjectConstructor",
    "JsonArrayConstructor",
    "JsonArrayQueryConstructor",
    "JsonAggConstructor",
    "JsonObjectAgg",
    "JsonArrayAgg",
    "JsonIsPredicate",
    "JsonFormat",
    "JsonReturning",
    "JsonValueExpr",
    "JsonBehavior",
];

/// Options of `EXPLAIN` that may be given.
const EXPLAIN_OPTIONS: &[&str] = &[
    "analyze",
    "verbose",
    "costs",
    "settings",
    "generic_plan",
    "buffers",
    "serialize",
    "wal",
    "timing",
    "summary",
    "memory",
    "format",
];

/// The kind of read, and the names in it.
pub(super) fn read(tree: &Value, options: &GuardOptions) -> Result<(ReadKind, Names), Refused> {
    let (tag, body) = node(tree).ok_or(Refused::Empty)?;
    let mut walk = Walk { options, names: Names::default() };
    let kind = match tag {
        "SelectStmt" => {
            walk.value(tree)?;
            ReadKind::Select
        }
        "VariableShowStmt" => {
            let setting = text(body, "name");
            if is_secret_setting(setting) {
                return Err(Refused::Secret { name: setting.to_owned() });
            }
            ReadKind::Show
        }
        "ExplainStmt" => {
            let analyze = explain_analyze(body)?;
            if analyze && !options.allow_explain_analyze {
                return Err(Refused::ExplainAnalyze);
            }
            let query = body.get("query").unwrap_or(&Value::Null);
            match node(query) {
                Some(("SelectStmt", _)) => walk.value(query)?,
                Some((other, _)) => {
                    return Err(Refused::NotARead { what: format!("explain of {}", statement_name(other)) });
                }
                None => return Err(Refused::Empty),
            }
            ReadKind::Explain { analyze }
        }
        other => return Err(Refused::NotARead { what: statement_name(other) }),
    };
    Ok((kind, walk.names))
}

/// Checks an expression or a part of a statement, and collects its names.
pub(super) fn part(tree: &Value, options: &GuardOptions) -> Result<Names, Refused> {
    let mut walk = Walk { options, names: Names::default() };
    walk.value(tree)?;
    Ok(walk.names)
}

/// `DropStmt` as people write it: `drop`.
pub(super) fn statement_name(tag: &str) -> String {
    let mut words = String::new();
    for c in tag.trim_end_matches("Stmt").chars() {
        if c.is_ascii_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.push(c.to_ascii_lowercase());
    }
    match words.as_str() {
        "variable set" => "set".to_owned(),
        "transaction" => "transaction control".to_owned(),
        "create table as" => "create table as, or select into,".to_owned(),
        _ => words,
    }
}

/// Kind and fields of a node: an object whose only key is `node`.
pub(super) fn node(value: &Value) -> Option<(&str, &Map<String, Value>)> {
    let object = value.as_object().filter(|object| object.len() == 1)?;
    let (tag, body) = object.get("node")?.as_object()?.iter().next()?;
    Some((tag.as_str(), body.as_object()?))
}

pub(super) fn text<'a>(body: &'a Map<String, Value>, key: &str) -> &'a str {
    body.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// The strings of a list of `String` nodes.
pub(super) fn strings(list: Option<&Value>) -> Vec<&str> {
    let items = list.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    items
        .iter()
        .filter_map(|item| node(item).filter(|(tag, _)| *tag == "String").map(|(_, body)| text(body, "sval")))
        .collect()
}

/// A name of one or two parts; a third, the database, must be the current one anyway.
fn name(parts: &[&str]) -> Option<Name> {
    let (last, before) = parts.split_last()?;
    Some(Name { schema: before.last().map(|schema| (*schema).to_owned()), name: (*last).to_owned() })
}

fn explain_analyze(body: &Map<String, Value>) -> Result<bool, Refused> {
    let mut analyze = false;
    for option in body.get("options").and_then(Value::as_array).into_iter().flatten() {
        let Some(("DefElem", option)) = node(option) else {
            return Err(Refused::Construct { what: "this option of explain".to_owned() });
        };
        let option_name = text(option, "defname").to_ascii_lowercase();
        if !EXPLAIN_OPTIONS.contains(&option_name.as_str()) {
            return Err(Refused::Construct { what: format!("option {option_name} of explain") });
        }
        // Anything but a plain "no" counts as yes.
        analyze |= option_name == "analyze" && !is_plain_no(option.get("arg"));
    }
    Ok(analyze)
}

fn is_plain_no(argument: Option<&Value>) -> bool {
    match argument.and_then(node) {
        Some(("String", body)) => matches!(text(body, "sval").to_ascii_lowercase().as_str(), "false" | "off" | "no"),
        Some(("Boolean", body)) => body.get("boolval") == Some(&Value::Bool(false)),
        Some(("Integer", body)) => body.get("ival") == Some(&Value::from(0)),
        _ => false,
    }
}

struct Walk<'a> {
    options: &'a GuardOptions,
    names: Names,
}

impl Walk<'_> {
    fn value(&mut self, value: &Value) -> Result<(), Refused> {
        match value {
            Value::Array(items) => items.iter().try_for_each(|item| self.value(item)),
            Value::Object(fields) => match node(value) {
                Some((tag, body)) => self.node(tag, body),
                None => self.fields(fields),
            },
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
        }
    }

    fn node(&mut self, tag: &str, body: &Map<String, Value>) -> Result<(), Refused> {
        if !ALLOWED_NODES.contains(&tag) {
            return Err(Refused::Construct { what: construct_name(tag) });
        }
        match tag {
            "AExpr" => self.operator(body.get("name"))?,
            "ColumnRef" => self.attributes(strings(body.get("fields"))),
            "AIndirection" => self.attributes(strings(body.get("indirection"))),
            "RangeTableSample" => sample_method(body)?,
            // Column definitions appear only as the shape of a function's result.
            "ColumnDef" if !is_empty(body.get("raw_default")) || !is_empty(body.get("constraints")) => {
                return Err(Refused::Construct { what: "a column default or constraint".to_owned() });
            }
            _ => {}
        }
        self.fields(body)
    }

    /// Nodes in typed fields have no tag, so they are known by their fields.
    fn fields(&mut self, body: &Map<String, Value>) -> Result<(), Refused> {
        if !is_empty(body.get("into_clause")) {
            return Err(Refused::Construct { what: "select into".to_owned() });
        }
        if !is_empty(body.get("locking_clause")) {
            return Err(Refused::Construct { what: "for update or for share".to_owned() });
        }
        if body.contains_key("funcname") {
            self.function(body)?;
        }
        if body.contains_key("relname") {
            self.relation(body)?;
        }
        if body.contains_key("names") && body.contains_key("typmods") {
            self.type_name(body);
        }
        for key in ["oper_name", "use_op"] {
            self.operator(body.get(key))?;
        }
        body.values().try_for_each(|value| self.value(value))
    }

    fn function(&mut self, body: &Map<String, Value>) -> Result<(), Refused> {
        let Some(function) = name(&strings(body.get("funcname"))) else {
            return Err(Refused::Construct { what: "a function without a name".to_owned() });
        };
        if function.name == "current_setting" && matches!(function.schema.as_deref(), None | Some("pg_catalog")) {
            plain_setting(body)?;
        } else {
            check(&function, self.options)?;
        }
        self.names.functions.insert(function);
        Ok(())
    }

    fn relation(&mut self, body: &Map<String, Value>) -> Result<(), Refused> {
        let relation = Name {
            schema: Some(text(body, "schemaname").to_owned()).filter(|s| !s.is_empty()),
            name: text(body, "relname").to_owned(),
        };
        if is_secret_relation(&relation.name) && (relation.schema.is_none() || relation.is_builtin_schema()) {
            return Err(Refused::Secret { name: relation.name });
        }
        self.names.relations.insert(relation);
        Ok(())
    }

    fn type_name(&mut self, body: &Map<String, Value>) {
        if let Some(type_name) = name(&strings(body.get("names")))
            && type_name.schema.as_deref() != Some("pg_catalog")
        {
            self.names.types.insert(type_name);
        }
    }

    fn operator(&mut self, names: Option<&Value>) -> Result<(), Refused> {
        match strings(names).as_slice() {
            [] | ["pg_catalog", _] => Ok(()),
            [operator] => {
                self.names.operators.insert((*operator).to_owned());
                Ok(())
            }
            qualified => Err(Refused::ForeignOperator { name: qualified.join(".") }),
        }
    }

    fn attributes(&mut self, parts: Vec<&str>) {
        self.names.attributes.extend(parts.into_iter().map(str::to_owned));
    }
}

fn is_empty(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::Array(items)) => items.is_empty(),
        Some(_) => false,
    }
}

/// A sampling method is a function too.
fn sample_method(body: &Map<String, Value>) -> Result<(), Refused> {
    match strings(body.get("method")).as_slice() {
        ["system" | "bernoulli"] | ["pg_catalog", "system" | "bernoulli"] => Ok(()),
        other => Err(Refused::UnknownFunction { name: other.join(".") }),
    }
}

/// `current_setting('name')`, with a name that can be judged.
fn plain_setting(body: &Map<String, Value>) -> Result<(), Refused> {
    let first = body.get("args").and_then(Value::as_array).and_then(|args| args.first()).and_then(node);
    let Some(("AConst", constant)) = first else { return Err(Refused::ComputedSetting) };
    let setting = constant.get("val").and_then(|v| v.get("Sval")).and_then(|v| v.get("sval")).and_then(Value::as_str);
    match setting {
        None => Err(Refused::ComputedSetting),
        Some(setting) if is_secret_setting(setting) => Err(Refused::Secret { name: setting.to_owned() }),
        Some(_) => Ok(()),
    }
}

fn construct_name(tag: &str) -> String {
    match tag {
        "InsertStmt" | "UpdateStmt" | "DeleteStmt" | "MergeStmt" => {
            format!("a data-modifying with query ({})", statement_name(tag))
        }
        "LockingClause" => "for update or for share".to_owned(),
        "CurrentOfExpr" => "where current of".to_owned(),
        "SetToDefault" => "default".to_owned(),
        other => format!("`{}`", statement_name(other)),
    }
}
