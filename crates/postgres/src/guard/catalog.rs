//! What the names of a statement mean on a particular server.

use std::collections::BTreeSet;

use tokio_postgres::Row;

use super::functions::is_allowed;
use super::{GuardOptions, Guarded, Name, Names, Refused, read_only_with};
use crate::connect::Session;
use crate::failure::QueryFailure;

/// How many views and policies one statement may lead to.
const RELATIONS_MAX: usize = 200;

/// Refuses a statement that would, on this server, reach code that the statement does not show.
///
/// Call it in the transaction in which the statement runs, with the same search path, so that names mean the same.
pub async fn verify_in_catalog(session: &Session, guarded: &Guarded, options: &GuardOptions) -> Result<(), Refused> {
    let mut check = Check { session, options, seen: BTreeSet::new() };
    let mut open = check.names(guarded.names()).await?;
    while let Some(definition) = open.pop() {
        let inner = read_only_with(&definition.sql, options)
            .map_err(|refused| Refused::HiddenCode { what: definition.what.clone(), why: refused.to_string() })?;
        open.extend(check.names(inner.names()).await?);
    }
    Ok(())
}

/// A piece of SQL that reading something would run.
struct Definition {
    what: String,
    sql: String,
}

struct Check<'a> {
    session: &'a Session,
    options: &'a GuardOptions,
    /// Oids of relations and types that have been looked at.
    seen: BTreeSet<u32>,
}

const SHADOWS: &str = "\
    SELECT n.nspname, p.proname FROM pg_catalog.pg_proc p \
    JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace \
    WHERE p.proname = ANY ($1) AND n.nspname <> 'pg_catalog' AND pg_catalog.pg_function_is_visible(p.oid) IS NOT NULL \
      AND n.nspname = ANY (pg_catalog.current_schemas(true)) \
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass \
                      AND d.objid = p.oid AND d.deptype = 'e') \
    LIMIT 50";

const ROW_FUNCTIONS: &str = "\
    SELECT n.nspname, p.proname FROM pg_catalog.pg_proc p \
    JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace \
    JOIN pg_catalog.pg_type t ON t.oid = p.proargtypes[0] \
    WHERE p.proname = ANY ($1) AND n.nspname <> 'pg_catalog' AND p.pronargs >= 1 \
      AND (t.typtype = 'c' OR t.typname IN ('record', 'anyelement')) \
      AND n.nspname = ANY (pg_catalog.current_schemas(true)) \
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass \
                      AND d.objid = p.oid AND d.deptype = 'e') \
    LIMIT 50";

const OPERATORS: &str = "\
    SELECT n.nspname, o.oprname FROM pg_catalog.pg_operator o \
    JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace \
    WHERE o.oprname = ANY ($1) AND n.nspname <> 'pg_catalog' AND n.nspname = ANY (pg_catalog.current_schemas(true)) \
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_operator'::pg_catalog.regclass \
                      AND d.objid = o.oid AND d.deptype = 'e') \
    LIMIT 50";

const RELATIONS: &str = "\
    SELECT c.oid, n.nspname, c.relname, c.relkind::text, \
           CASE WHEN c.relkind = 'v' THEN pg_catalog.pg_get_viewdef(c.oid) END AS viewdef, \
           CASE WHEN c.relrowsecurity THEN ARRAY(SELECT pg_catalog.pg_get_expr(pol.polqual, pol.polrelid) \
                FROM pg_catalog.pg_policy pol WHERE pol.polrelid = c.oid AND pol.polqual IS NOT NULL) END AS policies \
    FROM pg_catalog.unnest($1::text[]) AS given(name) \
    JOIN pg_catalog.pg_class c ON c.oid = pg_catalog.to_regclass(given.name) \
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    WHERE n.nspname NOT IN ('pg_catalog', 'information_schema')";

const DOMAINS: &str = "\
    SELECT t.oid, n.nspname, t.typname, \
           ARRAY(SELECT pg_catalog.pg_get_expr(con.conbin, 0) FROM pg_catalog.pg_constraint con \
                 WHERE con.contypid = t.oid AND con.conbin IS NOT NULL) AS checks, \
           EXISTS (SELECT FROM pg_catalog.pg_cast k JOIN pg_catalog.pg_proc f ON f.oid = k.castfunc \
                   JOIN pg_catalog.pg_namespace fn ON fn.oid = f.pronamespace \
                   WHERE t.oid IN (k.castsource, k.casttarget) AND fn.nspname <> 'pg_catalog' \
                     AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.objid = f.oid AND d.deptype = 'e' \
                                     AND d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass)) AS own_cast \
    FROM pg_catalog.unnest($1::text[]) AS given(name) \
    JOIN pg_catalog.pg_type t ON t.oid = pg_catalog.to_regtype(given.name) \
    JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace \
    WHERE n.nspname <> 'pg_catalog'";

impl Check<'_> {
    /// Checks names, and gives the definitions that must be checked next.
    async fn names(&mut self, names: &Names) -> Result<Vec<Definition>, Refused> {
        let unqualified: Vec<&str> =
            names.functions.iter().filter(|f| f.schema.is_none()).map(|f| f.name.as_str()).collect();
        self.none_of(SHADOWS, &unqualified, "function").await?;
        let attributes: Vec<&str> = names.attributes.iter().map(String::as_str).filter(|a| !is_allowed(a)).collect();
        self.none_of(ROW_FUNCTIONS, &attributes, "function").await?;
        let operators: Vec<&str> = names.operators.iter().map(String::as_str).collect();
        self.none_of(OPERATORS, &operators, "operator").await?;
        let mut open = self.relations(&names.relations).await?;
        open.extend(self.types(&names.types).await?);
        if self.seen.len() > RELATIONS_MAX {
            return Err(Refused::NotVerified {
                problem: format!("it reaches more than {RELATIONS_MAX} views and tables"),
            });
        }
        Ok(open)
    }

    async fn none_of(&self, sql: &str, names: &[&str], what: &str) -> Result<(), Refused> {
        if names.is_empty() {
            return Ok(());
        }
        for row in self.session.query(sql, &[&names]).await.map_err(not_verified)? {
            let found = Name { schema: Some(column(&row, 0)?), name: column(&row, 1)? };
            if !self.options.allows(&found) {
                return Err(Refused::HiddenCode {
                    what: format!("{what} `{found}`"),
                    why: format!("it could be called in place of PostgreSQL's own `{}`", found.name),
                });
            }
        }
        Ok(())
    }

    async fn relations(&mut self, relations: &BTreeSet<Name>) -> Result<Vec<Definition>, Refused> {
        let names: Vec<String> = relations.iter().filter(|name| !name.is_builtin_schema()).map(quoted).collect();
        let mut open = Vec::new();
        if names.is_empty() {
            return Ok(open);
        }
        for row in self.session.query(RELATIONS, &[&names]).await.map_err(not_verified)? {
            let (oid, name) =
                (column::<u32>(&row, 0)?, Name { schema: Some(column(&row, 1)?), name: column(&row, 2)? });
            if !self.seen.insert(oid) {
                continue;
            }
            if column::<String>(&row, 3)? == "f" && !self.options.allow_foreign_tables {
                return Err(Refused::ForeignTable { name: name.to_string() });
            }
            if let Some(sql) = column::<Option<String>>(&row, 4)? {
                open.push(Definition { what: format!("view `{name}`"), sql });
            }
            for policy in column::<Option<Vec<String>>>(&row, 5)?.unwrap_or_default() {
                open.push(Definition {
                    what: format!("the row security of `{name}`"),
                    sql: format!("SELECT {policy}"),
                });
            }
        }
        Ok(open)
    }

    async fn types(&mut self, types: &BTreeSet<Name>) -> Result<Vec<Definition>, Refused> {
        let names: Vec<String> = types.iter().map(quoted).collect();
        let mut open = Vec::new();
        if names.is_empty() {
            return Ok(open);
        }
        for row in self.session.query(DOMAINS, &[&names]).await.map_err(not_verified)? {
            let (oid, name) =
                (column::<u32>(&row, 0)?, Name { schema: Some(column(&row, 1)?), name: column(&row, 2)? });
            if !self.seen.insert(oid) {
                continue;
            }
            let what = format!("type `{name}`");
            if column::<bool>(&row, 4)? {
                return Err(Refused::HiddenCode { what, why: "it has a cast of its own".to_owned() });
            }
            for check in column::<Vec<String>>(&row, 3)? {
                open.push(Definition { what: what.clone(), sql: format!("SELECT {check}") });
            }
        }
        Ok(open)
    }
}

/// A name as `to_regclass` and `to_regtype` read it.
fn quoted(name: &Name) -> String {
    let quote = |part: &str| format!("\"{}\"", part.replace('"', "\"\""));
    match &name.schema {
        Some(schema) => format!("{}.{}", quote(schema), quote(&name.name)),
        None => quote(&name.name),
    }
}

fn column<'a, T: tokio_postgres::types::FromSql<'a>>(row: &'a Row, index: usize) -> Result<T, Refused> {
    row.try_get(index).map_err(|error| not_verified(QueryFailure::of(&error)))
}

fn not_verified(failure: QueryFailure) -> Refused {
    Refused::NotVerified { problem: failure.detail }
}
