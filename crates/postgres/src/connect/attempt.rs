//! One place, from its name to a session that is known to be what was asked for.

use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use secrecy::ExposeSecret;
use tokio::time::Instant;
use tokio_postgres::config::{
    ChannelBinding as Binding, Config, SslMode as WireSslMode, SslNegotiation as WireNegotiation,
};
use tokio_postgres::{Client, Connection};

use super::session::{Canceller, Session, first_query};
use super::transport::{Broken, Encryption, Endpoint, encrypt, open, resolve, server_name, within};
use super::{Access, ConnectOptions};
use crate::conninfo::{ChannelBinding, HostPort, SslMode, SslNegotiation, Target, TargetSessionAttrs};
use crate::failure::{ConnectFailure, ConnectFailureKind, Stage, of_protocol_error};
use crate::tls::{Handed, Wire, client_config};

/// How long an idle transaction of ours may live: a bug must not hold back vacuum on a customer's server.
const IDLE_IN_TRANSACTION_TIMEOUT: Duration = Duration::from_secs(60);

/// Trying one place.
pub(super) struct Attempt<'a> {
    target: &'a Target,
    place: &'a HostPort,
    options: &'a ConnectOptions,
    deadline: Instant,
}

/// A failed login and whether it is worth trying with, or without, TLS.
struct LoginFailure {
    broken: Broken,
    sqlstate: Option<String>,
}

impl From<Broken> for LoginFailure {
    fn from(broken: Broken) -> Self {
        Self { broken, sqlstate: None }
    }
}

impl<'a> Attempt<'a> {
    pub(super) fn new(target: &'a Target, place: &'a HostPort, options: &'a ConnectOptions, total: Instant) -> Self {
        let own = Instant::now() + target.connect_timeout.unwrap_or(options.connect_timeout);
        Self { target, place, options, deadline: own.min(total) }
    }

    /// A session, if the server is of the wanted kind.
    pub(super) async fn open_if(&self, wish: TargetSessionAttrs) -> Result<Session, ConnectFailure> {
        self.try_open(wish).await.map_err(|failure| ConnectFailure {
            kind: failure.broken.kind,
            host: self.place.to_string(),
            user: self.target.user.clone(),
            dbname: self.target.dbname.clone(),
            detail: failure.broken.detail,
            sqlstate: failure.sqlstate,
            earlier: Vec::new(),
            warnings: Vec::new(),
        })
    }

    async fn try_open(&self, wish: TargetSessionAttrs) -> Result<Session, LoginFailure> {
        let tls = self.tls().await?;
        let endpoints = resolve(self.place, self.deadline).await?;
        // Whether sessions may write by default cannot be seen in a session that was told not to.
        if matches!(wish, TargetSessionAttrs::ReadWrite | TargetSessionAttrs::ReadOnly) {
            let probe = self.session(&endpoints, tls.as_ref(), Access::ReadWrite).await?;
            fits(&probe, wish)?;
            if self.options.access == Access::ReadWrite {
                return Ok(probe);
            }
            drop(probe);
            return self.session(&endpoints, tls.as_ref(), self.options.access).await;
        }
        let session = self.session(&endpoints, tls.as_ref(), self.options.access).await?;
        fits(&session, wish)?;
        Ok(session)
    }

    /// Reading certificates, and the system's store in particular, blocks.
    async fn tls(&self) -> Result<Option<Arc<ClientConfig>>, Broken> {
        let ssl = self.target.ssl.clone();
        let setup = tokio::task::spawn_blocking(move || client_config(&ssl)).await;
        match setup {
            Ok(Ok(config)) => Ok(config),
            Ok(Err(error)) => Err(Broken::new(ConnectFailureKind::TlsHandshake, error.to_string())),
            Err(_) => Err(Broken::new(ConnectFailureKind::Interrupted, "shutting down")),
        }
    }

    async fn session(
        &self,
        endpoints: &[Endpoint],
        tls: Option<&Arc<ClientConfig>>,
        access: Access,
    ) -> Result<Session, LoginFailure> {
        let mut last = Broken::new(ConnectFailureKind::HostNotFound, "the name has no address");
        for (index, endpoint) in endpoints.iter().enumerate() {
            match open(endpoint, &self.target.keepalive, self.share(endpoints.len() - index)).await {
                Ok(wire) => return self.log_in(wire, endpoint, tls, access).await,
                Err(broken) => last = broken,
            }
        }
        Err(last.into())
    }

    /// With several addresses to go, a silent one gets only its share of the time.
    fn share(&self, addresses_left: usize) -> Instant {
        let now = Instant::now();
        let left = self.deadline.saturating_duration_since(now);
        now + left / u32::try_from(addresses_left.max(1)).unwrap_or(u32::MAX)
    }

    /// Logs in with TLS, without it, or with the other of both when the mode allows a second try.
    async fn log_in(
        &self,
        wire: Wire,
        endpoint: &Endpoint,
        tls: Option<&Arc<ClientConfig>>,
        access: Access,
    ) -> Result<Session, LoginFailure> {
        let mode = self.target.ssl.mode;
        let (Some(config), Endpoint::Tcp(_)) = (tls, endpoint) else {
            return self.start(wire, endpoint, None, access).await;
        };
        let first = match mode {
            SslMode::Allow => self.start(wire, endpoint, None, access).await,
            _ => self.start_encrypted(wire, endpoint, config, access).await,
        };
        let failure = match first {
            Err(failure) if failure.deserves_other_way(mode) => failure,
            done => return done,
        };
        let Ok(wire) = open(endpoint, &self.target.keepalive, self.deadline).await else { return Err(failure) };
        let second = match mode {
            SslMode::Allow => self.start_encrypted(wire, endpoint, config, access).await,
            _ => self.start(wire, endpoint, None, access).await,
        };
        // When both ways fail, the first answer is the one about the way that the mode prefers.
        second.map_err(|other| if other.sqlstate.is_some() && failure.sqlstate.is_none() { other } else { failure })
    }

    async fn start_encrypted(
        &self,
        wire: Wire,
        endpoint: &Endpoint,
        config: &Arc<ClientConfig>,
        access: Access,
    ) -> Result<Session, LoginFailure> {
        let ssl = &self.target.ssl;
        let name = server_name(&self.place.host);
        match encrypt(wire, Arc::clone(config), name, ssl.negotiation, self.deadline).await? {
            Encryption::Agreed(wire) => self.start(wire, endpoint, Some(config), access).await,
            Encryption::Declined(wire) if matches!(ssl.mode, SslMode::Prefer | SslMode::Allow) => {
                self.start(wire, endpoint, None, access).await
            }
            Encryption::Declined(_) => {
                Err(Broken::new(ConnectFailureKind::TlsRefused, "the server does not support TLS").into())
            }
        }
    }

    /// Login and first query on a connection that is as secure as it will be.
    async fn start(
        &self,
        wire: Wire,
        endpoint: &Endpoint,
        tls: Option<&Arc<ClientConfig>>,
        access: Access,
    ) -> Result<Session, LoginFailure> {
        let encrypted = wire.is_encrypted();
        let (client, connection) = self.authenticate(wire, access).await?;
        let canceller = Canceller::new(client.cancel_token(), endpoint.clone(), tls.cloned(), self.target, self.place);
        let session = Session::new(client, connection, canceller, access, self.options, encrypted);
        let facts = match tokio::time::timeout_at(self.deadline, first_query(session.client())).await {
            Err(_) => {
                let kind = ConnectFailureKind::Timeout { stage: Stage::FirstQuery };
                return Err(Broken::new(kind, "no answer in time (first_query)").into());
            }
            Ok(Err(error)) => return Err(self.login_failure(&error, Stage::FirstQuery, encrypted)),
            Ok(Ok(facts)) => facts,
        };
        self.check_settings(&facts.settings, access)?;
        Ok(session.with_facts(facts.server))
    }

    async fn authenticate(&self, wire: Wire, access: Access) -> Result<(Client, Connection<Wire, Wire>), LoginFailure> {
        let encrypted = wire.is_encrypted();
        let config = self.config(encrypted, access);
        let logged_in =
            within(self.deadline, Stage::Authentication, async { Ok(config.connect_raw(wire, Handed).await) }).await?;
        logged_in.map_err(|error| self.login_failure(&error, Stage::Authentication, encrypted))
    }

    fn login_failure(&self, error: &tokio_postgres::Error, stage: Stage, encrypted: bool) -> LoginFailure {
        let unencrypted_by_choice = !encrypted && matches!(self.target.ssl.mode, SslMode::Disable | SslMode::Allow);
        let (kind, detail) = of_protocol_error(error, stage, self.place.password.is_some(), unencrypted_by_choice);
        LoginFailure { broken: Broken::new(kind, detail), sqlstate: error.code().map(|code| code.code().to_owned()) }
    }

    fn config(&self, encrypted: bool, access: Access) -> Config {
        let mut config = Config::new();
        config
            .user(&self.target.user)
            .dbname(&self.target.dbname)
            .application_name(&self.options.application_name)
            .options(self.startup_options(access))
            .channel_binding(match self.target.channel_binding {
                ChannelBinding::Disable => Binding::Disable,
                ChannelBinding::Prefer => Binding::Prefer,
                ChannelBinding::Require => Binding::Require,
            });
        if let Some(password) = &self.place.password {
            config.password(password.expose_secret());
        }
        if encrypted {
            // "Direct" makes the library take the stream as it is, which is encrypted already.
            config.ssl_mode(WireSslMode::Require).ssl_negotiation(WireNegotiation::Direct);
        } else {
            config.ssl_mode(WireSslMode::Disable);
        }
        config
    }

    /// The user's options first: of two values for one setting the server takes the later.
    fn startup_options(&self, access: Access) -> String {
        let mut options = self.target.options.clone().unwrap_or_default();
        let mut set = |name: &str, value: String| {
            options.push_str(&format!(" -c {name}={value}"));
        };
        if access == Access::ReadOnly {
            set("default_transaction_read_only", "on".to_owned());
        }
        set("statement_timeout", self.options.statement_timeout.as_millis().to_string());
        set("lock_timeout", self.options.lock_timeout.as_millis().to_string());
        set("idle_in_transaction_session_timeout", IDLE_IN_TRANSACTION_TIMEOUT.as_millis().to_string());
        // The guard reads strings this way; a server that read them otherwise could be told something else.
        set("standard_conforming_strings", "on".to_owned());
        options
    }

    /// A pooler may swallow startup options without a word.
    fn check_settings(&self, settings: &super::session::Settings, access: Access) -> Result<(), Broken> {
        let read_only_kept = access == Access::ReadWrite || settings.default_read_only;
        let timeout_kept = u128::from(settings.statement_timeout_ms) == self.options.statement_timeout.as_millis();
        if read_only_kept && timeout_kept && settings.standard_strings {
            return Ok(());
        }
        Err(Broken::new(
            ConnectFailureKind::PoolerUnsupported,
            "the session's settings are not the ones that were sent at login",
        ))
    }
}

impl LoginFailure {
    /// libpq tries the other way only after a failed handshake or a refusal by `pg_hba.conf`; never after a wrong
    /// password, which must not be repeated in the clear.
    fn deserves_other_way(&self, mode: SslMode) -> bool {
        use ConnectFailureKind as K;
        match mode {
            SslMode::Allow => matches!(self.broken.kind, K::HbaRejected | K::TlsRequired),
            SslMode::Prefer => matches!(self.broken.kind, K::HbaRejected | K::TlsHandshake | K::TlsVerification),
            SslMode::Disable | SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => false,
        }
    }
}

fn fits(session: &Session, wish: TargetSessionAttrs) -> Result<(), Broken> {
    let standby = session.facts().in_recovery;
    let (fits, what) = match wish {
        TargetSessionAttrs::Any | TargetSessionAttrs::PreferStandby => (true, ""),
        TargetSessionAttrs::Primary => (!standby, "the server is in recovery (a standby)"),
        TargetSessionAttrs::Standby => (standby, "the server is not in recovery (a primary)"),
        TargetSessionAttrs::ReadWrite => (!session.facts().read_only, "sessions on the server are read-only"),
        TargetSessionAttrs::ReadOnly => (session.facts().read_only, "sessions on the server may write"),
    };
    if fits { Ok(()) } else { Err(Broken::new(ConnectFailureKind::WrongServer, what)) }
}

/// How a cancel request is sent: like the connection itself.
pub(super) async fn reopen(
    endpoint: &Endpoint,
    tls: Option<&Arc<ClientConfig>>,
    host: &crate::conninfo::Host,
    negotiation: SslNegotiation,
    deadline: Instant,
) -> Result<Wire, Broken> {
    let wire = open(endpoint, &crate::conninfo::Keepalive::default(), deadline).await?;
    let Some(config) = tls else { return Ok(wire) };
    match encrypt(wire, Arc::clone(config), server_name(host), negotiation, deadline).await? {
        Encryption::Agreed(wire) => Ok(wire),
        Encryption::Declined(_) => Err(Broken::new(ConnectFailureKind::TlsRefused, "the server no longer offers TLS")),
    }
}
