//! Putting the parts together: the only place that knows them all, and the only caller of `Gate::new` outside tests.

mod agents;
mod archive;
mod channels;
mod kubernetes;
mod mcp;
mod sessions;
mod targets;
mod workspaces;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use reeve_gate::{Clock, Gate, GateOptions, OperatingMode, Registry, SystemClock};
use reeve_http::HttpOptions;
use reeve_platform::identity::Identity;
use reeve_platform::inventory::InventoryHolder;
use reeve_platform::policies::Policies;
use reeve_platform::{IdentityProvider, Platform, PlatformOptions, PlatformParts};
use reeve_postgres::conninfo::Surroundings;
use reeve_postgres::tools::{ToolOptions, VerifyOptions};
use reeve_store::Store;
use reeve_types::{KeyId, PrincipalKind, TenantId};

use crate::config::{Config, Provider};
pub(crate) use workspaces::{Drivers, readiness};

/// The file that holds the administrator's key, for commands on the same machine.
pub(crate) const TOKEN_FILE: &str = "admin.token";

/// A platform that has been put together, with its routes.
pub(crate) struct Built {
    pub(crate) platform: Platform,
    pub(crate) router: axum::Router,
    /// The administrator's key.
    pub(crate) token: String,
    /// Whether that key was made just now: nobody has signed in here before.
    pub(crate) first_start: bool,
    /// What holds the workspaces, to be closed with the server.
    pub(crate) drivers: Drivers,
    /// Other people's MCP servers, to be closed with the server.
    pub(crate) mcp: reeve_mcp::client::McpServers,
}

/// Puts a whole platform together from a configuration, as a server has it. Nothing listens yet.
pub(crate) async fn build(config: &Config) -> anyhow::Result<Built> {
    build_with(config, Holds::Workspaces).await
}

/// Puts a platform together for one command that finds no server: it holds no workspaces, which outlive it.
pub(crate) async fn build_for_one_command(config: &Config) -> anyhow::Result<Built> {
    build_with(config, Holds::NoWorkspaces).await
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Holds {
    Workspaces,
    NoWorkspaces,
}

async fn build_with(config: &Config, holds: Holds) -> anyhow::Result<Built> {
    complies(config)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let store = Store::open(&config.data_dir, Arc::clone(&clock))
        .map_err(|error| anyhow::anyhow!(error.chain()))
        .with_context(|| format!("the data directory {} cannot be used", config.data_dir.display()))?;
    let store = if config.otel.is_some() { store.with_spans(crate::telemetry::here) } else { store };
    let environment: reeve_platform::policies::Environment = Arc::new(crate::config::surroundings::variable);
    let (policies, set) = Policies::load(config.policy_files.clone(), environment, clock.now())?;
    let inventory = Arc::new(InventoryHolder::load(config.inventory_file.clone(), targets::same_target())?);
    let identity = Arc::new(Identity::load_with(
        provider(config.identity.provider),
        store.clone(),
        Arc::clone(&clock),
        config.identity.users_file.clone(),
        config.accounts.clone(),
    )?);
    let external = agents::read(config)?;
    let opened = match holds {
        Holds::Workspaces => workspaces::open(&config.workspaces, agents::mounted(&external), &store, &clock).await?,
        Holds::NoWorkspaces => None,
    };
    let mut registry = registry(config, &store, &inventory)?;
    for tool in opened.iter().flat_map(|opened| opened.workspaces.tools()) {
        registry.register(tool)?;
    }
    for tool in reeve_platform::sessions::Sessions::tools() {
        registry.register(tool)?;
    }
    let mcp = mcp::open(config, &clock, holds == Holds::Workspaces).await?;
    for tool in mcp.tools() {
        registry.register(tool)?;
    }
    let gate = Gate::new(
        registry,
        Arc::new(set),
        Arc::clone(&inventory) as Arc<dyn reeve_gate::Inventory>,
        Arc::new(store.clone()),
        Arc::clone(&clock),
        GateOptions {
            mode: config.mode,
            purpose_for_sensitive: config.require_purpose_for_sensitive,
            approval_expiry: config.approval.expiry,
            approval_valid_for: config.approval.valid_for,
        },
    );
    let mut platform = Platform::new(PlatformParts {
        gate,
        store,
        identity,
        inventory,
        policies: Arc::new(policies),
        channels: channels::of(&config.notify)?,
        clock,
        options: PlatformOptions { base_url: config.notify.base_url.clone(), socket: config.audit_socket.clone() },
    });
    let mut drivers = Drivers::default();
    if let Some(opened) = opened {
        platform = platform.with_workspaces(opened.workspaces);
        drivers = opened.drivers;
    }
    if holds == Holds::Workspaces {
        let parts = sessions::parts(config, external, platform.workspaces().cloned())?;
        platform = platform.with_sessions(parts);
    }
    platform.policies().keep_text(&platform).await;
    let (token, first_start) = administrator_token(&platform, &config.data_dir.join(TOKEN_FILE)).await?;
    let router = reeve_http::router(
        platform.clone(),
        HttpOptions {
            config: crate::config::shown_json(config),
            limits: config.limits,
            streams: reeve_http::StreamLimits {
                idle: config.streams.idle,
                connections: config.streams.connections,
                per_caller: config.streams.per_caller,
            },
            preview_domains: preview_domains(config),
            mcp: mcp::doors(&platform, &mcp),
            strict_exec: config.workspaces.strict_exec,
            token_in_address: config.workspaces.token_in_address,
            ..HttpOptions::default()
        },
    );
    Ok(Built { platform, router, token, first_start, drivers, mcp })
}

/// `localhost` leads to this machine in every browser, so it is always among them.
fn preview_domains(config: &Config) -> Vec<String> {
    let mut domains = vec![config.workspaces.preview_domain.clone(), "localhost".to_owned()];
    domains.dedup();
    domains
}

/// In the governed modes nothing may start that nobody has thought about.
fn complies(config: &Config) -> anyhow::Result<()> {
    if config.mode == OperatingMode::Normal {
        return Ok(());
    }
    if config.policy_files.is_empty() {
        anyhow::bail!(
            "this mode needs policies of your own, and none are set; name them in policy.files (REEVE_POLICY_FILES)"
        );
    }
    if config.inventory_file.is_none() {
        tracing::warn!("this mode expects an inventory; without one any target is taken, and policies see no tags");
    }
    Ok(())
}

fn provider(provider: Provider) -> IdentityProvider {
    match provider {
        Provider::Keys | Provider::Static => IdentityProvider::Keys,
        Provider::Trusting => IdentityProvider::None,
    }
}

fn registry(config: &Config, store: &Store, inventory: &Arc<InventoryHolder>) -> anyhow::Result<Registry> {
    let options = ToolOptions {
        verify: VerifyOptions {
            attempts: config.verify.attempts,
            initial_delay: config.verify.initial_delay,
            max_delay: config.verify.max_delay,
        },
        ..ToolOptions::default()
    };
    let targets = targets::InventoryTargets::new(Arc::clone(inventory), Surroundings::of_process());
    let archive = archive::StoreArchive::new(store.clone());
    let mut registry = Registry::new();
    for tool in reeve_postgres::tools::all(Arc::new(targets), Arc::new(archive), options) {
        registry.register(tool)?;
    }
    for tool in kubernetes::tools(inventory) {
        registry.register(tool)?;
    }
    Ok(registry)
}

/// The administrator's key: read from its file, or made at the first start. A file whose key is no longer known (the
/// database was replaced) gets a new one. Says whether it was made.
async fn administrator_token(platform: &Platform, path: &Path) -> anyhow::Result<(String, bool)> {
    if let Ok(text) = std::fs::read_to_string(path) {
        let token = text.trim().to_owned();
        if platform.identity().identify(Some(&token), None).await.is_ok() {
            return Ok((token, false));
        }
    }
    let roles = BTreeSet::from(["admin".to_owned()]);
    let note = "made at the first start; its text is in the data directory".to_owned();
    let (key_id, token) = platform
        .identity()
        .create_key(TenantId::default_tenant(), PrincipalKind::User, "admin".to_owned(), roles, note)
        .await?;
    reeve_store::write_private(path, &format!("{token}\n")).map_err(|error| anyhow::anyhow!(error.chain()))?;
    record_new_token(platform, &key_id).await;
    Ok((token, true))
}

async fn record_new_token(platform: &Platform, key_id: &KeyId) {
    let note = format!("the administrator's key {key_id} was made and written to {TOKEN_FILE}");
    let event = platform.own_event(reeve_types::EventType::IdentityChanged, note);
    if let Err(error) = platform.record(event).await {
        tracing::error!("a new administrator's key could not be recorded: {error}");
    }
}
