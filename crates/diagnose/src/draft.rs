//! Findings and remedies in the making.

use reeve_types::{ActionClass, Evidence, Finding, Remedy, Severity};
use serde_json::{Map, Value, json};

use crate::words;

/// A finding that is being written.
#[derive(Debug)]
pub(crate) struct Draft(Finding);

impl Draft {
    pub(crate) fn new(code: &str, severity: Severity, title: impl Into<String>) -> Self {
        Self(Finding {
            code: code.to_owned(),
            severity,
            title: title.into(),
            cause: String::new(),
            evidence: Vec::new(),
            remedies: Vec::new(),
            advice: Vec::new(),
            explained_by: None,
        })
    }

    pub(crate) fn cause(mut self, cause: impl Into<String>) -> Self {
        self.0.cause = cause.into();
        self
    }

    pub(crate) fn fact(mut self, fact: impl Into<String>, source: &str) -> Self {
        self.0.evidence.push(Evidence { fact: fact.into(), source: source.to_owned(), data: None });
        self
    }

    pub(crate) fn data(mut self, fact: impl Into<String>, source: &str, data: Value) -> Self {
        self.0.evidence.push(Evidence { fact: fact.into(), source: source.to_owned(), data: Some(data) });
        self
    }

    pub(crate) fn remedy(mut self, remedy: Remedy) -> Self {
        self.0.remedies.push(remedy);
        self
    }

    pub(crate) fn remedies(mut self, remedies: impl IntoIterator<Item = Remedy>) -> Self {
        self.0.remedies.extend(remedies);
        self
    }

    pub(crate) fn advice(mut self, advice: impl Into<String>) -> Self {
        self.0.advice.push(advice.into());
        self
    }

    pub(crate) fn advices(mut self, advice: impl IntoIterator<Item = String>) -> Self {
        self.0.advice.extend(advice);
        self
    }

    pub(crate) fn done(self) -> Finding {
        self.0
    }
}

fn remedy(tool: &str, arguments: Value, action_class: ActionClass, reversible: bool, why: String) -> Remedy {
    let arguments = match arguments {
        Value::Object(map) => map,
        _ => Map::new(),
    };
    Remedy { tool: tool.to_owned(), arguments, action_class, reversible, why }
}

pub(crate) fn cancel_query(pid: i32, why: impl Into<String>) -> Remedy {
    remedy("cancel_query", json!({ "pid": pid }), ActionClass::Write, false, why.into())
}

pub(crate) fn terminate_connection(pid: i32, why: impl Into<String>) -> Remedy {
    remedy("terminate_connection", json!({ "pid": pid }), ActionClass::Destructive, false, why.into())
}

pub(crate) fn terminate_idle(idle_minutes: i64, database: Option<&str>, why: impl Into<String>) -> Remedy {
    let mut arguments = json!({ "idle_minutes": idle_minutes, "dry_run": false });
    if let (Some(database), Some(map)) = (database, arguments.as_object_mut()) {
        map.insert("database".to_owned(), json!(database));
    }
    remedy("terminate_idle_connections", arguments, ActionClass::Destructive, false, why.into())
}

/// `run_vacuum` takes plain names only; for others there is the statement itself, as advice.
pub(crate) fn run_vacuum(schema: &str, table: &str, why: impl Into<String>) -> Result<Remedy, String> {
    if words::is_plain(schema) && words::is_plain(table) {
        let arguments = json!({ "table": format!("{schema}.{table}"), "analyze": true });
        return Ok(remedy("run_vacuum", arguments, ActionClass::Write, false, why.into()));
    }
    Err(format!("VACUUM (ANALYZE) {}.{};", words::identifier(schema), words::identifier(table)))
}

pub(crate) fn drop_slot(slot: &str, why: impl Into<String>) -> Remedy {
    remedy("drop_replication_slot", json!({ "slot_name": slot }), ActionClass::Destructive, false, why.into())
}

pub(crate) fn resume_replay(why: impl Into<String>) -> Remedy {
    remedy("resume_wal_replay", json!({}), ActionClass::Write, true, why.into())
}

pub(crate) fn reset_setting(setting: &str, why: impl Into<String>) -> Remedy {
    remedy("reset_pg_setting", json!({ "setting_name": setting }), ActionClass::Write, true, why.into())
}

pub(crate) fn reset_stats(why: impl Into<String>) -> Remedy {
    remedy("reset_cache_stats", json!({}), ActionClass::Write, false, why.into())
}
