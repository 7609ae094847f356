//! From what a string says to what it means: the layers below it, then the defaults.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::SecretString;

use super::keywords::{KEYWORDS, Support};
use super::passfile::{Passfile, Wanted};
use super::{
    ChannelBinding, ConninfoError, HOSTS_MAX, Host, HostPort, Keepalive, RootCert, SslMode, SslNegotiation,
    SslSettings, Surroundings, Target, TargetSessionAttrs, TlsVersion, service,
};

/// The port of PostgreSQL.
const DEFAULT_PORT: u16 = 5432;
/// libpq never waits less than this, in seconds.
const CONNECT_TIMEOUT_SECS_MIN: u64 = 2;

type Params = BTreeMap<String, String>;

pub(crate) fn resolve(
    given: &Params,
    around: &Surroundings,
    password_env: Option<&str>,
) -> Result<Target, ConninfoError> {
    let layered = Layered(layers(given, around)?);
    let user = match layered.text("user") {
        Some(user) => user.to_owned(),
        None => around.os_user.clone().ok_or(ConninfoError::NoUser)?,
    };
    let dbname = layered.text("dbname").unwrap_or(&user).to_owned();
    let mut warnings = Vec::new();
    let mut hosts = hosts(&layered, around)?;
    match password_env {
        Some(name) => {
            let value =
                around.var(name).ok_or_else(|| ConninfoError::PasswordVariableMissing { name: name.to_owned() })?;
            give_all(&mut hosts, &SecretString::from(value));
        }
        None => match layered.text("password") {
            Some(password) => give_all(&mut hosts, &SecretString::from(password.to_owned())),
            None => from_passfile(&mut hosts, &layered, around, &dbname, &user, &mut warnings),
        },
    }
    match layered.text("gssencmode") {
        None | Some("disable" | "prefer") => {}
        Some("require") => {
            return Err(ConninfoError::Unsupported {
                name: "gssencmode",
                why: "GSSAPI encryption is not spoken; use TLS with sslmode=verify-full",
                source_name: "the connection settings",
            });
        }
        Some(_) => {
            return Err(ConninfoError::InvalidValue { name: "gssencmode", expected: "disable, prefer or require" });
        }
    }
    Ok(Target {
        hosts,
        ssl: ssl(&layered, around)?,
        connect_timeout: connect_timeout(&layered)?,
        target_session_attrs: layered.word("target_session_attrs", TargetSessionAttrs::of, TargetSessionAttrs::Any)?,
        shuffle_hosts: match layered.text("load_balance_hosts") {
            None | Some("disable") => false,
            Some("random") => true,
            Some(_) => {
                return Err(ConninfoError::InvalidValue { name: "load_balance_hosts", expected: "disable or random" });
            }
        },
        options: layered.text("options").map(str::to_owned),
        channel_binding: layered.word("channel_binding", ChannelBinding::of, ChannelBinding::Prefer)?,
        keepalive: keepalive(&layered)?,
        user,
        dbname,
        warnings,
    })
}

/// Explicit over service over environment; an empty value counts as absent.
fn layers(given: &Params, around: &Surroundings) -> Result<Params, ConninfoError> {
    let mut merged: Params = given.iter().filter(|(_, v)| !v.is_empty()).map(|(k, v)| (k.clone(), v.clone())).collect();
    let service_name = merged.get("service").cloned().or_else(|| around.var("PGSERVICE"));
    if let Some(name) = service_name {
        let file = merged.get("servicefile").cloned().or_else(|| around.var("PGSERVICEFILE"));
        for (key, value) in service::lookup(&name, file.as_deref(), around)? {
            if !value.is_empty() {
                merged.entry(key).or_insert(value);
            }
        }
    }
    for keyword in KEYWORDS {
        let Some(value) = keyword.env.and_then(|name| around.var(name)) else { continue };
        if merged.contains_key(keyword.name) {
            continue;
        }
        if let Support::Refused(why) = keyword.support {
            return Err(ConninfoError::Unsupported { name: keyword.name, why, source_name: "the environment" });
        }
        merged.insert(keyword.name.to_owned(), value);
    }
    Ok(merged)
}

struct Layered(Params);

impl Layered {
    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    fn word<T>(
        &self,
        name: &str,
        of: impl Fn(&str) -> Result<T, ConninfoError>,
        default: T,
    ) -> Result<T, ConninfoError> {
        self.text(name).map_or(Ok(default), of)
    }

    fn list(&self, name: &str) -> Vec<&str> {
        self.text(name).map(|text| text.split(',').map(str::trim).collect()).unwrap_or_default()
    }

    /// Whole seconds or counts. Zero and below mean "leave it to the system", as in libpq.
    fn count(&self, name: &'static str) -> Result<Option<u32>, ConninfoError> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let number: i64 =
            text.trim().parse().map_err(|_| ConninfoError::InvalidValue { name, expected: "a whole number" })?;
        Ok(u32::try_from(number).ok().filter(|n| *n > 0))
    }
}

fn hosts(layered: &Layered, around: &Surroundings) -> Result<Vec<HostPort>, ConninfoError> {
    let (names, addrs, ports) = (layered.list("host"), layered.list("hostaddr"), layered.list("port"));
    let count = names.len().max(addrs.len()).max(1);
    if count > HOSTS_MAX {
        return Err(ConninfoError::TooManyHosts { hosts: count });
    }
    if !addrs.is_empty() && !names.is_empty() && addrs.len() != names.len() {
        return Err(ConninfoError::ListsDiffer { name: "hostaddr", hosts: names.len(), others: addrs.len() });
    }
    if ports.len() > 1 && ports.len() != count {
        return Err(ConninfoError::ListsDiffer { name: "port", hosts: count, others: ports.len() });
    }
    (0..count)
        .map(|index| {
            let name = names.get(index).copied().filter(|text| !text.is_empty());
            let addr = addrs.get(index).copied().filter(|text| !text.is_empty());
            let port = ports.get(if ports.len() == 1 { 0 } else { index }).copied().unwrap_or("");
            Ok(HostPort { host: host(name, addr, around)?, port: self::port(port)?, password: None })
        })
        .collect()
}

fn host(name: Option<&str>, addr: Option<&str>, around: &Surroundings) -> Result<Host, ConninfoError> {
    let addr = addr
        .map(|text| {
            text.parse::<IpAddr>()
                .map_err(|_| ConninfoError::InvalidValue { name: "hostaddr", expected: "an IPv4 or IPv6 address" })
        })
        .transpose()?;
    Ok(match (name, addr) {
        (Some(name), None) if name.starts_with('/') || name.starts_with('@') => Host::Unix(PathBuf::from(name)),
        (None, None) => {
            let socket_dir = around.socket_dirs.iter().find(|dir| holds_socket(dir));
            match socket_dir.or_else(|| around.socket_dirs.first().filter(|dir| dir.is_dir())) {
                Some(dir) => Host::Unix(dir.clone()),
                None => Host::Tcp { name: Some("localhost".to_owned()), addr: None },
            }
        }
        (name, addr) => Host::Tcp { name: name.map(str::to_owned), addr },
    })
}

/// Whether a server has put a socket there: two defaults exist, and the one in use is meant.
fn holds_socket(dir: &Path) -> bool {
    std::fs::read_dir(dir).is_ok_and(|entries| {
        entries.flatten().any(|e| {
            let name = e.file_name();
            let name = name.to_string_lossy();
            name.starts_with(".s.PGSQL.") && !name.ends_with(".lock")
        })
    })
}

fn port(text: &str) -> Result<u16, ConninfoError> {
    if text.is_empty() {
        return Ok(DEFAULT_PORT);
    }
    text.parse::<u16>()
        .ok()
        .filter(|port| *port > 0)
        .ok_or(ConninfoError::InvalidValue { name: "port", expected: "a number from 1 to 65535" })
}

fn give_all(hosts: &mut [HostPort], password: &SecretString) {
    for host in hosts {
        host.password = Some(password.clone());
    }
}

fn from_passfile(
    hosts: &mut [HostPort],
    layered: &Layered,
    around: &Surroundings,
    dbname: &str,
    user: &str,
    warnings: &mut Vec<String>,
) {
    let Some(path) = layered.text("passfile").map(PathBuf::from).or_else(|| around.in_home(".pgpass")) else { return };
    let file = Passfile::read(&path);
    if let Passfile::Unusable(why) = &file {
        warnings.push(why.clone());
    }
    for place in hosts {
        let host = match &place.host {
            Host::Unix(dir) if around.socket_dirs.contains(dir) => "localhost".to_owned(),
            host => host.to_string(),
        };
        place.password = file.password(Wanted { host: &host, port: place.port, dbname, user });
    }
}

fn connect_timeout(layered: &Layered) -> Result<Option<Duration>, ConninfoError> {
    Ok(layered.count("connect_timeout")?.map(|secs| Duration::from_secs(u64::from(secs).max(CONNECT_TIMEOUT_SECS_MIN))))
}

fn keepalive(layered: &Layered) -> Result<Keepalive, ConninfoError> {
    let disabled = match layered.text("keepalives") {
        None | Some("1") => false,
        Some("0") => true,
        Some(_) => return Err(ConninfoError::InvalidValue { name: "keepalives", expected: "0 or 1" }),
    };
    let secs = |name| Ok(layered.count(name)?.map(|secs| Duration::from_secs(u64::from(secs))));
    Ok(Keepalive {
        disabled,
        idle: secs("keepalives_idle")?,
        interval: secs("keepalives_interval")?,
        count: layered.count("keepalives_count")?,
        user_timeout_ms: layered.count("tcp_user_timeout")?,
    })
}

fn ssl(layered: &Layered, around: &Surroundings) -> Result<SslSettings, ConninfoError> {
    let root = match layered.text("sslrootcert") {
        Some("system") => RootCert::System,
        Some(path) => RootCert::File(PathBuf::from(path)),
        None => match around.in_home(".postgresql/root.crt") {
            Some(path) if path.exists() => RootCert::File(path),
            _ => RootCert::None,
        },
    };
    // libpq: the public authorities vouch for anybody, so with them only a checked name means something.
    let default_mode = if root == RootCert::System { SslMode::VerifyFull } else { SslMode::Prefer };
    let mode = layered.word("sslmode", SslMode::of, default_mode)?;
    if root == RootCert::System && mode != SslMode::VerifyFull {
        return Err(ConninfoError::InvalidValue { name: "sslmode", expected: "verify-full with sslrootcert=system" });
    }
    let negotiation = layered.word("sslnegotiation", SslNegotiation::of, SslNegotiation::Postgres)?;
    if negotiation == SslNegotiation::Direct && matches!(mode, SslMode::Disable | SslMode::Allow | SslMode::Prefer) {
        return Err(ConninfoError::InvalidValue {
            name: "sslmode",
            expected: "require, verify-ca or verify-full with sslnegotiation=direct",
        });
    }
    Ok(SslSettings {
        mode,
        negotiation,
        root,
        client: client_certificate(layered, around)?,
        sni: match layered.text("sslsni") {
            None | Some("1") => true,
            Some("0") => false,
            Some(_) => return Err(ConninfoError::InvalidValue { name: "sslsni", expected: "0 or 1" }),
        },
        min_version: layered.word("ssl_min_protocol_version", TlsVersion::of, TlsVersion::V1_2)?,
        max_version: layered.text("ssl_max_protocol_version").map(TlsVersion::of).transpose()?,
        uid: around.uid,
    })
}

fn client_certificate(layered: &Layered, around: &Surroundings) -> Result<Option<(PathBuf, PathBuf)>, ConninfoError> {
    match layered.text("sslcertmode") {
        None | Some("allow") => {}
        Some("disable") => return Ok(None),
        Some(_) => return Err(ConninfoError::InvalidValue { name: "sslcertmode", expected: "disable or allow" }),
    }
    let default = |name: &str| around.in_home(Path::new(".postgresql").join(name));
    let certificate = match layered.text("sslcert") {
        Some(path) => Some(PathBuf::from(path)),
        None => default("postgresql.crt").filter(|path| path.exists()),
    };
    let key = layered.text("sslkey").map(PathBuf::from).or_else(|| default("postgresql.key"));
    Ok(certificate.zip(key))
}
