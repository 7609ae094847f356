//! From what was typed to what holds.

mod otel;
mod workspaces;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use reeve_gate::OperatingMode;
use reeve_http::RateLimits;
use reeve_platform::accounts::{AccountOptions, check_secret};
use reeve_types::secret::{ExposeSecret as _, SecretString};

use super::layers::{Flag, Raw, Setting, Settings, Source};
use super::surroundings::Surroundings;
use super::{
    ApprovalConfig, ClientConfig, Config, ConfigError, ConfigErrors, IdentityConfig, LogConfig, LogFormat,
    NotifyConfig, Provider, SessionsConfig, ShutdownConfig, SmtpConfig, StreamsConfig, VerifyConfig,
};

/// The port where nobody says otherwise.
const PORT: u16 = 8080;
/// The longest time that a setting in minutes may name: a week.
const MINUTES_MAX: u64 = 7 * 24 * 60;
/// The longest time that a setting in seconds may name: an hour.
const SECONDS_MAX: u64 = 60 * 60;
/// The longest time that an access token may be good for: a day.
const TOKEN_MINUTES_MAX: u64 = 24 * 60;
/// The longest time that a sign-in may last that nobody renews: a year.
const REFRESH_DAYS_MAX: u64 = 365;
/// The highest limit of calls in a minute; whoever wants more wants none.
const RATE_MAX: u64 = 100_000;
/// The most re-checks of one change.
const ATTEMPTS_MAX: u64 = 20;

/// Lays the layers over each other and checks the result.
///
/// # Errors
///
/// Everything that is wrong, with its place.
pub(crate) fn load(around: &Surroundings, flags: &[Flag]) -> Result<Config, ConfigErrors> {
    let (settings, errors) = Settings::gather(around, flags);
    let mut check = Check { settings: &settings, around, errors };
    let config = check.config();
    let mut errors = check.errors;
    // As people read the file: from its top, and what comes from elsewhere after it.
    errors.sort_by_key(|error| match &error.source {
        Source::File { line, column, .. } => (0, *line, *column),
        Source::Default | Source::Variable(_) | Source::Flag(_) => (1, 0, 0),
    });
    match config {
        Some(config) if errors.is_empty() => Ok(config),
        _ => Err(ConfigErrors(errors)),
    }
}

struct Check<'a> {
    settings: &'a Settings,
    around: &'a Surroundings,
    errors: Vec<ConfigError>,
}

impl Check<'_> {
    fn config(&mut self) -> Option<Config> {
        let listen = self.listen();
        let identity = self.identity(&listen);
        let mut warnings = Vec::new();
        if identity.provider == Provider::Trusting {
            warnings.push(
                "identity.provider is `none`: everybody who reaches this machine's loopback addresses is who they say \
                 they are and may do what policy lets them"
                    .to_owned(),
            );
        }
        let client = self.client(&listen);
        let data_dir = self.data_dir();
        Some(Config {
            data_dir: data_dir?,
            mode: self.mode(),
            require_purpose_for_sensitive: self.switch("require_purpose_for_sensitive"),
            policy_files: self.paths("policy.files"),
            inventory_file: self.path("inventory.file"),
            identity,
            accounts: self.accounts(),
            limits: self.limits(),
            approval: self.approval(),
            notify: self.notify(),
            audit_socket: self.path("audit.socket"),
            verify: self.verify(),
            mcp_file: self.path("mcp.file"),
            streams: self.streams(),
            sessions: SessionsConfig {
                models_file: self.path("models.file"),
                agents_dir: self.path("agents.dir"),
                target: self.text("agents.target"),
                turns: usize::try_from(self.number("sessions.turns", 256, 1..=100_000)).unwrap_or(256),
                silence_told: Duration::from_secs(self.number("sessions.silence_told_s", 120, 1..=SECONDS_MAX)),
                silence_max: Duration::from_secs(self.number("sessions.silence_max_s", 1800, 1..=SECONDS_MAX)),
            },
            workspaces: self.workspaces(),
            shutdown: self.shutdown(),
            log: self.log(),
            otel: self.otel(),
            client,
            warnings,
            listen,
            settings: self.settings.clone(),
        })
    }

    fn complain(&mut self, source: &Source, message: impl Into<String>, hint: impl Into<String>) {
        self.errors.push(ConfigError { source: source.clone(), message: message.into(), hint: hint.into() });
    }

    fn setting(&self, key: &str) -> Option<&Setting> {
        self.settings.get(key)
    }

    fn source(&self, key: &str) -> Source {
        self.setting(key).map_or(Source::Default, |setting| setting.source.clone())
    }

    /// A text that is not empty.
    fn text(&self, key: &str) -> Option<String> {
        let line = self.setting(key)?.raw.line();
        let trimmed = line.trim();
        (!trimmed.is_empty()).then(|| trimmed.to_owned())
    }

    /// A secret is taken as it is, without trimming.
    fn secret(&self, key: &str) -> Option<SecretString> {
        let line = self.setting(key)?.raw.line();
        (!line.is_empty()).then(|| line.into())
    }

    fn texts(&self, key: &str) -> Vec<String> {
        match self.setting(key).map(|setting| &setting.raw) {
            None => Vec::new(),
            Some(Raw::One(text)) => vec![text.clone()],
            Some(Raw::Many(texts)) => texts.clone(),
        }
    }

    fn switch(&mut self, key: &str) -> bool {
        self.switch_or(key, false)
    }

    fn switch_or(&mut self, key: &str, default: bool) -> bool {
        let Some(text) = self.text(key) else { return default };
        match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => true,
            "false" | "0" | "no" | "off" => false,
            _ => {
                self.complain(&self.source(key), format!("`{text}` is neither true nor false"), "");
                default
            }
        }
    }

    fn number(&mut self, key: &str, default: u64, range: std::ops::RangeInclusive<u64>) -> u64 {
        let Some(text) = self.text(key) else { return default };
        match u64::from_str(&text) {
            Ok(number) if range.contains(&number) => number,
            Ok(_) | Err(_) => {
                let message = format!("`{text}` is not a number from {} to {}", range.start(), range.end());
                self.complain(&self.source(key), message, "");
                default
            }
        }
    }

    fn fraction(&mut self, key: &str, default: f64) -> f64 {
        let Some(text) = self.text(key) else { return default };
        match f64::from_str(&text) {
            Ok(number) if (0.0..=1.0).contains(&number) => number,
            Ok(_) | Err(_) => {
                self.complain(&self.source(key), format!("`{text}` is not a number from 0 to 1"), "");
                default
            }
        }
    }

    fn minutes(&mut self, key: &str, default: u64) -> Duration {
        Duration::from_secs(60 * self.number(key, default, 1..=MINUTES_MAX))
    }

    fn seconds(&mut self, key: &str, default: u64) -> Duration {
        Duration::from_secs(self.number(key, default, 0..=SECONDS_MAX))
    }

    fn path(&mut self, key: &str) -> Option<PathBuf> {
        let text = self.text(key)?;
        Some(self.absolute(&text, &self.source(key)))
    }

    fn paths(&mut self, key: &str) -> Vec<PathBuf> {
        let source = self.source(key);
        let texts = self.texts(key);
        texts.iter().filter(|text| !text.trim().is_empty()).map(|text| self.absolute(text.trim(), &source)).collect()
    }

    /// A path of a file counts from that file, any other from the working directory; `~/` is the home directory.
    fn absolute(&self, text: &str, source: &Source) -> PathBuf {
        if let (Some(rest), Some(home)) = (text.strip_prefix("~/"), &self.around.home) {
            return home.join(rest);
        }
        let base = match source {
            Source::File { path, .. } => path.parent().unwrap_or(&self.around.working_dir),
            Source::Default | Source::Variable(_) | Source::Flag(_) => &self.around.working_dir,
        };
        base.join(text)
    }

    fn data_dir(&mut self) -> Option<PathBuf> {
        if let Some(path) = self.path("data_dir") {
            return Some(path);
        }
        if self.around.is_root {
            return Some(PathBuf::from("/var/lib/reeve"));
        }
        let xdg = self.around.variable("XDG_DATA_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
        let found =
            xdg.or_else(|| Some(self.around.home.as_ref()?.join(".local/share"))).map(|path| path.join("reeve"));
        if found.is_none() {
            let message = "there is no place for the data directory: neither HOME nor XDG_DATA_HOME is set";
            self.complain(&Source::Default, message, "set `data_dir`, REEVE_DATA_DIR or --data-dir");
        }
        found
    }

    fn streams(&mut self) -> StreamsConfig {
        const DAY_MS: u64 = 24 * 60 * 60 * 1000;
        let count = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        StreamsConfig {
            idle: Duration::from_millis(self.number("sse.idle_ms", 120_000, 1000..=DAY_MS)),
            client_timeout: Duration::from_millis(self.number("sse.client_timeout_ms", 300_000, 1000..=DAY_MS)),
            connections: count(self.number("sse.max_connections", 20_000, 1..=1_000_000)),
            per_caller: count(self.number("sse.max_per_caller", 100, 1..=1_000_000)),
        }
    }

    fn mode(&mut self) -> OperatingMode {
        let Some(text) = self.text("mode") else { return OperatingMode::default() };
        OperatingMode::parse(&text).unwrap_or_else(|| {
            let message = format!("`{text}` is not a mode");
            self.complain(&self.source("mode"), message, "use readonly, readonly-governed or fix");
            OperatingMode::default()
        })
    }

    fn listen(&mut self) -> Vec<SocketAddr> {
        let mut typed: Vec<(String, Source)> =
            self.texts("listen").into_iter().map(|text| (text, self.source("listen"))).collect();
        if let Some(extra) = &self.settings.extra_listener {
            typed.push((extra.raw.line(), extra.source.clone()));
        }
        let named = self.setting("listen").is_some();
        let mut found = Vec::new();
        for (text, source) in typed {
            match listen_address(text.trim()) {
                Some(address) if found.contains(&address) => {}
                Some(address) => found.push(address),
                None => {
                    let message = format!("`{text}` is not an address to listen on");
                    self.complain(&source, message, "use IP:PORT, localhost:PORT, or :PORT for every interface");
                }
            }
        }
        if !named {
            let default = usual_address(self.around);
            if !found.contains(&default) {
                found.insert(0, default);
            }
        } else if found.is_empty() && self.errors.is_empty() {
            self.complain(&self.source("listen"), "`listen` names no address", "");
        }
        found
    }

    fn identity(&mut self, listen: &[SocketAddr]) -> IdentityConfig {
        let users_file = self.path("identity.users_file");
        let source = self.source("identity.provider");
        let provider = match self.text("identity.provider").as_deref() {
            None | Some("keys") => Provider::Keys,
            Some("static") => {
                if users_file.is_none() {
                    let hint = "set `identity.users_file` or HELPDESK_USERS_FILE";
                    self.complain(&source, "`static` needs a users file", hint);
                }
                Provider::Static
            }
            Some("none") => {
                if let Some(open) = listen.iter().find(|address| !address.ip().is_loopback()) {
                    let message = format!("`none` believes everybody, but the server would listen on {open}");
                    self.complain(&source, message, "listen on 127.0.0.1 only, or use `keys`");
                }
                Provider::Trusting
            }
            Some(other) => {
                self.complain(&source, format!("`{other}` is not an identity provider"), "use keys, static or none");
                Provider::Keys
            }
        };
        IdentityConfig { provider, users_file }
    }

    fn accounts(&mut self) -> AccountOptions {
        let minutes = self.number("accounts.token_minutes", 60, 1..=TOKEN_MINUTES_MAX);
        let days = self.number("accounts.refresh_days", 30, 1..=REFRESH_DAYS_MAX);
        let secret = self.signing_secret("jwt_secret");
        let previous_secret = self.signing_secret("jwt_secret_previous");
        if secret.is_none() && previous_secret.is_some() {
            let hint = "set `jwt_secret` or JWT_SECRET, too; without them Reeve makes and keeps its own";
            self.complain(&self.source("jwt_secret_previous"), "there is a previous secret and no present one", hint);
        }
        AccountOptions {
            registration: self.switch("accounts.registration"),
            token_lifetime: Duration::from_secs(60 * minutes),
            refresh_lifetime: Duration::from_secs(24 * 60 * 60 * days),
            secret,
            previous_secret,
        }
    }

    fn signing_secret(&mut self, key: &str) -> Option<SecretString> {
        let secret = self.secret(key)?;
        if let Err(reason) = check_secret(secret.expose_secret()) {
            self.complain(&self.source(key), reason, "");
        }
        Some(secret)
    }

    fn limits(&mut self) -> RateLimits {
        let usual = RateLimits::default();
        let mut limit = |key: &str, usual: u32| {
            let found = self.number(key, u64::from(usual), 0..=RATE_MAX);
            u32::try_from(found).unwrap_or(usual)
        };
        RateLimits {
            executions: limit("limits.executions_per_minute", usual.executions),
            saves: limit("limits.saves_per_minute", usual.saves),
            calls: limit("limits.calls_per_minute", usual.calls),
            key_calls: limit("limits.key_calls_per_minute", usual.key_calls),
        }
    }

    fn approval(&mut self) -> ApprovalConfig {
        ApprovalConfig {
            expiry: self.minutes("approval.expiry_minutes", 60),
            valid_for: self.minutes("approval.valid_for_minutes", 10),
        }
    }

    fn notify(&mut self) -> NotifyConfig {
        NotifyConfig {
            webhook: self.url("notify.webhook").map(Into::into),
            base_url: self.url("notify.base_url"),
            smtp: self.smtp(),
        }
    }

    fn smtp(&mut self) -> Option<SmtpConfig> {
        let parts = ["port", "user", "password", "from", "to"].map(|part| format!("notify.smtp.{part}"));
        let Some(host) = self.text("notify.smtp.host") else {
            // Compose files pass a port along with an empty host; only what shows an intent is a slip.
            if let Some(stray) = parts.iter().skip(1).find(|key| self.text(key).is_some()) {
                let message = format!("`{stray}` is set, but no mail server is");
                self.complain(&self.source(stray), message, "set `notify.smtp.host` or SMTP_HOST");
            }
            return None;
        };
        let source = self.source("notify.smtp.host");
        let from = self.text("notify.smtp.from");
        let to = self.texts("notify.smtp.to");
        if from.is_none() {
            self.complain(&source, "mail needs a sender", "set `notify.smtp.from` or HELPDESK_EMAIL_FROM");
        }
        if to.is_empty() {
            self.complain(&source, "mail needs a receiver", "set `notify.smtp.to` or HELPDESK_EMAIL_TO");
        }
        let user = self.text("notify.smtp.user");
        let password = self.secret("notify.smtp.password");
        if user.is_none() && password.is_some() {
            let hint = "set `notify.smtp.user` or SMTP_USER";
            self.complain(&self.source("notify.smtp.password"), "a mail password needs a user", hint);
        }
        let port = self.number("notify.smtp.port", 587, 1..=u64::from(u16::MAX));
        let port = u16::try_from(port).unwrap_or(587);
        Some(SmtpConfig { host, port, user, password, from: from.unwrap_or_default(), to })
    }

    fn verify(&mut self) -> VerifyConfig {
        let attempts = self.number("verify.attempts", 8, 1..=ATTEMPTS_MAX);
        // Most changes show within milliseconds; the guide's variable counts whole seconds.
        let initial_delay = match self.setting("verify.initial_delay_s") {
            Some(_) => self.seconds("verify.initial_delay_s", 1),
            None => Duration::from_millis(100),
        };
        let max_delay = self.seconds("verify.max_delay_s", initial_delay.as_secs().max(5));
        if max_delay < initial_delay {
            let key = if self.setting("verify.max_delay_s").is_some() {
                "verify.max_delay_s"
            } else {
                "verify.initial_delay_s"
            };
            self.complain(&self.source(key), "the longest wait between checks is shorter than the first", "");
        }
        VerifyConfig { attempts: u32::try_from(attempts).unwrap_or(8), initial_delay, max_delay }
    }

    fn shutdown(&mut self) -> ShutdownConfig {
        let grace = self.seconds("shutdown.grace_seconds", 15);
        let hard = self.seconds("shutdown.hard_seconds", grace.as_secs().saturating_add(5).max(20));
        if hard < grace {
            self.complain(&self.source("shutdown.hard_seconds"), "the hard end comes before the grace is over", "");
        }
        ShutdownConfig { grace, hard }
    }

    fn log(&mut self) -> LogConfig {
        let level = self.text("log.level").unwrap_or_else(|| "info".to_owned());
        if let Err(error) = tracing_subscriber::EnvFilter::builder().parse(&level) {
            let message = format!("`{level}` is not a log level: {error}");
            self.complain(&self.source("log.level"), message, "use error, warn, info, debug or trace");
        }
        let format = match self.text("log.format").as_deref() {
            None | Some("text") => LogFormat::Text,
            Some("json") => LogFormat::Json,
            Some(other) => {
                self.complain(&self.source("log.format"), format!("`{other}` is not a log format"), "use text or json");
                LogFormat::Text
            }
        };
        LogConfig { level, format }
    }

    fn client(&mut self, listen: &[SocketAddr]) -> ClientConfig {
        let named = self.url("server");
        ClientConfig {
            server_named: named.is_some(),
            server: named.unwrap_or_else(|| own_server(listen)),
            api_key: self.secret("api_key"),
            user: self.text("user"),
        }
    }

    fn url(&mut self, key: &str) -> Option<String> {
        let text = self.text(key)?;
        let sound =
            reqwest::Url::parse(&text).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        if !sound {
            // The text may hold a password or a token, so it is not repeated.
            let message = format!("the value of `{key}` is not a URL");
            self.complain(&self.source(key), message, "write it as http://HOST:PORT or https://HOST");
        }
        Some(text.trim_end_matches('/').to_owned())
    }
}

/// Where the server listens when nobody says.
pub(super) fn usual_address(around: &Surroundings) -> SocketAddr {
    let ip = if around.in_container { Ipv4Addr::UNSPECIFIED } else { Ipv4Addr::LOCALHOST };
    SocketAddr::from((ip, PORT))
}

/// An address to listen on. Names are not looked up, except `localhost`.
fn listen_address(text: &str) -> Option<SocketAddr> {
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok()?;
    let ip = match host {
        "" | "*" => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// How a server that listens on these addresses is reached from its own machine.
fn own_server(listen: &[SocketAddr]) -> String {
    let address = listen.first().copied().unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)));
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    format!("http://{}", SocketAddr::new(ip, address.port()))
}

/// The places in which `reeve.toml` is looked for, best first.
pub(super) fn usual_files(working_dir: &Path, home: Option<&Path>, config_home: Option<&Path>) -> Vec<PathBuf> {
    let own = config_home.map(Path::to_owned).or_else(|| home.map(|home| home.join(".config")));
    let mut places = vec![working_dir.join("reeve.toml")];
    places.extend(own.map(|dir| dir.join("reeve/reeve.toml")));
    places.push(PathBuf::from("/etc/reeve/reeve.toml"));
    places
}
