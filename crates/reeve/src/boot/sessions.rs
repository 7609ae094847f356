//! Sessions: which agents there are, and what they think with.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use reeve_agents::runner::AgentsConfig;
use reeve_gate::relay::ModelRelay;
use reeve_model::{Catalog, ModelsConfig};
use reeve_platform::sessions::{Definitions, SessionsOptions, SessionsParts};
use reeve_platform::workspaces::Workspaces;

use crate::config::Config;
use crate::config::surroundings::variable;

/// The file in the data directory that names models, when no other is set.
const MODELS_FILE: &str = "models.toml";
/// The directory in the data directory that holds definitions of agents, when no other is set.
const AGENTS_DIR: &str = "agents";

/// What sessions are made of.
pub(super) fn parts(
    config: &Config,
    external: AgentsConfig,
    workspaces: Option<Workspaces>,
) -> anyhow::Result<SessionsParts> {
    let wanted = &config.sessions;
    let models = Arc::new(catalog(config)?);
    let relay = Arc::clone(&models) as Arc<dyn ModelRelay>;
    let agents = wanted.agents_dir.clone().unwrap_or_else(|| config.data_dir.join(AGENTS_DIR));
    Ok(SessionsParts {
        models,
        definitions: Definitions::load(Some(&agents))?,
        external: Some(super::agents::runner(config, external, workspaces, relay)),
        options: SessionsOptions {
            turns: wanted.turns,
            default_target: wanted.target.clone(),
            silence_told: wanted.silence_told,
            silence_max: wanted.silence_max,
            ..SessionsOptions::default()
        },
    })
}

/// Every model that the configuration names; without a file, those that the usual variables name.
fn catalog(config: &Config) -> anyhow::Result<Catalog> {
    let (path, chosen) = match &config.sessions.models_file {
        Some(path) => (path.clone(), true),
        None => (config.data_dir.join(MODELS_FILE), false),
    };
    let models = match std::fs::read_to_string(&path) {
        Ok(text) => read(&path, &text)?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !chosen => ModelsConfig::default(),
        Err(error) => {
            return Err(error).with_context(|| format!("the models' file {} cannot be read", path.display()));
        }
    };
    let here = path.parent().unwrap_or(Path::new("."));
    Catalog::new(models.beneath(here).resolved(variable))
        .with_context(|| format!("the models of {} cannot be used", path.display()))
}

/// The file is the `models` section, written with or without its name.
fn read(path: &Path, text: &str) -> anyhow::Result<ModelsConfig> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Whole {
        models: ModelsConfig,
    }
    let named = text.lines().any(|line| line.trim_start().starts_with("[models"));
    let parsed = if named { toml::from_str::<Whole>(text).map(|whole| whole.models) } else { toml::from_str(text) };
    parsed.map_err(|error| anyhow::anyhow!("the models' file {} is wrong: {error}", path.display()))
}
