//! From an error number, a SQLSTATE or a broken protocol to a kind of failure.

use std::error::Error as _;
use std::io;

use tokio_postgres::error::DbError;

use super::{ConnectFailureKind, Stage};

/// The kind of an operating system error, at a stage. `unix` says whether a Unix socket is being opened.
pub(crate) fn of_io_error(error: &io::Error, stage: Stage, unix: bool) -> ConnectFailureKind {
    use ConnectFailureKind as K;
    use io::ErrorKind as E;
    match error.kind() {
        _ if stage == Stage::Dns => K::HostNotFound,
        E::NotFound if unix => K::SocketMissing,
        // The file is there and nobody listens: left behind by a crash.
        E::ConnectionRefused => K::Refused,
        E::PermissionDenied if unix => K::SocketPermission,
        E::HostUnreachable | E::NetworkUnreachable | E::NetworkDown | E::AddrNotAvailable | E::PermissionDenied => {
            K::Unreachable
        }
        E::TimedOut => K::Timeout { stage },
        E::ConnectionReset | E::ConnectionAborted | E::BrokenPipe | E::UnexpectedEof | E::NotConnected => {
            K::Interrupted
        }
        E::InvalidData | E::InvalidInput => K::ProtocolViolation,
        _ => K::Other,
    }
}

/// The kind of an error that the server sent while the connection was being made.
///
/// `28000` stands for several things. The routine that raised it is not translated, so it is asked before the text.
fn of_database_error(error: &DbError, unencrypted_by_choice: bool) -> ConnectFailureKind {
    of_answer(error.code().code(), error.routine(), error.message(), unencrypted_by_choice)
}

pub(crate) fn of_answer(
    sqlstate: &str,
    routine: Option<&str>,
    message: &str,
    unencrypted_by_choice: bool,
) -> ConnectFailureKind {
    use ConnectFailureKind as K;
    match sqlstate {
        "28P01" => K::AuthFailed,
        "28000" => of_invalid_authorization(routine, message, unencrypted_by_choice),
        "3D000" => K::DatabaseMissing,
        "42501" => K::PermissionDenied,
        "53300" => K::TooManyConnections,
        "55000" => K::DatabaseClosed,
        "57P03" => of_cannot_connect_now(message),
        "57P01" | "57P02" | "57P05" => K::Interrupted,
        "57014" => K::Timeout { stage: Stage::FirstQuery },
        "08P01" if message.contains("unsupported startup parameter") => K::PoolerUnsupported,
        "08P01" | "0A000" => K::ProtocolViolation,
        code if code.starts_with("08") => K::Interrupted,
        _ => K::Other,
    }
}

fn of_invalid_authorization(routine: Option<&str>, message: &str, unencrypted_by_choice: bool) -> ConnectFailureKind {
    use ConnectFailureKind as K;
    let unencrypted_refused = unencrypted_by_choice
        && ["no encryption", "SSL off", "SSL required", "SSL connection is required"]
            .iter()
            .any(|t| message.contains(t));
    match routine {
        Some("ClientAuthentication") if unencrypted_refused => K::TlsRequired,
        Some("ClientAuthentication") => K::HbaRejected,
        Some("auth_failed") => K::AuthFailed,
        Some("InitializeSessionUserId") if message.contains("log in") => K::RoleCannotLogin,
        Some("InitializeSessionUserId") => K::RoleMissing,
        _ if unencrypted_refused => K::TlsRequired,
        _ if message.contains("pg_hba.conf") => K::HbaRejected,
        _ if message.contains("not permitted to log in") => K::RoleCannotLogin,
        _ if message.contains("does not exist") => K::RoleMissing,
        _ => K::AuthFailed,
    }
}

/// One SQLSTATE and one routine for four states of a server: only the text tells them apart. In another language the
/// answer is the most general of the four.
fn of_cannot_connect_now(message: &str) -> ConnectFailureKind {
    use ConnectFailureKind as K;
    if message.contains("shutting down") {
        K::ShuttingDown
    } else if message.contains("not accepting connections") || message.contains("not yet accepting connections") {
        K::InRecoveryNotAccepting
    } else {
        K::Starting
    }
}

/// The kind of an error of the protocol library, and what it says.
pub(crate) fn of_protocol_error(
    error: &tokio_postgres::Error,
    stage: Stage,
    password_known: bool,
    unencrypted_by_choice: bool,
) -> (ConnectFailureKind, String) {
    if let Some(answer) = error.as_db_error() {
        return (of_database_error(answer, unencrypted_by_choice), describe(answer));
    }
    if error.is_closed() {
        return (ConnectFailureKind::Interrupted, "the server closed the connection".to_owned());
    }
    let source = error.source();
    if let Some(io_error) = source.and_then(|s| s.downcast_ref::<io::Error>()) {
        return (of_io_error(io_error, stage, false), io_error.to_string());
    }
    let said = match source {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    // The library has no public name for this one; its absence of a password is the only setting it can miss.
    let kind = if !password_known && said.contains("password missing") {
        ConnectFailureKind::PasswordMissing
    } else if said.starts_with("authentication error") {
        ConnectFailureKind::AuthFailed
    } else if said.starts_with("unexpected message") || said.starts_with("error parsing") {
        ConnectFailureKind::ProtocolViolation
    } else {
        ConnectFailureKind::Other
    };
    (kind, said)
}

/// What the server said, on one line: severity, message, detail and hint.
pub(crate) fn describe(error: &DbError) -> String {
    let mut text = format!("{}: {}", error.severity(), error.message());
    if let Some(detail) = error.detail() {
        text.push_str(&format!(" DETAIL: {detail}"));
    }
    if let Some(hint) = error.hint() {
        text.push_str(&format!(" HINT: {hint}"));
    }
    text
}
