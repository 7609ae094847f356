//! The keywords of libpq's connection strings: which environment variable stands for each, and what Reeve does with it.
//!
//! The list follows PostgreSQL 18 ("Parameter Key Words" in the libpq chapter). A keyword that libpq knows but that
//! cannot be honoured here is refused by name: a setting that is silently ignored is worse than an error.

/// What becomes of a keyword.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Support {
    /// It has its libpq meaning.
    Honoured,
    /// It cannot matter here, because Reeve fixes it (the reason says how).
    Fixed,
    /// It is refused, because ignoring it would weaken what the writer asked for.
    Refused(&'static str),
}

/// One keyword.
#[derive(Debug)]
pub(crate) struct Keyword {
    pub(crate) name: &'static str,
    pub(crate) env: Option<&'static str>,
    pub(crate) support: Support,
}

const fn honoured(name: &'static str, env: &'static str) -> Keyword {
    Keyword { name, env: Some(env), support: Support::Honoured }
}

const fn plain(name: &'static str) -> Keyword {
    Keyword { name, env: None, support: Support::Honoured }
}

const fn fixed(name: &'static str, env: Option<&'static str>) -> Keyword {
    Keyword { name, env, support: Support::Fixed }
}

const fn refused(name: &'static str, env: Option<&'static str>, why: &'static str) -> Keyword {
    Keyword { name, env, support: Support::Refused(why) }
}

/// Every keyword of libpq.
pub(crate) const KEYWORDS: &[Keyword] = &[
    honoured("host", "PGHOST"),
    honoured("hostaddr", "PGHOSTADDR"),
    honoured("port", "PGPORT"),
    honoured("dbname", "PGDATABASE"),
    honoured("user", "PGUSER"),
    honoured("password", "PGPASSWORD"),
    honoured("passfile", "PGPASSFILE"),
    honoured("service", "PGSERVICE"),
    honoured("servicefile", "PGSERVICEFILE"),
    honoured("options", "PGOPTIONS"),
    honoured("connect_timeout", "PGCONNECT_TIMEOUT"),
    honoured("target_session_attrs", "PGTARGETSESSIONATTRS"),
    honoured("load_balance_hosts", "PGLOADBALANCEHOSTS"),
    honoured("channel_binding", "PGCHANNELBINDING"),
    honoured("sslmode", "PGSSLMODE"),
    honoured("sslnegotiation", "PGSSLNEGOTIATION"),
    honoured("sslrootcert", "PGSSLROOTCERT"),
    honoured("sslcert", "PGSSLCERT"),
    honoured("sslkey", "PGSSLKEY"),
    honoured("sslcertmode", "PGSSLCERTMODE"),
    honoured("sslsni", "PGSSLSNI"),
    honoured("ssl_min_protocol_version", "PGSSLMINPROTOCOLVERSION"),
    honoured("ssl_max_protocol_version", "PGSSLMAXPROTOCOLVERSION"),
    honoured("gssencmode", "PGGSSENCMODE"),
    plain("keepalives"),
    plain("keepalives_idle"),
    plain("keepalives_interval"),
    plain("keepalives_count"),
    plain("tcp_user_timeout"),
    // Sessions are named by Reeve so that a DBA finds them in pg_stat_activity.
    fixed("application_name", Some("PGAPPNAME")),
    fixed("fallback_application_name", None),
    // Every session speaks UTF-8.
    fixed("client_encoding", Some("PGCLIENTENCODING")),
    // Obsolete in libpq itself, or about what is never done here.
    fixed("sslcompression", Some("PGSSLCOMPRESSION")),
    fixed("krbsrvname", Some("PGKRBSRVNAME")),
    fixed("gsslib", Some("PGGSSLIB")),
    fixed("gssdelegation", Some("PGGSSDELEGATION")),
    fixed("authtype", None),
    fixed("tty", None),
    refused("sslcrl", Some("PGSSLCRL"), "certificate revocation lists are not read"),
    refused("sslcrldir", Some("PGSSLCRLDIR"), "certificate revocation lists are not read"),
    refused("sslpassword", None, "encrypted client keys are not read; give an unencrypted key with mode 0600"),
    refused("sslkeylogfile", None, "session keys are never written to a file"),
    refused("requirepeer", Some("PGREQUIREPEER"), "the owner of the server's socket is not checked"),
    refused(
        "require_auth",
        Some("PGREQUIREAUTH"),
        "the method of authentication cannot be pinned; use channel_binding",
    ),
    refused("replication", None, "replication sessions are not opened"),
    refused("min_protocol_version", Some("PGMINPROTOCOLVERSION"), "protocol 3.0 is always spoken"),
    fixed("max_protocol_version", Some("PGMAXPROTOCOLVERSION")),
    refused("scram_client_key", None, "give a password"),
    refused("scram_server_key", None, "give a password"),
    refused("oauth_issuer", None, "OAuth logins are not supported"),
    refused("oauth_client_id", None, "OAuth logins are not supported"),
    refused("oauth_client_secret", None, "OAuth logins are not supported"),
    refused("oauth_scope", None, "OAuth logins are not supported"),
];

/// The keyword of a name; names are matched exactly, as libpq does.
pub(crate) fn keyword(name: &str) -> Option<&'static Keyword> {
    KEYWORDS.iter().find(|k| k.name == name)
}

/// Whether a keyword says *how* to connect and *with which secret*, not *where to*.
///
/// Two strings that differ only in these mean the same database.
pub(crate) fn is_manner(name: &str) -> bool {
    name.starts_with("ssl")
        || name.starts_with("keepalives")
        || matches!(
            name,
            "password"
                | "passfile"
                | "connect_timeout"
                | "application_name"
                | "fallback_application_name"
                | "client_encoding"
                | "channel_binding"
                | "gssencmode"
                | "tcp_user_timeout"
        )
}
