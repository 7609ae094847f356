//! A failed connection as evidence.

use std::time::Duration;

use reeve_diagnose::evidence::{ConnectFailure as Evidence, ConnectFailureKind as Kind};

use crate::failure::{ConnectFailure, ConnectFailureKind, Stage};

/// What a connection that failed after a while says about the server.
pub fn connect_failure(failure: &ConnectFailure, after: Duration) -> Evidence {
    Evidence {
        kind: kind(failure),
        address: failure.host.clone(),
        user: Some(failure.user.clone()),
        database: Some(failure.dbname.clone()),
        detail: match failure.detail.is_empty() {
            true => failure.explain(),
            false => failure.detail.clone(),
        },
        hints: failure.hints(),
        after_ms: u64::try_from(after.as_millis()).unwrap_or(u64::MAX),
    }
}

fn kind(failure: &ConnectFailure) -> Kind {
    use ConnectFailureKind as F;
    match failure.kind {
        F::Refused | F::SocketMissing => Kind::Refused,
        F::HostNotFound | F::Timeout { stage: Stage::Dns } => Kind::Dns,
        F::Unreachable => Kind::Unreachable,
        F::Timeout { stage: Stage::Connect } => Kind::ConnectTimeout,
        F::Timeout { stage: Stage::Encryption | Stage::Authentication | Stage::FirstQuery } => Kind::Hung,
        F::AuthFailed | F::PasswordMissing => Kind::Auth,
        // What demands TLS, or seems to, is a line of pg_hba.conf.
        F::HbaRejected | F::TlsRequired => Kind::Hba,
        F::DatabaseMissing => Kind::MissingDatabase,
        F::RoleMissing => Kind::MissingRole,
        F::DatabaseClosed | F::RoleCannotLogin | F::PermissionDenied => Kind::Forbidden,
        F::TlsRefused | F::TlsVerification | F::TlsHandshake => Kind::Tls,
        F::TooManyConnections => Kind::TooManyConnections,
        F::Starting | F::InRecoveryNotAccepting => Kind::Starting,
        F::ShuttingDown => Kind::ShuttingDown,
        F::Interrupted => Kind::Dropped,
        F::ProtocolViolation => Kind::NotPostgres,
        F::SocketPermission | F::WrongServer | F::PoolerUnsupported | F::Other => Kind::Other,
    }
}
