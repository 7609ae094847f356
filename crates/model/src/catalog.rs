//! All models of one installation.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _};
use reeve_gate::TaskCx;
use reeve_gate::model::{ModelEvent, ModelFailure, ModelFailureKind, ModelHealth, ModelInfo, ModelStream, Models};
use reeve_types::TenantId;
use reeve_types::model::{Message, Prompt, Reply};
use tokio::sync::mpsc::Sender;
use tokio::time::Instant;

use crate::asking::Asking;
use crate::config::{ConfigError, ModelsConfig, ProviderConfig, ProviderKind};
use crate::prices::Prices;
use crate::provider::{self, Provider};
use crate::replay::{Player, Recorder};
use crate::trouble::Trouble;

/// How long a look at one model may take.
const CHECK_PATIENCE: Duration = Duration::from_secs(30);

/// How many models are looked at together.
const CHECKS_AT_ONCE: usize = 4;

/// Every configured model.
pub struct Catalog {
    providers: BTreeMap<String, Entry>,
    default: Option<String>,
    fallbacks: Vec<String>,
    aliases: BTreeMap<String, String>,
    attempts: u32,
    prices: Arc<Prices>,
    recorder: Option<Arc<Recorder>>,
}

struct Entry {
    kind: ProviderKind,
    models: Vec<String>,
    context_tokens: Option<u32>,
    key_hint: String,
    source: Arc<Source>,
}

/// Where answers come from.
enum Source {
    Server(Box<Provider>),
    Replay(Player),
}

/// A model that can be asked.
pub(crate) struct Candidate {
    /// `provider/model`.
    pub(crate) name: String,
    pub(crate) provider: String,
    pub(crate) place: String,
    pub(crate) key_hint: String,
    model: String,
    source: Arc<Source>,
    prices: Arc<Prices>,
}

impl Candidate {
    pub(crate) async fn ask(
        &self,
        tenant: &TenantId,
        prompt: &Prompt,
        cx: &TaskCx,
        said: &Sender<ModelEvent>,
    ) -> Result<Reply, Trouble> {
        let provider = match &*self.source {
            Source::Replay(player) => return player.ask(&self.name, prompt, said).await,
            Source::Server(provider) => provider,
        };
        let draft = provider.ask(tenant, &self.model, prompt, cx, said).await?;
        let (stop, mut usage, id) = (draft.stop(), draft.usage, draft.id.clone());
        // A name such as `…-latest` may have no price, but the server says what stood behind it.
        usage.cost_micro_usd = self.prices.cost(&self.model, &usage).or_else(|| self.prices.cost(&draft.model, &usage));
        Ok(Reply { id, model: self.name.clone(), blocks: draft.into_blocks(), stop, usage })
    }
}

impl Catalog {
    /// A catalog of what is configured; with nothing configured, it is empty. Keys must have been fetched before: see
    /// [`ModelsConfig::resolved`]. Nothing is sent.
    pub fn new(config: ModelsConfig) -> Result<Self, ConfigError> {
        let attempts = config.attempts.unwrap_or(4);
        if !(1..=10).contains(&attempts) {
            return Err(ConfigError::setting("attempts", "write a number from 1 to 10"));
        }
        let mut providers = BTreeMap::new();
        for (name, provider) in &config.providers {
            providers.insert(name.clone(), entry(name, provider)?);
        }
        let catalog = Self {
            providers,
            default: config.default,
            fallbacks: config.fallbacks,
            aliases: config.aliases,
            attempts,
            prices: Arc::new(Prices::with(&config.prices)),
            recorder: config.record.as_deref().map(Recorder::open).transpose()?.map(Arc::new),
        };
        let fallbacks = catalog.fallbacks.iter().enumerate().map(|(at, name)| (format!("fallbacks[{at}]"), name));
        let aliases = catalog.aliases.iter().map(|(alias, name)| (format!("aliases.{alias}"), name));
        let default = catalog.default.iter().map(|name| ("default".to_owned(), name));
        for (setting, name) in default.chain(fallbacks) {
            catalog.place(name).map_err(|problem| ConfigError::setting(setting, problem))?;
        }
        for (setting, name) in aliases {
            catalog.split(name).map_err(|problem| ConfigError::setting(setting, problem))?;
        }
        Ok(catalog)
    }

    /// Every provider that is reached over HTTP, with the models that may be asked for.
    pub(crate) fn servers(&self) -> impl Iterator<Item = (&str, &Provider, &[String])> {
        self.providers.iter().filter_map(|(name, entry)| match &*entry.source {
            Source::Server(server) => Some((name.as_str(), &**server, entry.models.as_slice())),
            Source::Replay(_) => None,
        })
    }

    /// What tokens cost.
    pub(crate) fn prices(&self) -> &Arc<Prices> {
        &self.prices
    }

    /// Provider and model behind an alias or a name.
    fn place<'a>(&'a self, name: &'a str) -> Result<(&'a str, &'a str), String> {
        self.split(self.aliases.get(name).map_or(name, String::as_str))
    }

    fn split<'a>(&'a self, name: &'a str) -> Result<(&'a str, &'a str), String> {
        let shown: String = name.chars().filter(|c| !c.is_control()).take(100).collect();
        if let Some((provider, model)) = name.split_once('/')
            && let Some(entry) = self.providers.get(provider)
        {
            let is_any = entry.models.is_empty() || entry.kind == ProviderKind::Replay;
            if !model.is_empty() && (is_any || entry.models.iter().any(|known| known == model)) {
                return Ok((provider, model));
            }
            return Err(format!(
                "`{shown}` is not among `models.providers.{provider}.models`: {}",
                entry.models.join(", ")
            ));
        }
        // A bare name will do where it can mean one model only.
        let mut listing = self.providers.iter().filter(|(_, entry)| entry.models.iter().any(|model| model == name));
        if let (Some((provider, _)), None) = (listing.next(), listing.next()) {
            return Ok((provider, name));
        }
        let known: Vec<&str> = self.providers.keys().map(String::as_str).collect();
        Err(format!("`{shown}` names no model; write `provider/model` with one of the providers {}", known.join(", ")))
    }

    fn default_name(&self) -> Option<String> {
        let listed =
            || self.providers.iter().find_map(|(name, entry)| Some(format!("{name}/{}", entry.models.first()?)));
        self.default.clone().or_else(listed)
    }

    fn candidate(&self, tenant: &TenantId, name: &str) -> Result<Candidate, ModelFailure> {
        let refused = |kind, message| ModelFailure { kind, message };
        let (provider, model) =
            self.place(name).map_err(|problem| refused(ModelFailureKind::NotConfigured, problem + "."))?;
        let Some(entry) = self.providers.get(provider) else {
            return Err(refused(ModelFailureKind::NotConfigured, format!("there is no provider `{provider}`.")));
        };
        let place = match &*entry.source {
            Source::Replay(player) => player.place(),
            Source::Server(server) if server.lacks_key(tenant) => {
                let message = format!("{provider}/{model} has no key for this tenant. Give one: {}.", entry.key_hint);
                return Err(refused(ModelFailureKind::Unauthorized, message));
            }
            Source::Server(server) => server.host.clone(),
        };
        Ok(Candidate {
            name: format!("{provider}/{model}"),
            provider: provider.to_owned(),
            place,
            key_hint: entry.key_hint.clone(),
            model: model.to_owned(),
            source: Arc::clone(&entry.source),
            prices: Arc::clone(&self.prices),
        })
    }

    fn asking(
        &self,
        tenant: &TenantId,
        model: Option<&str>,
        prompt: Prompt,
        cx: &TaskCx,
    ) -> Result<Asking, ModelFailure> {
        let Some(wanted) = model.map(str::to_owned).or_else(|| self.default_name()) else {
            return Err(ModelFailure {
                kind: ModelFailureKind::NotConfigured,
                message: "no model is configured. Set ANTHROPIC_API_KEY, OPENAI_API_KEY or GEMINI_API_KEY, or write a \
                          models.toml (docs/models.md)."
                    .to_owned(),
            });
        };
        let others = self.fallbacks.iter().filter(|name| **name != wanted);
        let candidates: Vec<_> =
            std::iter::once(&wanted).chain(others).map(|name| self.candidate(tenant, name)).collect();
        if candidates.iter().all(Result::is_err)
            && let Some(Err(first)) = candidates.first()
        {
            return Err(first.clone());
        }
        Ok(Asking {
            tenant: tenant.clone(),
            candidates,
            prompt,
            attempts: self.attempts,
            recorder: self.recorder.clone(),
            cx: cx.clone(),
        })
    }

    async fn check_one(&self, tenant: &TenantId, name: String, cx: &TaskCx) -> ModelHealth {
        let started = Instant::now();
        let candidate = self.candidate(tenant, &name);
        if candidate.as_ref().is_ok_and(|candidate| matches!(&*candidate.source, Source::Replay(_))) {
            // It was read when the server started; it need not know this question.
            return ModelHealth { name, answer: Ok(started.elapsed()) };
        }
        let prompt = Prompt {
            messages: vec![Message::user("Answer with the one word: ready")],
            max_output_tokens: Some(16),
            ..Prompt::default()
        };
        let asking = candidate.map(|candidate| Asking {
            tenant: tenant.clone(),
            candidates: vec![Ok(candidate)],
            prompt,
            attempts: 1,
            recorder: None,
            cx: cx.within(CHECK_PATIENCE),
        });
        let answer = match asking {
            Err(failure) => Err(failure.message),
            Ok(asking) => match asking.stream().next().await {
                Some(Ok(_)) => Ok(started.elapsed()),
                Some(Err(failure)) => Err(failure.message),
                None => Err("the answer ended before it began".to_owned()),
            },
        };
        ModelHealth { name, answer }
    }
}

impl Models for Catalog {
    fn list(&self, tenant: &TenantId) -> Vec<ModelInfo> {
        let default = self.default_name();
        let default = default.as_deref().and_then(|name| self.place(name).ok());
        let named = default
            .into_iter()
            .chain(self.aliases.values().chain(&self.fallbacks).filter_map(|name| self.place(name).ok()));
        let mut pairs: Vec<(&str, &str)> = self
            .providers
            .iter()
            .flat_map(|(name, entry)| entry.models.iter().map(move |model| (name.as_str(), model.as_str())))
            .collect();
        for pair in named {
            if !pairs.contains(&pair) {
                pairs.push(pair);
            }
        }
        pairs.sort_unstable();
        let info = |(provider, model): (&str, &str)| {
            let entry = self.providers.get(provider)?;
            let askable = match &*entry.source {
                Source::Server(server) => !server.lacks_key(tenant),
                Source::Replay(_) => true,
            };
            askable.then(|| ModelInfo {
                name: format!("{provider}/{model}"),
                kind: entry.kind.as_str(),
                context_tokens: entry.context_tokens,
                is_default: default == Some((provider, model)),
            })
        };
        pairs.into_iter().filter_map(info).collect()
    }

    fn ask<'a>(
        &'a self,
        tenant: &'a TenantId,
        model: Option<&'a str>,
        prompt: Prompt,
        cx: &'a TaskCx,
    ) -> BoxFuture<'a, Result<ModelStream, ModelFailure>> {
        std::future::ready(self.asking(tenant, model, prompt, cx).map(Asking::stream)).boxed()
    }

    fn check<'a>(&'a self, tenant: &'a TenantId, cx: &'a TaskCx) -> BoxFuture<'a, Vec<ModelHealth>> {
        let looks = self.list(tenant).into_iter().map(move |model| self.check_one(tenant, model.name, cx));
        futures_util::stream::iter(looks).buffered(CHECKS_AT_ONCE).collect().boxed()
    }
}

fn entry(name: &str, config: &ProviderConfig) -> Result<Entry, ConfigError> {
    let plain = |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if name.is_empty() || !plain(name) {
        return Err(ConfigError::setting(
            format!("providers.{name:?}"),
            "a provider's name has letters, digits, `-`, `_` and `.` only",
        ));
    }
    if let Some(tenant) = config.tenants.keys().find(|tenant| tenant.parse::<TenantId>().is_err()) {
        return Err(ConfigError::setting(format!("providers.{name}.tenants.{tenant:?}"), "this is no tenant's name"));
    }
    let is_replay = config.kind == ProviderKind::Replay;
    if !is_replay && (config.recording.is_some() || config.script.is_some()) {
        let problem = "`recording` and `script` are for providers of kind `replay` only";
        return Err(ConfigError::setting(format!("providers.{name}"), problem));
    }
    let source = match provider::build(name, config)? {
        Some(provider) => Source::Server(Box::new(provider)),
        None => Source::Replay(Player::open(name, config)?),
    };
    let key_hint = match &config.key_env {
        Some(variable) => format!("set the variable {variable} (`models.providers.{name}.key_env`)"),
        None => format!("set `models.providers.{name}.key_env` and that variable, or the provider's usual one"),
    };
    let mut models = config.models.clone();
    if is_replay && models.is_empty() {
        models.push(config.kind.as_str().to_owned());
    }
    Ok(Entry { kind: config.kind, models, context_tokens: config.context_tokens, key_hint, source: Arc::new(source) })
}
