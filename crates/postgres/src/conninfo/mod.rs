//! Connection strings, as libpq users know them.
//!
//! [`Conninfo`] is what a string says and nothing more; [`Target`] is what it means once service files, environment
//! variables, the password file and defaults have had their say. Explicit values win over a service, a service over
//! the environment, the environment over defaults.

mod keywords;
mod parse;
mod passfile;
mod resolve;
mod service;
mod surroundings;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

pub use parse::looks_like_conninfo;
pub use surroundings::Surroundings;

/// Longest connection string, in bytes.
pub const CONNINFO_BYTES_MAX: usize = 16 * 1024;
/// How many hosts one string may name.
pub const HOSTS_MAX: usize = 64;

/// A connection string that cannot be used. `at` counts bytes from its start, beginning with 0.
///
/// No message repeats a value, for it may be a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConninfoError {
    /// Longer than [`CONNINFO_BYTES_MAX`].
    #[error("the connection string has {bytes} bytes; at most 16384 are accepted")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// A NUL, written as it is or as `%00`.
    #[error("the connection string holds a null byte at byte {at}")]
    NullByte {
        /// Where.
        at: usize,
    },
    /// A keyword without `=`.
    #[error("there is no `=` after the word at byte {at} of the connection string; write keyword=value pairs")]
    MissingEquals {
        /// Where the word begins.
        at: usize,
    },
    /// A quote that is never closed.
    #[error("the quote opened at byte {at} of the connection string is never closed")]
    UnterminatedQuote {
        /// Where it was opened.
        at: usize,
    },
    /// An IPv6 address whose bracket is never closed.
    #[error("the `[` at byte {at} of the connection string is never closed")]
    UnterminatedBracket {
        /// Where it was opened.
        at: usize,
    },
    /// Something else than a port after an IPv6 address.
    #[error("only `:port`, `,` or `/` may follow the `]` before byte {at} of the connection string")]
    AfterBracket {
        /// Where.
        at: usize,
    },
    /// `%` without two hexadecimal digits.
    #[error(
        "the `%` at byte {at} of the connection string is not followed by two hexadecimal digits; write %25 for a percent sign"
    )]
    BadPercent {
        /// Where.
        at: usize,
    },
    /// Percent-encoded bytes that are not UTF-8.
    #[error("the part at byte {at} of the connection string is not UTF-8 once decoded")]
    NotUtf8 {
        /// Where the part begins.
        at: usize,
    },
    /// A keyword that libpq does not have.
    #[error("`{name}` at byte {at} of the connection string is not a connection parameter")]
    UnknownKeyword {
        /// The keyword.
        name: String,
        /// Where it stands.
        at: usize,
    },
    /// A keyword of libpq that cannot be honoured.
    #[error("`{name}` in {source_name} is not supported: {why}")]
    Unsupported {
        /// The keyword.
        name: &'static str,
        /// Why not, and what to do instead.
        why: &'static str,
        /// What said it.
        source_name: &'static str,
    },
    /// A value outside what its keyword accepts.
    #[error("`{name}` must be {expected}")]
    InvalidValue {
        /// The keyword.
        name: &'static str,
        /// What is accepted.
        expected: &'static str,
    },
    /// `host`, `hostaddr` and `port` lists of different lengths.
    #[error(
        "the connection string names {hosts} hosts but {others} values of `{name}`; give one for all or one for each"
    )]
    ListsDiffer {
        /// The keyword of the other list.
        name: &'static str,
        /// Length of the list of hosts.
        hosts: usize,
        /// Length of the other list.
        others: usize,
    },
    /// More than [`HOSTS_MAX`] hosts.
    #[error("the connection string names {hosts} hosts; at most 64 are accepted")]
    TooManyHosts {
        /// How many.
        hosts: usize,
    },
    /// No user given, and the operating system user has no name.
    #[error("no user is given and the operating system user has no name; add user=… or set PGUSER")]
    NoUser,
    /// The service is in no service file.
    #[error(
        "service `{name}` is not defined in any service file; look at PGSERVICEFILE, ~/.pg_service.conf and PGSYSCONFDIR"
    )]
    ServiceNotFound {
        /// The service.
        name: String,
    },
    /// A service file that cannot be read or understood.
    #[error("service file `{path}` line {line}: {problem}")]
    ServiceFile {
        /// The file.
        path: String,
        /// The line, from 1; 0 means the file as a whole.
        line: usize,
        /// What is wrong.
        problem: String,
    },
    /// The variable that should hold the password is not set.
    #[error("the password is to come from the environment variable `{name}`, which is not set or empty")]
    PasswordVariableMissing {
        /// The variable.
        name: String,
    },
}

/// What one connection string says, before anything around it is looked at.
#[derive(Clone, PartialEq, Eq)]
pub struct Conninfo {
    params: BTreeMap<String, String>,
}

impl Conninfo {
    /// Reads a `key=value` string or a `postgres://` or `postgresql://` URI.
    pub fn parse(text: &str) -> Result<Self, ConninfoError> {
        parse::parse(text).map(|params| Self { params })
    }

    /// The value of a keyword, if the string gives one. Not for passwords: see [`Target`].
    pub fn get(&self, keyword: &str) -> Option<&str> {
        self.params.get(keyword).filter(|_| keyword != "password").map(String::as_str)
    }

    /// What identifies the database: everything except passwords, TLS settings, timeouts and names of applications.
    pub fn core(&self) -> BTreeMap<&str, &str> {
        self.params
            .iter()
            .filter(|(name, value)| !keywords::is_manner(name) && !value.is_empty())
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect()
    }

    /// Whether both strings mean the same database.
    pub fn same_core(&self, other: &Self) -> bool {
        self.core() == other.core()
    }

    /// Whether `given` names the database that `self`, an entry of the inventory, describes: every core field of the
    /// entry is in `given` with the same value.
    ///
    /// A `given` that would lead elsewhere by a field the entry lacks (`hostaddr`, `service`, `options`, …) does not
    /// match: it would borrow the entry's tags, or its password, for another server. Whoever finds a match connects
    /// with the entry's string.
    pub fn is_named_by(&self, given: &Self) -> bool {
        const DIVERTING: [&str; 6] = ["host", "hostaddr", "port", "service", "servicefile", "options"];
        let (entry, given) = (self.core(), given.core());
        !entry.is_empty()
            && entry.iter().all(|(name, value)| given.get(name) == Some(value))
            && DIVERTING.iter().all(|name| {
                // 5432 is what an absent port means anyway.
                given.get(name) == entry.get(name) || (*name == "port" && given.get(name) == Some(&"5432"))
            })
    }
}

impl fmt::Debug for Conninfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Conninfo").field(&self.to_string()).finish()
    }
}

/// The string again, in libpq's `key=value` form, without its password.
impl fmt::Display for Conninfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: Vec<String> = self
            .params
            .iter()
            .filter(|(name, _)| name.as_str() != "password")
            .map(|(name, value)| format!("{name}={}", quoted(value)))
            .collect();
        f.write_str(&shown.join(" "))
    }
}

/// A value as libpq would read it back.
fn quoted(value: &str) -> String {
    if !value.is_empty() && !value.contains(|c: char| c.is_ascii_whitespace() || c == '\'' || c == '\\') {
        return value.to_owned();
    }
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A name or an address; with `addr` there is no look-up, and the name only serves TLS and the password file.
    Tcp {
        /// What `host` says.
        name: Option<String>,
        /// What `hostaddr` says.
        addr: Option<IpAddr>,
    },
    /// The directory of a Unix socket, or an abstract one that begins with `@`.
    Unix(PathBuf),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { name: Some(name), .. } => f.write_str(name),
            Self::Tcp { name: None, addr: Some(addr) } => write!(f, "{addr}"),
            Self::Tcp { name: None, addr: None } => f.write_str("localhost"),
            Self::Unix(dir) => write!(f, "{}", dir.display()),
        }
    }
}

/// One place to try.
#[derive(Debug, Clone)]
pub struct HostPort {
    /// Where it listens.
    pub host: Host,
    /// Its port; also part of a socket's name.
    pub port: u16,
    /// The password for it. `SecretString` never prints its content.
    pub password: Option<SecretString>,
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Unix(dir) => write!(f, "{}/.s.PGSQL.{}", dir.display(), self.port),
            Host::Tcp { name: Some(name), .. } if name.contains(':') => write!(f, "[{name}]:{}", self.port),
            Host::Tcp { name: None, addr: Some(IpAddr::V6(addr)) } => write!(f, "[{addr}]:{}", self.port),
            host => write!(f, "{host}:{}", self.port),
        }
    }
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $keyword:literal, $expected:literal { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl $name {
            /// libpq's word.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
            pub(crate) fn of(text: &str) -> Result<Self, ConninfoError> {
                match text {
                    $($word => Ok(Self::$variant),)*
                    _ => Err(ConninfoError::InvalidValue { name: $keyword, expected: $expected }),
                }
            }
        }
    };
}

words! {
    /// How much TLS is wanted, in libpq's words and with their meanings.
    SslMode, "sslmode", "disable, allow, prefer, require, verify-ca or verify-full" {
        /// Never.
        Disable = "disable",
        /// Only when the server refuses without.
        Allow = "allow",
        /// When the server offers it.
        Prefer = "prefer",
        /// Always; the certificate is checked against the root file if there is one.
        Require = "require",
        /// Always, with a certificate signed by a known authority.
        VerifyCa = "verify-ca",
        /// Always, and the certificate must be for the host's name.
        VerifyFull = "verify-full",
    }
}

words! {
    /// What kind of server is wanted.
    TargetSessionAttrs, "target_session_attrs", "any, read-write, read-only, primary, standby or prefer-standby" {
        /// Whichever answers first.
        Any = "any",
        /// One whose sessions may write by default.
        ReadWrite = "read-write",
        /// One whose sessions may not write by default.
        ReadOnly = "read-only",
        /// One that is not in recovery.
        Primary = "primary",
        /// One that is in recovery.
        Standby = "standby",
        /// A standby if there is one, else anything.
        PreferStandby = "prefer-standby",
    }
}

words! {
    /// Whether the login is bound to the TLS channel.
    ChannelBinding, "channel_binding", "disable, prefer or require" {
        /// Never.
        Disable = "disable",
        /// When both sides can.
        Prefer = "prefer",
        /// Always.
        Require = "require",
    }
}

words! {
    /// How TLS begins.
    SslNegotiation, "sslnegotiation", "postgres or direct" {
        /// After asking for it in PostgreSQL's protocol.
        Postgres = "postgres",
        /// At once, for servers from version 17 on.
        Direct = "direct",
    }
}

words! {
    /// A version of TLS.
    TlsVersion, "ssl_min_protocol_version and ssl_max_protocol_version", "TLSv1, TLSv1.1, TLSv1.2 or TLSv1.3" {
        /// 1.0: never spoken, so as a minimum it means 1.2.
        V1_0 = "TLSv1",
        /// 1.1: never spoken, so as a minimum it means 1.2.
        V1_1 = "TLSv1.1",
        /// 1.2.
        V1_2 = "TLSv1.2",
        /// 1.3.
        V1_3 = "TLSv1.3",
    }
}

/// Where certificates to trust come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RootCert {
    /// Nowhere.
    None,
    /// The operating system's store (`sslrootcert=system`).
    System,
    /// A PEM file.
    File(PathBuf),
}

/// Everything about TLS.
#[derive(Debug, Clone)]
pub struct SslSettings {
    /// How much of it.
    pub mode: SslMode,
    /// How it begins.
    pub negotiation: SslNegotiation,
    /// Whom to trust.
    pub root: RootCert,
    /// The client's certificate and key, in PEM.
    pub client: Option<(PathBuf, PathBuf)>,
    /// Whether the host's name is told to the server (SNI).
    pub sni: bool,
    /// Lowest version spoken.
    pub min_version: TlsVersion,
    /// Highest version spoken.
    pub max_version: Option<TlsVersion>,
    /// Effective user id, to judge who may read the key.
    pub(crate) uid: u32,
}

/// TCP keepalive and the like; `None` leaves the system's default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keepalive {
    /// `keepalives=0`.
    pub disabled: bool,
    /// Idle time before the first probe.
    pub idle: Option<Duration>,
    /// Time between probes.
    pub interval: Option<Duration>,
    /// Probes before giving up.
    pub count: Option<u32>,
    /// How long sent data may stay unacknowledged, in milliseconds.
    pub user_timeout_ms: Option<u32>,
}

/// A database to connect to, with everything settled. `Debug` and [`Target::display`] never show a password.
#[derive(Debug, Clone)]
pub struct Target {
    /// Places to try, in order.
    pub hosts: Vec<HostPort>,
    /// The database.
    pub dbname: String,
    /// The role.
    pub user: String,
    /// TLS.
    pub ssl: SslSettings,
    /// Bound per place to try; `None` when nothing says so.
    pub connect_timeout: Option<Duration>,
    /// What kind of server is wanted.
    pub target_session_attrs: TargetSessionAttrs,
    /// Whether the places are tried in a random order.
    pub shuffle_hosts: bool,
    /// Command line options for the server, as in `PGOPTIONS`.
    pub options: Option<String>,
    /// Channel binding.
    pub channel_binding: ChannelBinding,
    /// TCP settings.
    pub keepalive: Keepalive,
    /// What a person should know, such as a password file that was not used.
    pub warnings: Vec<String>,
}

impl Target {
    /// Reads a string and settles it.
    pub fn parse(text: &str, around: &Surroundings) -> Result<Self, ConninfoError> {
        Self::resolve(&Conninfo::parse(text)?, around, None)
    }

    /// Settles a string. With `password_env` the password comes from that environment variable and from nowhere else.
    pub fn resolve(given: &Conninfo, around: &Surroundings, password_env: Option<&str>) -> Result<Self, ConninfoError> {
        resolve::resolve(&given.params, around, password_env)
    }

    /// `user@host:port/dbname`, for people; never a password.
    pub fn display(&self) -> String {
        let hosts: Vec<String> = self.hosts.iter().map(ToString::to_string).collect();
        format!("{}@{}/{}", self.user, hosts.join(","), self.dbname)
    }
}
