//! Getting in at all, and in what role the server is.

use reeve_types::{Finding, Severity};
use serde_json::json;

use crate::draft::{self, Draft};
use crate::evidence::{ConnectFailure, ConnectFailureKind as Kind, Silence};
use crate::{EvidenceSet, Thresholds, words};

/// Nobody gets in: one critical finding that names the stage.
pub(super) fn cannot_connect(evidence: &EvidenceSet, _: &Thresholds) -> Vec<Finding> {
    let Some(failure) = &evidence.connect_failure else { return Vec::new() };
    let story = story(failure);
    let finding = Draft::new(story.code, Severity::Critical, story.title)
        .cause(story.cause)
        .data(
            format!("{} (after {})", failure.detail, words::duration(failure.after_ms as f64 / 1000.0)),
            "connection attempt",
            json!({ "kind": failure.kind, "address": failure.address, "user": failure.user, "database": failure.database }),
        )
        .advices(story.advice.iter().map(|line| (*line).to_owned()))
        .advices(failure.hints.iter().filter(|_| story.advice.is_empty()).cloned());
    // Whoever may log in through the reserved slots can make room; everybody else needs them.
    let finding = match failure.kind {
        Kind::TooManyConnections => finding.remedy(draft::terminate_idle(
            5,
            None,
            "ends sessions idle for 5 minutes or longer; needs a role that may use the reserved slots (superuser, or \
             pg_use_reserved_connections from 16 on)",
        )),
        _ => finding,
    };
    vec![finding.done()]
}

struct Story {
    code: &'static str,
    title: String,
    cause: String,
    advice: &'static [&'static str],
}

fn story(failure: &ConnectFailure) -> Story {
    match failure.kind {
        Kind::Auth | Kind::Hba | Kind::MissingRole | Kind::MissingDatabase | Kind::Forbidden | Kind::BadTarget => {
            refused_by_server(failure)
        }
        Kind::TooManyConnections | Kind::Starting | Kind::ShuttingDown | Kind::Dropped => busy_or_restarting(failure),
        _ => no_answer(failure),
    }
}

fn refused_by_server(failure: &ConnectFailure) -> Story {
    let at = &failure.address;
    let user = failure.user.as_deref().unwrap_or("this user");
    let database = failure.database.as_deref().unwrap_or("this database");
    match failure.kind {
        Kind::Auth => Story {
            code: "authentication_failed",
            title: format!("{at} rejects the password of user {user}"),
            cause: format!(
                "The server is up and answers, but password authentication for user {user} failed: the password is \
                 wrong, missing, expired (VALID UNTIL) or was changed on the server only."
            ),
            advice: &[
                "Check the password in the connection string, PGPASSWORD or ~/.pgpass.",
                "As superuser: SELECT rolname, rolcanlogin, rolvaliduntil FROM pg_roles WHERE rolname = …; then ALTER ROLE … PASSWORD … if it must be set anew.",
                "The server's log names the pg_hba.conf line that was applied.",
            ],
        },
        Kind::Hba => Story {
            code: "hba_rejected",
            title: format!("pg_hba.conf of {at} has no entry for user {user} and database {database} from here"),
            cause: format!(
                "The server is up, but no line of its pg_hba.conf lets user {user} into database {database} from this \
                 address with this encryption, or a reject line comes first. The password was not even looked at."
            ),
            advice: &[
                "Add a line to pg_hba.conf, such as: hostssl DATABASE USER ADDRESS/32 scram-sha-256; then SELECT pg_reload_conf();",
                "If the message says \"no encryption\", the line demands TLS: connect with sslmode=require.",
                "SELECT * FROM pg_hba_file_rules; shows the lines in the order they are tried, and errors in them.",
            ],
        },
        Kind::MissingRole => Story {
            code: "role_not_found",
            title: format!("{at} has no role {user}"),
            cause: format!("The server is up, but there is no role {user} in this cluster."),
            advice: &["Correct the user in the connection string, or CREATE ROLE … LOGIN PASSWORD …;"],
        },
        Kind::MissingDatabase => Story {
            code: "database_not_found",
            title: format!("database {database} does not exist on {at}"),
            cause: format!(
                "The server is up and accepts user {user}, but it has no database {database}: the name is misspelt, \
                 the database was dropped or renamed, or this is another server than intended."
            ),
            advice: &["List what is there: SELECT datname FROM pg_database WHERE NOT datistemplate;"],
        },
        Kind::BadTarget => Story {
            code: "bad_target",
            title: format!("the connection string for {at} cannot be read"),
            cause: format!("No connection was tried: {}.", failure.detail),
            advice: &["Write it as key=value pairs or as postgresql://user@host:port/database."],
        },
        _ => Story {
            code: "connection_forbidden",
            title: format!("user {user} may not connect to database {database} on {at}"),
            cause: format!(
                "The server is up and knows user {user}, but refuses: the role may not log in, the database does not \
                 take connections, or CONNECT on it was not granted."
            ),
            advice: &[
                "ALTER ROLE … LOGIN; or GRANT CONNECT ON DATABASE … TO …; or ALTER DATABASE … ALLOW_CONNECTIONS true;",
            ],
        },
    }
}

fn busy_or_restarting(failure: &ConnectFailure) -> Story {
    let at = &failure.address;
    match failure.kind {
        Kind::TooManyConnections => Story {
            code: "connection_exhaustion",
            title: format!("{at} has no free connection slot"),
            cause:
                "The server is up, but every connection slot this role may use is taken, so it turns newcomers away. \
                    Usual reasons are a pool without a limit, sessions left idle, or sessions piling up behind a lock."
                    .to_owned(),
            advice: &[
                "Diagnose again as superuser: it gets in through superuser_reserved_connections and sees who holds the slots.",
                "Put a pooler in front, or limit the pools; raising max_connections needs a restart.",
            ],
        },
        Kind::Starting => Story {
            code: "server_starting",
            title: format!("{at} is starting up"),
            cause: "The server runs but takes no connections yet: it replays WAL after a restart or crash, or is a \
                    standby that has not reached a consistent state (or has hot_standby off)."
                .to_owned(),
            advice: &[
                "Wait for \"database system is ready to accept connections\" in the server's log; replay progress is logged there.",
                "Do not kill the startup process: recovery would begin anew.",
                "If it restarts again and again, the lines before the last start say why (PANIC, out of memory, no space left).",
            ],
        },
        Kind::ShuttingDown => Story {
            code: "server_shutting_down",
            title: format!("{at} is shutting down"),
            cause: "Somebody or something stops the server. A smart shutdown waits for every session to leave, and \
                    turns newcomers away until then."
                .to_owned(),
            advice: &[
                "If it hangs in a smart shutdown: pg_ctl stop -m fast ends the remaining sessions cleanly.",
                "Never -m immediate unless crash recovery at the next start is acceptable.",
            ],
        },
        _ => Story {
            code: "connection_dropped",
            title: format!("{at} closes the connection while it is being made"),
            cause: "Something accepts the connection and drops it before the log-in is through: the server's process \
                    crashed or was killed, the server is being stopped, or a proxy has no healthy server behind it."
                .to_owned(),
            advice: &[
                "Read the end of the server's log: look for PANIC, \"terminated by signal\" and out-of-memory kills.",
                "Behind a proxy or pooler, check its own log and health checks.",
            ],
        },
    }
}

fn no_answer(failure: &ConnectFailure) -> Story {
    let at = &failure.address;
    match failure.kind {
        Kind::Refused => Story {
            code: "connection_refused",
            title: format!("nothing listens on {at}"),
            cause:
                "The host answers and refuses the connection: PostgreSQL is stopped or crashed, or listens on another \
                    port or address."
                    .to_owned(),
            advice: &[
                "On the host: is the server running (systemctl status postgresql, docker ps -a, kubectl get pods)? If it stopped, its log says why; read it before starting it again.",
                "If it runs: compare port and listen_addresses with the connection string.",
            ],
        },
        Kind::Dns => Story {
            code: "host_not_found",
            title: format!("the host name of {at} does not resolve"),
            cause:
                "No address is known for this name: it is misspelt, the DNS record or the Kubernetes service is gone, \
                    or the resolver cannot be reached."
                    .to_owned(),
            advice: &["Try: getent hosts NAME; in Kubernetes: kubectl get service and its endpoints."],
        },
        Kind::Unreachable => Story {
            code: "host_unreachable",
            title: format!("there is no way to {at}"),
            cause: "The network says that host or net cannot be reached: the machine is down, or a route, VPN or \
                    security group is missing."
                .to_owned(),
            advice: &["Check routes and firewalls between here and there, and whether the machine is up."],
        },
        Kind::ConnectTimeout => Story {
            code: "connect_timeout",
            title: format!("{at} does not answer"),
            cause: "No TCP connection came about in time and nobody refused it: a firewall swallows the packets, the \
                    machine is down, or its accept queue is full."
                .to_owned(),
            advice: &[
                "Check firewalls and security groups first: silence instead of a refusal is typical of them.",
                "In Kubernetes: a service without ready endpoints behaves so too.",
            ],
        },
        Kind::Hung => Story {
            code: "server_hung",
            title: format!("{at} accepts connections but never answers"),
            cause: "The TCP connection stands, yet the server says nothing: the postmaster hangs (stopped, swapping, \
                    storage that does not return), or a proxy accepts on its behalf."
                .to_owned(),
            advice: &[
                "On the host: look for postgres processes in state D (storage) or T (stopped), and at dmesg and iostat.",
                "Do not kill -9 a backend: it forces crash recovery of the whole cluster.",
            ],
        },
        Kind::Tls => Story {
            code: "tls_failure",
            title: format!("no TLS connection to {at}"),
            cause: format!("The server was reached, but TLS did not come about: {}.", failure.detail),
            advice: &[
                "If the server has no TLS (ssl = off): turn it on, or use sslmode=prefer where the network is trusted.",
                "If the certificate does not hold: check sslrootcert, its expiry, and that the host name is in it.",
            ],
        },
        Kind::NotPostgres => Story {
            code: "not_postgres",
            title: format!("what answers on {at} is not PostgreSQL"),
            cause: "Something else listens on this port, or a proxy answers in another protocol.".to_owned(),
            advice: &["Check host and port."],
        },
        _ => Story {
            code: "connection_failed",
            title: format!("no connection to {at}"),
            cause: format!("The connection failed: {}.", failure.detail),
            advice: &[],
        },
    }
}

/// It let us in and answered, and then no more: a server that hangs looks healthy as long as one only looks at what it
/// said before.
pub(super) fn stopped_answering(evidence: &EvidenceSet, _: &Thresholds) -> Vec<Finding> {
    let Some(silence) = &evidence.silence else { return Vec::new() };
    let during = words::list(&silence.checks, 4);
    let patience = words::duration(silence.patience_ms as f64 / 1000.0);
    let severity = if silence.complete { Severity::Critical } else { Severity::Warning };
    let draft = match silence.checks.len() > silence.cut {
        true => hung_midway(silence, severity, &patience),
        false => Draft::new("connection_lost", severity, "the server closed connections in the middle of the look")
            .cause(
                "It let the look in and answered, and then cut the connection: the server crashed or was restarted, an \
                 administrator ended the session, or something on the way gave it up.",
            )
            .advice("Read the end of the server's log: look for PANIC, \"terminated by signal\" and \"administrator command\".")
            .advice("Look again; what was seen before the cut may not hold any more."),
    };
    vec![draft.data(format!("without an answer: {during}"), "this look's own connections", json!(silence)).done()]
}

fn hung_midway(silence: &Silence, severity: Severity, patience: &str) -> Draft {
    let (title, cause) = match silence.complete {
        true => (
            "the server stopped answering in the middle of the look",
            "It let the look in and answered, and then nothing came back on any connection",
        ),
        false => (
            "a session of the server stopped answering in the middle of the look",
            "Other sessions went on, but on this one nothing came back",
        ),
    };
    Draft::new("stopped_answering", severity, title)
        .cause(format!(
            "{cause} within {patience}, although the server should have cut the statement off by itself before. So its \
             processes do not run: stopped, swapped out, or waiting for storage that does not return; or the network \
             between here and there swallows everything."
        ))
        .advice(
            "On the host: look for postgres processes in state D (storage) or T (stopped), and at dmesg and iostat.",
        )
        .advice("Do not kill -9 a backend: it forces crash recovery of the whole cluster.")
}

/// A standby and a read-only default refuse writes; both are often the answer to "the database is read-only".
pub(super) fn role_of_server(evidence: &EvidenceSet, _: &Thresholds) -> Vec<Finding> {
    let Some(server) = &evidence.server else { return Vec::new() };
    let mut findings = Vec::new();
    if server.in_recovery {
        findings.push(
            Draft::new("standby", Severity::Info, "the server is a standby and refuses writes")
                .cause("It replays the WAL of a primary. Clients that write must go to the primary.")
                .fact("pg_is_in_recovery() is true", "pg_is_in_recovery")
                .done(),
        );
    }
    if let Some(by) = &server.read_only_by {
        let draft = Draft::new("read_only", Severity::Warning, "transactions are read-only by default")
            .cause(format!(
                "default_transaction_read_only is on ({by}), so every write fails with \"cannot execute … in a read-only \
                 transaction\". Somebody or some tool set it, often to protect a full disk or during a switchover."
            ))
            .fact(format!("default_transaction_read_only = on ({by})"), "pg_db_role_setting, pg_file_settings");
        let database = words::identifier(&server.database);
        findings.push(
            match by.as_str() {
                "configuration file" => draft.remedy(draft::reset_setting(
                    "default_transaction_read_only",
                    "lets transactions write again; make sure that the reason for it is gone first",
                )),
                "ALTER DATABASE" => {
                    draft.advice(format!("ALTER DATABASE {database} RESET default_transaction_read_only;"))
                }
                _ => draft.advice("ALTER ROLE … RESET default_transaction_read_only;"),
            }
            .done(),
        );
    }
    findings
}
