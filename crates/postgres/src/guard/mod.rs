//! Which SQL a person or a model may run as a read.
//!
//! Four layers, each enough for the plain cases:
//!
//! 1. [`read_only`] parses the text with PostgreSQL's own parser and walks the *whole* tree against lists of what is
//!    allowed: kinds of statements, kinds of nodes, functions, operators' schemas. What is not known is refused, so a
//!    construct of a future grammar is refused too.
//! 2. [`verify_in_catalog`] asks the server what the names mean there: functions and operators that shadow built-in
//!    ones, views, row security policies and domains whose definitions would not pass the first layer, foreign tables.
//! 3. The session reads strings as the parser does, and puts `pg_catalog` first in its search path.
//! 4. The statement runs in a transaction that is `READ ONLY` and always rolled back.
//!
//! What remains is said openly: functions behind extension types' operators are trusted, as is whatever a C-language
//! type does when it is read; and a cheap-looking query may still be expensive, which the statement timeout bounds.

mod catalog;
mod dml;
mod functions;
mod identifier;
mod parse;
#[cfg(test)]
mod tests;
mod walk;

use std::collections::BTreeSet;
use std::fmt;

pub use catalog::verify_in_catalog;
pub use dml::{Dml, DmlKind, single_dml};
pub use identifier::{BadIdentifier, identifier, qualified_identifier};

/// What to do about a statement that is too complex.
const TOO_COMPLEX_HINT: &str = "split the statement, or use IN (…) and = ANY (…) in place of long chains";

/// A name, with its schema when one is written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    /// The schema, if the statement names it.
    pub schema: Option<String>,
    /// The name itself.
    pub name: String,
}

impl Name {
    pub(crate) fn is_builtin_schema(&self) -> bool {
        matches!(self.schema.as_deref(), Some("pg_catalog" | "information_schema"))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.schema {
            Some(schema) => write!(f, "{schema}.{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// What kind of read it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadKind {
    /// `SELECT`, `VALUES`, `TABLE`, `WITH … SELECT`.
    Select,
    /// `SHOW`.
    Show,
    /// `EXPLAIN` of a read.
    Explain {
        /// Whether the statement inside is carried out.
        analyze: bool,
    },
}

/// What a caller permits beyond the rule.
#[derive(Debug, Clone, Default)]
pub struct GuardOptions {
    /// Functions that may be called although they are not in the list: `name` or `schema.name`, in lower case unless
    /// they were created with quotes. The caller vouches for them.
    pub allow_functions: BTreeSet<String>,
    /// Whether `EXPLAIN ANALYZE` of a read is allowed. It carries the read out.
    pub allow_explain_analyze: bool,
    /// Whether foreign tables may be read. That is an act on another system.
    pub allow_foreign_tables: bool,
}

impl GuardOptions {
    pub(crate) fn allows(&self, function: &Name) -> bool {
        self.allow_functions.contains(&function.to_string()) || self.allow_functions.contains(&function.name)
    }
}

/// A statement that passed, and every name in it whose meaning the server decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guarded {
    pub(crate) sql: String,
    pub(crate) kind: ReadKind,
    pub(crate) names: Names,
}

/// The names in a statement.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// Functions, as they are called.
    pub functions: BTreeSet<Name>,
    /// Tables, views and the like; also names of `WITH` queries.
    pub relations: BTreeSet<Name>,
    /// Operators written without a schema.
    pub operators: BTreeSet<String>,
    /// Types that are not built in, or not recognisably so.
    pub types: BTreeSet<Name>,
    /// Names after a dot, and of columns: `row.name` calls a function `name` when the row has no such column.
    pub attributes: BTreeSet<String>,
}

impl Guarded {
    /// The one statement, without a semicolon.
    pub fn sql(&self) -> &str {
        &self.sql
    }

    /// What kind of read it is.
    pub fn kind(&self) -> ReadKind {
        self.kind
    }

    /// The names in it.
    pub fn names(&self) -> &Names {
        &self.names
    }
}

/// Why a statement is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Nothing but blanks and comments.
    #[error("there is no statement in the text")]
    Empty,
    /// Longer than `reeve_types::limits::SQL_BYTES_MAX`.
    #[error("the statement has {bytes} bytes; at most {limit} are accepted")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// What is accepted.
        limit: usize,
    },
    /// It nests too deeply, or has too many operators.
    #[error("the statement is too deeply nested or has too many operators")]
    TooComplex,
    /// A NUL.
    #[error("the statement holds a null byte at byte {at}")]
    NullByte {
        /// Where.
        at: usize,
    },
    /// The parser does not understand it.
    #[error("the statement cannot be parsed: {problem}")]
    Syntax {
        /// In the parser's words.
        problem: String,
    },
    /// More than one statement.
    #[error("the text holds {count} statements; exactly one is accepted")]
    ManyStatements {
        /// How many.
        count: usize,
    },
    /// Not a read.
    #[error("{what} is not a read; only SELECT, VALUES, TABLE, WITH, SHOW and EXPLAIN are accepted")]
    NotARead {
        /// The kind of statement.
        what: String,
    },
    /// A part of the statement writes, locks or is not known.
    #[error("{what} is not accepted in a read")]
    Construct {
        /// The part.
        what: String,
    },
    /// `EXPLAIN ANALYZE` where it is not allowed.
    #[error("explain analyze carries the statement out and is not accepted here; leave out analyze")]
    ExplainAnalyze,
    /// A function known to be unfit.
    #[error("function `{name}` is not accepted in a read: it {reason}")]
    UnsafeFunction {
        /// Its name.
        name: String,
        /// What it does.
        reason: &'static str,
    },
    /// A function that nobody has vouched for.
    #[error("function `{name}` is not known to be free of effects, so it is not accepted in a read")]
    UnknownFunction {
        /// Its name.
        name: String,
    },
    /// An operator of a user's schema.
    #[error("operator `{name}` is not one of PostgreSQL's own and may do anything")]
    ForeignOperator {
        /// Its name.
        name: String,
    },
    /// A relation or setting that holds secrets.
    #[error("`{name}` holds passwords or other secrets and is not read for people or models")]
    Secret {
        /// Its name.
        name: String,
    },
    /// A setting whose name is not written in the statement.
    #[error("current_setting must be given the name of the setting as a plain string")]
    ComputedSetting,
    /// Something in the database would be called that the statement does not show.
    #[error("{what} would run code that is not known to be free of effects: {why}")]
    HiddenCode {
        /// The object.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// A foreign table.
    #[error("`{name}` is a foreign table: reading it acts on another system")]
    ForeignTable {
        /// Its name.
        name: String,
    },
    /// The catalog could not be asked, or the answer is too long.
    #[error("what the statement would call could not be checked on the server: {problem}")]
    NotVerified {
        /// Why not.
        problem: String,
    },
}

impl Refused {
    /// What to do instead, when there is something.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::ManyStatements { .. } => "send the statements one at a time",
            Self::TooComplex => TOO_COMPLEX_HINT,
            Self::NotARead { .. } | Self::Construct { .. } => {
                "use the tool that makes this change; it asks for approval where policy demands it"
            }
            Self::UnknownFunction { .. } | Self::ForeignOperator { .. } | Self::HiddenCode { .. } => {
                "if the function only reads, an administrator can put it on the list of allowed functions"
            }
            Self::UnsafeFunction { .. } => "look for a tool that does this; tools are governed and recorded",
            Self::ForeignTable { .. } => "connect to the other system itself",
            _ => return None,
        })
    }
}

/// Checks that the text is one statement that only reads.
pub fn read_only(sql: &str) -> Result<Guarded, Refused> {
    read_only_with(sql, &GuardOptions::default())
}

/// The same with what the caller permits beyond the rule.
pub fn read_only_with(sql: &str, options: &GuardOptions) -> Result<Guarded, Refused> {
    let statement = parse::single(sql)?;
    let (kind, names) = walk::read(&statement.tree, options)?;
    Ok(Guarded { sql: statement.sql, kind, names })
}
