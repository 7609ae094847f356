//! How failures are told apart and what they say.

use super::classify::of_answer;
use super::query::of_answer as of_query;
use super::*;

#[test]
fn servers_that_speak_another_language_are_understood() {
    use ConnectFailureKind as K;
    let table = [
        ("28P01", Some("auth_failed"), "Passwort-Authentifizierung für Benutzer »x« fehlgeschlagen", K::AuthFailed),
        ("28000", Some("ClientAuthentication"), "kein pg_hba.conf-Eintrag für Host", K::HbaRejected),
        ("28000", Some("InitializeSessionUserId"), "Rolle »x« existiert nicht", K::RoleMissing),
        ("28000", Some("auth_failed"), "Peer-Authentifizierung fehlgeschlagen", K::AuthFailed),
        ("28000", None, "no pg_hba.conf entry for host", K::HbaRejected),
        ("3D000", Some("InitPostgres"), "Datenbank »x« existiert nicht", K::DatabaseMissing),
        ("53300", None, "zu viele Clients", K::TooManyConnections),
        ("57P03", Some("ProcessStartupPacket"), "das Datenbanksystem startet", K::Starting),
        ("57P03", None, "the database system is shutting down", K::ShuttingDown),
        ("57P03", None, "the database system is in recovery mode", K::Starting),
        ("57P03", None, "the database system is not accepting connections", K::InRecoveryNotAccepting),
        ("08P01", None, "unsupported startup parameter: options", K::PoolerUnsupported),
    ];
    for (sqlstate, routine, message, kind) in table {
        assert_eq!(of_answer(sqlstate, routine, message, false), kind, "{sqlstate} {message}");
    }
    let hba = "pg_hba.conf rejects connection for host \"h\", user \"u\", database \"d\", no encryption";
    assert_eq!(of_answer("28000", Some("ClientAuthentication"), hba, true), K::TlsRequired);
    assert_eq!(of_answer("28000", Some("ClientAuthentication"), hba, false), K::HbaRejected);
}

#[test]
fn failures_of_statements_are_told_apart() {
    use QueryFailureKind as K;
    for (sqlstate, message, kind) in [
        ("57014", "canceling statement due to statement timeout", K::StatementTimeout),
        ("57014", "canceling statement due to user request", K::Cancelled),
        ("55P03", "", K::LockTimeout),
        ("25006", "", K::ReadOnly),
        ("42501", "", K::PermissionDenied),
        ("42P01", "", K::UndefinedTable),
        ("42883", "", K::UndefinedFunction),
        ("53100", "", K::DiskFull),
        ("53200", "", K::OutOfMemory),
        ("53300", "", K::OutOfResources),
        ("57P01", "", K::ConnectionLost),
        ("XX001", "", K::DataCorrupted),
        ("22012", "", K::InvalidValue),
        ("ZZZZZ", "", K::Other),
    ] {
        assert_eq!(of_query(sqlstate, None, message), kind, "{sqlstate} {message}");
    }
}

#[test]
fn every_kind_explains_itself_and_says_what_to_do() {
    use ConnectFailureKind as K;
    let stages = [Stage::Dns, Stage::Connect, Stage::Encryption, Stage::Authentication, Stage::FirstQuery];
    let kinds = [
        K::Refused,
        K::HostNotFound,
        K::Unreachable,
        K::AuthFailed,
        K::HbaRejected,
        K::DatabaseMissing,
        K::DatabaseClosed,
        K::RoleMissing,
        K::RoleCannotLogin,
        K::PermissionDenied,
        K::TlsRequired,
        K::TlsRefused,
        K::TlsVerification,
        K::TlsHandshake,
        K::TooManyConnections,
        K::Starting,
        K::ShuttingDown,
        K::InRecoveryNotAccepting,
        K::SocketMissing,
        K::SocketPermission,
        K::PasswordMissing,
        K::ProtocolViolation,
        K::Interrupted,
        K::WrongServer,
        K::PoolerUnsupported,
        K::Other,
    ];
    let mut text = String::new();
    for kind in kinds.into_iter().chain(stages.map(|stage| K::Timeout { stage })) {
        let failure = ConnectFailure {
            kind,
            host: "db.example:5432".to_owned(),
            user: "reeve".to_owned(),
            dbname: "shop".to_owned(),
            detail: String::new(),
            sqlstate: None,
            earlier: Vec::new(),
            warnings: Vec::new(),
        };
        assert!(!failure.hints().is_empty(), "{kind:?}");
        text.push_str(&format!("[{}]\n{}\n\n", failure.code(), failure.diagnosis()));
    }
    insta::assert_snapshot!(text);
}

#[test]
fn the_text_of_a_failed_tool_is_what_gateways_look_for() {
    let text = tool_error_text("check_connection", "host=h password=hunter2", "It is down.", "connection refused");
    assert_eq!(
        text,
        "---\nERROR — check_connection failed for host=h password=***\n\nIt is down.\n\nRaw error: connection refused\n---"
    );
}
