//! Why something did not work, in a DBA's words.
//!
//! [`ConnectFailure`] is about reaching a server, [`QueryFailure`] about a statement on an open session. Both are told
//! apart by error numbers of the operating system and by SQLSTATE, never by a sentence where a number will do: servers
//! speak the language of their `lc_messages`. Both say what happened ([`ConnectFailure::explain`]) and what to do next
//! ([`ConnectFailure::hints`]).

mod classify;
mod query;
#[cfg(test)]
mod tests;

use std::fmt;

pub(crate) use classify::{of_io_error, of_protocol_error};
pub use query::{QueryFailure, QueryFailureKind};

/// How far a connection had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Looking up the name.
    Dns,
    /// Opening the TCP connection or the socket.
    Connect,
    /// Agreeing on TLS.
    Encryption,
    /// Logging in.
    Authentication,
    /// The first query of the session.
    FirstQuery,
}

impl Stage {
    /// The stable word of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::Encryption => "encryption",
            Self::Authentication => "authentication",
            Self::FirstQuery => "first_query",
        }
    }
}

/// What kind of failure it is. A closed set with stable codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConnectFailureKind {
    /// Nobody listens on the port.
    Refused,
    /// The host's name is unknown.
    HostNotFound,
    /// There is no way to the host.
    Unreachable,
    /// Nothing came back in time.
    Timeout {
        /// At which point.
        stage: Stage,
    },
    /// Wrong password, certificate or operating system user.
    AuthFailed,
    /// No line of `pg_hba.conf` lets the client in.
    HbaRejected,
    /// The database does not exist.
    DatabaseMissing,
    /// The database takes no connections.
    DatabaseClosed,
    /// The role does not exist.
    RoleMissing,
    /// The role may not log in.
    RoleCannotLogin,
    /// The role may not connect to the database.
    PermissionDenied,
    /// The server demands TLS.
    TlsRequired,
    /// The server offers no TLS although it is demanded.
    TlsRefused,
    /// The server's certificate is not acceptable.
    TlsVerification,
    /// TLS could not be set up for another reason: a file, a version, a client certificate.
    TlsHandshake,
    /// No connection slot is free.
    TooManyConnections,
    /// The server is starting or recovering.
    Starting,
    /// The server is shutting down.
    ShuttingDown,
    /// A standby that takes no connections (yet).
    InRecoveryNotAccepting,
    /// The socket's file is not there.
    SocketMissing,
    /// The socket may not be opened.
    SocketPermission,
    /// The server wants a password and none is known.
    PasswordMissing,
    /// Something answered that is not a PostgreSQL server.
    ProtocolViolation,
    /// The connection was cut while it was being made.
    Interrupted,
    /// No server is of the kind that `target_session_attrs` wants.
    WrongServer,
    /// A connection pooler in between does not pass on the session's settings.
    PoolerUnsupported,
    /// Anything else.
    Other,
}

impl ConnectFailureKind {
    /// The stable `snake_case` code of the API and of records.
    pub fn code(self) -> &'static str {
        match self {
            Self::Refused => "connection_refused",
            Self::HostNotFound => "host_not_found",
            Self::Unreachable => "host_unreachable",
            Self::Timeout { .. } => "timeout",
            Self::AuthFailed => "authentication_failed",
            Self::HbaRejected => "hba_rejected",
            Self::DatabaseMissing => "database_not_found",
            Self::DatabaseClosed => "database_closed",
            Self::RoleMissing => "role_not_found",
            Self::RoleCannotLogin => "role_cannot_log_in",
            Self::PermissionDenied => "permission_denied",
            Self::TlsRequired => "tls_required",
            Self::TlsRefused => "tls_refused",
            Self::TlsVerification => "tls_verification_failed",
            Self::TlsHandshake => "tls_handshake_failed",
            Self::TooManyConnections => "too_many_connections",
            Self::Starting => "starting_up",
            Self::ShuttingDown => "shutting_down",
            Self::InRecoveryNotAccepting => "not_accepting_connections",
            Self::SocketMissing => "socket_missing",
            Self::SocketPermission => "socket_permission_denied",
            Self::PasswordMissing => "password_missing",
            Self::ProtocolViolation => "protocol_violation",
            Self::Interrupted => "interrupted",
            Self::WrongServer => "wrong_server_role",
            Self::PoolerUnsupported => "pooler_unsupported",
            Self::Other => "connection_failed",
        }
    }
}

/// A server could not be reached, or did not let us in.
#[derive(Debug, Clone)]
pub struct ConnectFailure {
    /// What kind of failure it is.
    pub kind: ConnectFailureKind,
    /// The place that was tried: `host:port` or the path of a socket.
    pub host: String,
    /// The role.
    pub user: String,
    /// The database.
    pub dbname: String,
    /// What the operating system or the server said, as it said it. Never a password.
    pub detail: String,
    /// The server's SQLSTATE, when a server answered.
    pub sqlstate: Option<String>,
    /// What happened at the places tried before, in order.
    pub earlier: Vec<ConnectFailure>,
    /// What was noticed on the way, such as a password file that was not used.
    pub warnings: Vec<String>,
}

impl fmt::Display for ConnectFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.explain())
    }
}

impl std::error::Error for ConnectFailure {}

impl ConnectFailure {
    /// The stable `snake_case` code.
    pub fn code(&self) -> &'static str {
        self.kind.code()
    }

    /// Whether trying again later, without changing anything, may well succeed.
    pub fn is_transient(&self) -> bool {
        matches!(
            self.kind,
            ConnectFailureKind::Timeout { .. }
                | ConnectFailureKind::TooManyConnections
                | ConnectFailureKind::Starting
                | ConnectFailureKind::ShuttingDown
                | ConnectFailureKind::InRecoveryNotAccepting
                | ConnectFailureKind::Interrupted
                | ConnectFailureKind::Unreachable
                | ConnectFailureKind::Refused
        )
    }

    /// What happened, in one sentence.
    pub fn explain(&self) -> String {
        use ConnectFailureKind as K;
        let Self { host, user, dbname, .. } = self;
        match self.kind {
            K::Refused => format!(
                "Connection refused: nothing listens at {host}; PostgreSQL is not running there or listens elsewhere."
            ),
            K::HostNotFound => format!("The host name of {host} cannot be resolved."),
            K::Unreachable => format!("There is no network route to {host}."),
            K::Timeout { stage } => explain_timeout(host, stage),
            K::AuthFailed => {
                format!("Authentication failed: {host} did not accept the credentials of role \"{user}\".")
            }
            K::HbaRejected => format!(
                "The server's pg_hba.conf does not let role \"{user}\" from this machine into database \"{dbname}\"."
            ),
            K::DatabaseMissing => format!("Database \"{dbname}\" does not exist on {host}."),
            K::DatabaseClosed => format!("Database \"{dbname}\" on {host} is set not to accept connections."),
            K::RoleMissing => format!("Role \"{user}\" does not exist on {host}."),
            K::RoleCannotLogin => format!("Role \"{user}\" exists on {host} but is not permitted to log in."),
            K::PermissionDenied => format!("Role \"{user}\" lacks the CONNECT privilege on database \"{dbname}\"."),
            K::TlsRequired => format!("{host} turned down an unencrypted connection; it most likely demands TLS."),
            K::TlsRefused => format!("{host} does not offer TLS, but the connection settings demand it."),
            K::TlsVerification => format!("The TLS certificate of {host} was not accepted."),
            K::TlsHandshake => format!("TLS could not be set up with {host}."),
            K::TooManyConnections => format!(
                "Too many connections: {host} has no free slot for role \"{user}\" (max_connections or a role's or database's limit is reached)."
            ),
            K::Starting => {
                format!("The server at {host} is starting up or recovering and does not accept connections yet.")
            }
            K::ShuttingDown => format!("The server at {host} is shutting down."),
            K::InRecoveryNotAccepting => {
                format!("The server at {host} is in recovery and does not accept connections.")
            }
            K::SocketMissing => format!(
                "There is no server socket at {host}: PostgreSQL is not running on this machine or keeps its socket elsewhere."
            ),
            K::SocketPermission => format!("This process may not open the server's socket at {host}."),
            K::PasswordMissing => format!("{host} asks for a password for role \"{user}\" and none is configured."),
            K::ProtocolViolation => format!("What answers at {host} does not speak PostgreSQL's protocol."),
            K::Interrupted => format!("The connection to {host} was cut while it was being set up."),
            K::WrongServer => {
                format!("No reachable server is of the kind that target_session_attrs asks for; {host} is not.")
            }
            K::PoolerUnsupported => format!(
                "A connection pooler at {host} does not pass on session settings, so a read-only session cannot be guaranteed."
            ),
            K::Other => format!("The connection to {host} failed."),
        }
    }

    /// What to do next, most useful first.
    pub fn hints(&self) -> Vec<String> {
        let mut hints: Vec<String> = hints_of(self).into_iter().map(str::to_owned).collect();
        hints.extend(self.warnings.iter().map(|warning| format!("Note: {warning}.")));
        hints
    }

    /// The explanation, the hints and what happened at other hosts, as lines.
    pub fn diagnosis(&self) -> String {
        let mut text = self.explain();
        for hint in self.hints() {
            text.push_str("\n- ");
            text.push_str(&hint);
        }
        for other in &self.earlier {
            text.push_str("\nTried before: ");
            text.push_str(&other.explain());
        }
        text
    }
}

fn explain_timeout(host: &str, stage: Stage) -> String {
    match stage {
        Stage::Dns => format!("Timeout: the name of {host} was not resolved in time; the name server does not answer."),
        Stage::Connect => format!(
            "Timeout: {host} does not answer at all; packets are dropped on the way (a firewall) or the machine is down."
        ),
        Stage::Encryption => format!(
            "Timeout: {host} accepted the connection and then never answered; the server hangs, or a proxy there has no server behind it."
        ),
        Stage::Authentication => format!(
            "Timeout: {host} accepted the connection but did not complete the login in time; the server hangs or is overloaded, or a proxy there has no server behind it."
        ),
        Stage::FirstQuery => format!(
            "Timeout: {host} let us in but did not answer the first query in time; the server is overloaded or hangs."
        ),
    }
}

fn hints_of(failure: &ConnectFailure) -> Vec<&'static str> {
    use ConnectFailureKind as K;
    match failure.kind {
        K::Refused => vec![
            "Check that PostgreSQL is running on that host and read its log for why it stopped.",
            "Check the port, and that listen_addresses covers the address.",
        ],
        K::HostNotFound => vec![
            "Check the spelling of the host, and that this machine's DNS knows it.",
            "Give the address with hostaddr= to go without DNS.",
        ],
        K::Unreachable => vec!["Check routing, VPN and firewall between this machine and the server."],
        K::Timeout { stage: Stage::Dns } => {
            vec!["Check the resolver of this machine, or give the address with hostaddr=."]
        }
        K::Timeout { stage: Stage::Connect } => vec![
            "Check firewalls and security groups between this machine and the server.",
            "Check that the machine itself is up.",
        ],
        K::Timeout { stage: Stage::Encryption | Stage::Authentication } => vec![
            "Check the server's processes and its log: is the postmaster stopped, or out of CPU, memory or I/O?",
            "If a proxy, tunnel or load balancer stands in between, check that it reaches the server.",
        ],
        K::Timeout { stage: Stage::FirstQuery } => vec![
            "Check load, I/O wait and locks on system catalogs on the server.",
            "Raise connect_timeout if the server is known to be slow.",
        ],
        K::AuthFailed => vec![
            "Check the password in the inventory's password_env, PGPASSWORD or .pgpass (its host must be written as in the connection string).",
            "Check which method the server's pg_hba.conf asks for; the server's log names the line.",
        ],
        K::HbaRejected => vec![
            "Add a line to pg_hba.conf for this database, role and client address, then reload the server.",
            "If the lines are hostssl only, set sslmode=require; if hostnossl only, set sslmode=disable.",
        ],
        K::DatabaseMissing => vec![
            "Check dbname; without one it is the role's name.",
            "List the databases by connecting to dbname=postgres.",
        ],
        K::DatabaseClosed => vec!["Templates are closed on purpose; else ALTER DATABASE … ALLOW_CONNECTIONS true."],
        K::RoleMissing => vec!["Check the spelling of user; without one it is the operating system user's name."],
        K::RoleCannotLogin => vec!["ALTER ROLE … LOGIN, or use a role that may log in."],
        K::PermissionDenied => vec!["GRANT CONNECT ON DATABASE … TO the role, or use another role."],
        K::TlsRequired => vec!["Set sslmode=require, or better verify-full with sslrootcert."],
        K::TlsRefused => vec![
            "Turn on ssl in postgresql.conf and give it a certificate.",
            "If the network is trusted, set sslmode=prefer.",
        ],
        K::TlsVerification => vec![
            "Check that sslrootcert holds the authority that signed the server's certificate.",
            "With verify-full the certificate must be for the host as it is written in the connection string.",
            "Check that the certificate has not expired.",
        ],
        K::TlsHandshake => vec![
            "Check sslcert, sslkey and sslrootcert: the files must exist, and the key must be readable by its owner alone.",
            "Check that server and client share a TLS version; 1.2 and 1.3 are spoken here.",
        ],
        K::TooManyConnections => vec![
            "See who holds the connections; idle ones can be terminated.",
            "A role with reserved slots (superuser, pg_use_reserved_connections) may still get in.",
            "Raise max_connections or put a pooler in front.",
        ],
        K::Starting => vec![
            "Wait; recovery after a crash takes as long as the WAL since the last checkpoint.",
            "Follow the server's log for its progress.",
        ],
        K::ShuttingDown => vec![
            "Wait for it to come back, or find who stops it (service manager, cluster manager, a person).",
            "If it does not end, open sessions or an archiver hold it up.",
        ],
        K::InRecoveryNotAccepting => {
            vec!["Set hot_standby = on, or wait until the standby has reached a consistent state."]
        }
        K::SocketMissing => vec![
            "Check that the server runs and what unix_socket_directories says.",
            "Give host= to connect over TCP or to name the directory of the socket.",
        ],
        K::SocketPermission => {
            vec!["Check unix_socket_permissions, unix_socket_group and the directory's mode, or connect over TCP."]
        }
        K::PasswordMissing => vec![
            "Set password_env in the inventory, PGPASSWORD, or a line in .pgpass with mode 0600.",
            "In .pgpass the host must be written as in the connection string.",
        ],
        K::ProtocolViolation => vec!["Check host and port: something else than PostgreSQL listens there."],
        K::Interrupted => {
            vec!["Look into the server's log for a crash, a restart or an administrator's command at this time."]
        }
        K::WrongServer => vec!["Name all servers of the cluster in host=, or relax target_session_attrs."],
        K::PoolerUnsupported => {
            vec!["Connect to the server itself; PgBouncer and its like do not pass on startup options."]
        }
        K::Other => vec!["Look into the server's log at this time."],
    }
}

/// The text of a failed tool: what gateways look for (`ERROR —`) and what people and models read.
pub fn tool_error_text(tool: &str, connection: &str, diagnosis: &str, raw_error: &str) -> String {
    format!(
        "---\nERROR — {tool} failed for {connection}\n\n{diagnosis}\n\nRaw error: {raw_error}\n---",
        connection = reeve_types::mask_dsn(connection),
    )
}
