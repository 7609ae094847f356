//! Which models there are, where, and with which keys: the `[models]` section of the configuration.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use reeve_types::secret::SecretString;
use serde::{Deserialize, Deserializer};

use crate::prices::Price;

/// The `[models]` section.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelsConfig {
    /// The model that is asked when none is named: `provider/model` or an alias. Without it, the first one of the first
    /// provider that lists any.
    pub default: Option<String>,
    /// Models to ask in order when the wanted one is not configured, limited or unreachable.
    pub fallbacks: Vec<String>,
    /// Short names of models.
    pub aliases: BTreeMap<String, String>,
    /// Where models are.
    pub providers: BTreeMap<String, ProviderConfig>,
    /// Prices that come before the built-in ones.
    pub prices: Vec<Price>,
    /// How often one model is asked before the next one is, 1 to 10; 4 when absent.
    pub attempts: Option<u32>,
    /// A file to which every finished answer is appended, for `replay`.
    pub record: Option<PathBuf>,
}

/// How a provider is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProviderKind {
    /// Anthropic's Messages.
    Anthropic,
    /// OpenAI's chat completions, which most other servers speak too.
    Openai,
    /// OpenAI's Responses.
    #[serde(alias = "openai_responses")]
    OpenaiResponses,
    /// Google's Gemini.
    #[serde(alias = "google")]
    Gemini,
    /// No model: what was recorded, or a script.
    Replay,
}

impl ProviderKind {
    /// The word of the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Anthropic => "anthropic",
            Self::Openai => "openai",
            Self::OpenaiResponses => "openai-responses",
            Self::Gemini => "gemini",
            Self::Replay => "replay",
        }
    }

    pub(crate) fn base_url(self) -> &'static str {
        match self {
            Self::Anthropic => "https://api.anthropic.com",
            Self::Openai | Self::OpenaiResponses => "https://api.openai.com/v1",
            Self::Gemini => "https://generativelanguage.googleapis.com/v1beta",
            Self::Replay => "",
        }
    }
}

/// One provider: `[models.providers.NAME]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderConfig {
    /// How it is spoken to.
    pub kind: ProviderKind,
    /// Where it is, when that is not the vendor's own address.
    pub base_url: Option<String>,
    /// The key. Better kept out of files: see `key_env`.
    #[serde(default, deserialize_with = "secret")]
    pub key: Option<SecretString>,
    /// The environment variable that holds the key.
    pub key_env: Option<String>,
    /// Keys of tenants, which come before the one above.
    #[serde(default)]
    pub tenants: BTreeMap<String, TenantKey>,
    /// The models that may be asked for; any when empty.
    #[serde(default)]
    pub models: Vec<String>,
    /// Headers to add to each request.
    #[serde(default, deserialize_with = "secrets")]
    pub headers: BTreeMap<String, SecretString>,
    /// Longest answer in tokens, when the caller names none.
    pub max_output_tokens: Option<u32>,
    /// Most tokens its models can read.
    pub context_tokens: Option<u32>,
    /// How long the first byte of an answer may take; 120,000 when absent.
    pub timeout_ms: Option<u64>,
    /// How long an answer may pause; 120,000 when absent.
    pub idle_timeout_ms: Option<u64>,
    /// How long a whole answer may take; 600,000 when absent.
    pub answer_timeout_ms: Option<u64>,
    /// `replay` only: the recording.
    pub recording: Option<PathBuf>,
    /// `replay` only: the script.
    pub script: Option<PathBuf>,
}

impl ProviderConfig {
    /// A provider of which only the kind is known.
    pub fn new(kind: ProviderKind) -> Self {
        Self {
            kind,
            base_url: None,
            key: None,
            key_env: None,
            tenants: BTreeMap::new(),
            models: Vec::new(),
            headers: BTreeMap::new(),
            max_output_tokens: None,
            context_tokens: None,
            timeout_ms: None,
            idle_timeout_ms: None,
            answer_timeout_ms: None,
            recording: None,
            script: None,
        }
    }

    /// Whether nothing is said of a key for the vendor's own server. Where tenants have keys, there may be none for all.
    fn wants_usual_key(&self) -> bool {
        self.key.is_none() && self.key_env.is_none() && self.base_url.is_none() && self.tenants.is_empty()
    }
}

fn usual_key(kind: ProviderKind, variable: impl Fn(&str) -> Option<String>) -> Option<SecretString> {
    let kind = if kind == ProviderKind::OpenaiResponses { ProviderKind::Openai } else { kind };
    let vendor = VENDORS.iter().find(|vendor| vendor.kind == kind)?;
    let key = vendor.keys.iter().find_map(|name| variable(name).filter(|key| !key.trim().is_empty()))?;
    Some(SecretString::from(key.trim()))
}

/// A tenant's key: `[models.providers.NAME.tenants.TENANT]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TenantKey {
    /// The key.
    #[serde(deserialize_with = "secret")]
    pub key: Option<SecretString>,
    /// The environment variable that holds it.
    pub key_env: Option<String>,
}

/// The models' configuration makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A setting has a value that cannot be.
    #[error("`models.{setting}`: {problem}")]
    Setting {
        /// Its name below `models`.
        setting: String,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// The client cannot be built.
    #[error("the HTTP client cannot be set up")]
    Client(#[source] reqwest::Error),
}

impl ConfigError {
    pub(crate) fn setting(setting: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Setting { setting: setting.into(), problem: problem.into() }
    }
}

impl ModelsConfig {
    /// What the conventional variables say: `ANTHROPIC_API_KEY`, `OPENAI_API_KEY`, `GEMINI_API_KEY` or `GOOGLE_API_KEY`
    /// with their `_BASE_URL` and `_MODEL`, and `HELPDESK_MODEL_VENDOR`, `HELPDESK_MODEL_NAME`, `HELPDESK_API_KEY`.
    pub fn from_environment(variable: impl Fn(&str) -> Option<String>) -> Self {
        let variable = |name: &str| variable(name).map(|v| v.trim().to_owned()).filter(|v| !v.is_empty());
        let mut config = Self::default();
        for vendor in VENDORS {
            let key = vendor.keys.iter().find_map(|name| variable(name));
            let base_url = vendor.base_urls.iter().find_map(|name| variable(name));
            // A server of one's own needs no key.
            if key.is_none() && base_url.is_none() {
                continue;
            }
            let model = variable(vendor.model).unwrap_or_else(|| vendor.usual_model.to_owned());
            config.default.get_or_insert_with(|| format!("{}/{model}", vendor.name));
            let provider =
                ProviderConfig { base_url, key: key.map(SecretString::from), ..ProviderConfig::new(vendor.kind) };
            config.providers.insert(vendor.name.to_owned(), provider);
        }
        let helpdesk = variable("HELPDESK_MODEL_VENDOR").and_then(|named| {
            let named = if named == "google" { "gemini" } else { &named };
            VENDORS.iter().find(|vendor| vendor.name == named)
        });
        if let Some(vendor) = helpdesk {
            let provider =
                config.providers.entry(vendor.name.to_owned()).or_insert_with(|| ProviderConfig::new(vendor.kind));
            if let Some(key) = variable("HELPDESK_API_KEY") {
                provider.key = Some(SecretString::from(key));
            }
            let model = variable("HELPDESK_MODEL_NAME").unwrap_or_else(|| vendor.usual_model.to_owned());
            config.default = Some(format!("{}/{model}", vendor.name));
        }
        config
    }

    /// Files that are named without their directory are in `directory`, which is that of the configuration.
    #[must_use]
    pub fn beneath(mut self, directory: &Path) -> Self {
        let files = self.providers.values_mut().flat_map(|provider| [&mut provider.recording, &mut provider.script]);
        for file in files.chain([&mut self.record]).flatten() {
            *file = directory.join(&*file);
        }
        self
    }

    /// Fetches the keys that are named by variables, or are the usual ones of a vendor; where no provider is configured,
    /// takes what the conventional variables say. A variable that is not set leaves its provider without a key.
    #[must_use]
    pub fn resolved(mut self, variable: impl Fn(&str) -> Option<String>) -> Self {
        if self.providers.is_empty() {
            let found = Self::from_environment(&variable);
            self.providers = found.providers;
            self.default = self.default.or(found.default);
            return self;
        }
        let fetch = |key: &mut Option<SecretString>, name: Option<&String>| {
            if key.is_none() {
                *key = name.and_then(|name| variable(name)).filter(|v| !v.trim().is_empty()).map(SecretString::from);
            }
        };
        for provider in self.providers.values_mut() {
            fetch(&mut provider.key, provider.key_env.as_ref());
            if provider.wants_usual_key() {
                provider.key = usual_key(provider.kind, &variable);
            }
            for tenant in provider.tenants.values_mut() {
                fetch(&mut tenant.key, tenant.key_env.as_ref());
            }
        }
        self
    }
}

struct Vendor {
    name: &'static str,
    kind: ProviderKind,
    keys: &'static [&'static str],
    base_urls: &'static [&'static str],
    model: &'static str,
    usual_model: &'static str,
}

/// In the order in which one becomes the default.
const VENDORS: [Vendor; 3] = [
    Vendor {
        name: "anthropic",
        kind: ProviderKind::Anthropic,
        keys: &["ANTHROPIC_API_KEY"],
        base_urls: &["ANTHROPIC_BASE_URL"],
        model: "ANTHROPIC_MODEL",
        usual_model: "claude-sonnet-5-5",
    },
    Vendor {
        name: "openai",
        kind: ProviderKind::Openai,
        keys: &["OPENAI_API_KEY"],
        base_urls: &["OPENAI_BASE_URL"],
        model: "OPENAI_MODEL",
        usual_model: "gpt-6.1-sol",
    },
    Vendor {
        name: "gemini",
        kind: ProviderKind::Gemini,
        keys: &["GEMINI_API_KEY", "GOOGLE_API_KEY"],
        base_urls: &["GEMINI_BASE_URL", "GOOGLE_GEMINI_BASE_URL"],
        model: "GEMINI_MODEL",
        usual_model: "gemini-3.8-flash",
    },
];

fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SecretString>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.map(SecretString::from))
}

fn secrets<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, SecretString>, D::Error> {
    let plain = BTreeMap::<String, String>::deserialize(deserializer)?;
    Ok(plain.into_iter().map(|(name, value)| (name, SecretString::from(value))).collect())
}

#[cfg(test)]
mod tests {
    use reeve_types::secret::ExposeSecret as _;

    use super::*;

    fn variables(pairs: &'static [(&str, &str)]) -> impl Fn(&str) -> Option<String> {
        move |name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
    }

    #[test]
    fn conventional_variables_make_providers() {
        let config = ModelsConfig::from_environment(variables(&[
            ("OPENAI_API_KEY", "sk-1"),
            ("OPENAI_BASE_URL", "http://localhost:11434/v1"),
            ("OPENAI_MODEL", "qwen3"),
            ("GOOGLE_API_KEY", "g-1"),
            ("ANTHROPIC_API_KEY", "  "),
        ]));
        assert_eq!(config.default.as_deref(), Some("openai/qwen3"));
        assert_eq!(config.providers.keys().collect::<Vec<_>>(), ["gemini", "openai"]);
        assert_eq!(config.providers["openai"].base_url.as_deref(), Some("http://localhost:11434/v1"));
        assert!(!format!("{config:?}").contains("sk-1"));
    }

    #[test]
    fn the_helpdesk_variables_choose_the_default() {
        let config = ModelsConfig::from_environment(variables(&[
            ("ANTHROPIC_API_KEY", "a"),
            ("HELPDESK_MODEL_VENDOR", "google"),
            ("HELPDESK_MODEL_NAME", "gemini-3.8-flash"),
            ("HELPDESK_API_KEY", "h"),
        ]));
        assert_eq!(config.default.as_deref(), Some("gemini/gemini-3.8-flash"));
        let key = config.providers["gemini"].key.as_ref().expect("a key");
        assert_eq!(key.expose_secret(), "h");
    }

    #[test]
    fn a_written_configuration_wins_and_fetches_its_keys() {
        let text = r#"
            default = "work"
            fallbacks = ["local/qwen3"]
            [aliases]
            work = "claude/claude-sonnet-5-5"
            [providers.claude]
            kind = "anthropic"
            key_env = "WORK_KEY"
            tenants.acme.key_env = "ACME_KEY"
            headers = { "x-team" = "ops" }
            [providers.local]
            kind = "openai"
            base_url = "http://127.0.0.1:8080"
            models = ["qwen3"]
        "#;
        let config: ModelsConfig = toml::from_str(text).expect("a configuration");
        let config = config.resolved(variables(&[("WORK_KEY", "w"), ("ACME_KEY", "a"), ("OPENAI_API_KEY", "never")]));
        let claude = &config.providers["claude"];
        assert_eq!(claude.key.as_ref().map(|k| k.expose_secret().to_owned()).as_deref(), Some("w"));
        assert!(claude.tenants["acme"].key.is_some());
        assert_eq!(config.providers.len(), 2);
        assert!(config.providers["local"].key.is_none(), "a server of one's own is not given the vendor's key");
    }

    #[test]
    fn a_vendor_of_which_no_key_is_said_gets_its_usual_one() {
        let text = "[providers.a]\nkind = 'openai-responses'\n[providers.b]\nkind = 'openai'\ntenants.acme.key = 'k'";
        let config: ModelsConfig = toml::from_str(text).expect("a configuration");
        let config = config.resolved(variables(&[("OPENAI_API_KEY", "usual")]));
        assert!(config.providers["a"].key.is_some());
        assert!(config.providers["b"].key.is_none(), "it belongs to its tenants");
    }

    #[test]
    fn files_are_beside_the_configuration() {
        let text = "record = 'a'\n[providers.p]\nkind = 'replay'\nscript = '/b'\n[providers.q]\nkind = 'replay'\nrecording = 'c'";
        let config: ModelsConfig = toml::from_str(text).expect("a configuration");
        let config = config.beneath(Path::new("/etc/reeve"));
        assert_eq!(config.record, Some("/etc/reeve/a".into()));
        assert_eq!(config.providers["p"].script, Some("/b".into()));
        assert_eq!(config.providers["q"].recording, Some("/etc/reeve/c".into()));
    }

    #[test]
    fn a_mistyped_setting_is_refused() {
        for text in
            ["defualt = 'x'", "[providers.a]\nkind = 'anthropic'\nmodel = 'x'", "[providers.a]\nkind = 'claude'"]
        {
            assert!(toml::from_str::<ModelsConfig>(text).is_err(), "{text}");
        }
    }
}
