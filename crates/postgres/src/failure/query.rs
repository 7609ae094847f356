//! Failures of statements on an open session.

use std::fmt;

use super::classify::describe;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $explain:literal, [$($hint:literal),*];)*) => {
        /// What kind of failure it is.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum QueryFailureKind { $($(#[$doc])* $name,)* }

        impl QueryFailureKind {
            /// The stable `snake_case` code of the API and of records.
            pub fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }
            fn explain(self) -> &'static str {
                match self { $(Self::$name => $explain,)* }
            }
            fn hints(self) -> &'static [&'static str] {
                match self { $(Self::$name => &[$($hint),*],)* }
            }
        }
    };
}

kinds! {
    /// `statement_timeout` ended it.
    StatementTimeout = "statement_timeout", "The statement ran longer than its time limit and was cancelled.",
        ["Ask for less (a filter, a smaller limit), or raise the statement timeout.", "Look for locks it waited on and for a missing index."];
    /// Someone cancelled it.
    Cancelled = "query_cancelled", "The statement was cancelled.", [];
    /// A standby cancelled it, or the like.
    RecoveryConflict = "recovery_conflict", "The standby cancelled the statement because it stood in the way of replaying WAL.",
        ["Try again, or set hot_standby_feedback or max_standby_streaming_delay."];
    /// `lock_timeout` ended it.
    LockTimeout = "lock_timeout", "The statement waited too long for a lock that another session holds.",
        ["See which session holds the lock.", "Try again when it has finished."];
    /// It was the victim of a deadlock.
    Deadlock = "deadlock", "The statement was ended to break a deadlock.", ["Try again; make transactions lock things in one order."];
    /// It would write in a read-only session.
    ReadOnly = "read_only", "The statement would change something, and this session is read-only.",
        ["Use the tool that makes this change; it asks for approval where policy demands it.", "On a standby, connect to the primary."];
    /// The role may not.
    PermissionDenied = "permission_denied", "The role lacks the privilege for this.",
        ["Grant the privilege; for monitoring, membership in pg_monitor; for ending sessions, pg_signal_backend."];
    /// A table or view that does not exist.
    UndefinedTable = "undefined_table", "A table or view in the statement does not exist, or is not in the search path.",
        ["Check the spelling and write it with its schema."];
    /// A function or operator that does not exist.
    UndefinedFunction = "undefined_function", "A function or operator in the statement does not exist for these types.",
        ["Check the server's version and the installed extensions."];
    /// A column that does not exist.
    UndefinedColumn = "undefined_column", "A column in the statement does not exist.", ["Check the spelling; quote mixed-case names."];
    /// Any other object that does not exist.
    UndefinedObject = "undefined_object", "Something that the statement names does not exist.", ["Check the spelling and the server's version."];
    /// It cannot be parsed.
    Syntax = "syntax_error", "The statement cannot be parsed by this server.", ["Check it against the server's version."];
    /// It is not in a state that allows it.
    NotInPrerequisiteState = "not_in_prerequisite_state", "The server or the object is not in a state that allows this.",
        ["Read the raw error; often an extension must be preloaded or a server be (or not be) a standby."];
    /// The server cannot do it.
    NotSupported = "not_supported", "This server cannot do that.", ["Check the server's version and what kind of object it is."];
    /// The disk is full.
    DiskFull = "disk_full", "The server's disk is full.",
        ["Free space on the volume of the data directory, of pg_wal and of temporary files; look for a replication slot that keeps WAL."];
    /// Memory is exhausted.
    OutOfMemory = "out_of_memory", "The server ran out of memory.",
        ["Check work_mem and the number of sessions, shared memory, and the machine's limits."];
    /// Connection slots, locks or another resource are exhausted.
    OutOfResources = "insufficient_resources", "The server ran out of a resource.",
        ["Read the raw error: it names the setting, such as max_locks_per_transaction or temp_file_limit."];
    /// The data is damaged.
    DataCorrupted = "data_corrupted", "The server found damaged data.",
        ["Stop writing, make a file-level copy, check the storage, and restore from a backup."];
    /// The server's storage failed.
    IoError = "io_error", "The server could not read or write its storage.", ["Check the disk and the kernel's log on the server."];
    /// The session was ended, or the server stopped.
    ConnectionLost = "connection_lost", "The connection was lost: the session was terminated, or the server stopped or crashed.",
        ["Look into the server's log at this time, then try again."];
    /// Nothing came back in time.
    NoAnswer = "no_answer", "The server did not answer in time.",
        ["The server or the network hangs; check load, I/O and processes on the server."];
    /// A value cannot be used.
    InvalidValue = "invalid_value", "A value in the statement cannot be used.", [];
    /// A constraint forbids it.
    Constraint = "constraint_violation", "The change violates a constraint.", [];
    /// Anything else.
    Other = "query_failed", "The statement failed.", [];
}

/// A statement failed on an open session.
#[derive(Debug, Clone)]
pub struct QueryFailure {
    /// What kind of failure it is.
    pub kind: QueryFailureKind,
    /// What the server said, as it said it.
    pub detail: String,
    /// The server's SQLSTATE, when a server answered.
    pub sqlstate: Option<String>,
}

impl QueryFailure {
    /// A failure that is known without a server's answer.
    pub fn new(kind: QueryFailureKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), sqlstate: None }
    }

    /// The failure behind an error of the protocol library.
    pub fn of(error: &tokio_postgres::Error) -> Self {
        if let Some(answer) = error.as_db_error() {
            let code = answer.code().code();
            return Self {
                kind: of_answer(code, answer.routine(), answer.message()),
                detail: describe(answer),
                sqlstate: Some(code.to_owned()),
            };
        }
        let source = std::error::Error::source(error);
        let lost = error.is_closed() || source.is_some_and(|s| s.is::<std::io::Error>());
        let detail = match source {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        };
        Self::new(if lost { QueryFailureKind::ConnectionLost } else { QueryFailureKind::Other }, detail)
    }

    /// The stable `snake_case` code.
    pub fn code(&self) -> &'static str {
        self.kind.code()
    }

    /// What happened, in one sentence.
    pub fn explain(&self) -> String {
        self.kind.explain().to_owned()
    }

    /// What to do next, most useful first.
    pub fn hints(&self) -> Vec<String> {
        self.kind.hints().iter().map(|hint| (*hint).to_owned()).collect()
    }

    /// The explanation and the hints as lines.
    pub fn diagnosis(&self) -> String {
        let mut text = self.explain();
        for hint in self.hints() {
            text.push_str("\n- ");
            text.push_str(&hint);
        }
        text
    }
}

impl fmt::Display for QueryFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.explain())
    }
}

impl std::error::Error for QueryFailure {}

impl From<tokio_postgres::Error> for QueryFailure {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::of(&error)
    }
}

pub(crate) fn of_answer(sqlstate: &str, routine: Option<&str>, message: &str) -> QueryFailureKind {
    use QueryFailureKind as K;
    match sqlstate {
        // One code for three reasons and one routine for all of them; the words of the settings are kept by most translations.
        "57014" if message.contains("statement timeout") || message.contains("statement_timeout") => {
            K::StatementTimeout
        }
        "57014" if routine == Some("ProcessInterrupts") && message.contains("timeout") => K::StatementTimeout,
        "57014" => K::Cancelled,
        "40001" if message.contains("recovery") => K::RecoveryConflict,
        "55P03" => K::LockTimeout,
        "40P01" => K::Deadlock,
        "25006" => K::ReadOnly,
        "42501" => K::PermissionDenied,
        "42P01" | "3F000" => K::UndefinedTable,
        "42883" => K::UndefinedFunction,
        "42703" => K::UndefinedColumn,
        "42704" | "3D000" => K::UndefinedObject,
        "42601" => K::Syntax,
        "55000" => K::NotInPrerequisiteState,
        "0A000" => K::NotSupported,
        "53100" => K::DiskFull,
        "53200" => K::OutOfMemory,
        "XX001" | "XX002" => K::DataCorrupted,
        "58030" => K::IoError,
        "57P01" | "57P02" | "57P03" | "57P04" | "57P05" | "25P03" | "25P04" => K::ConnectionLost,
        code if code.starts_with("08") => K::ConnectionLost,
        code if code.starts_with("53") || code.starts_with("54") => K::OutOfResources,
        code if code.starts_with("58") => K::IoError,
        code if code.starts_with("22") => K::InvalidValue,
        code if code.starts_with("23") => K::Constraint,
        _ => K::Other,
    }
}
