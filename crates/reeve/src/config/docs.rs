//! The table of settings for people: the reference page, and what holds in this process.

use std::fmt::Write as _;

use reeve_types::mask_dsn;
use reeve_types::secret::MASK;
use serde::Serialize;

use super::Config;
use super::keys::{EXTRA_LISTENER, KEYS, Key, Kind, LISTEN_HOST, LISTEN_PORT};
use super::layers::Source;

/// One setting as it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Shown {
    /// Its name.
    pub(crate) name: &'static str,
    /// Its value, secrets masked; the default in words when nobody set it, none when there is none.
    pub(crate) value: Option<String>,
    /// Where it comes from.
    pub(crate) source: String,
}

/// Every setting with its value and where it comes from.
pub(crate) fn shown(config: &Config) -> Vec<Shown> {
    let settings = &config.settings;
    let mut all = Vec::new();
    for key in KEYS {
        let setting = settings.get(key.name);
        let value = match setting {
            None => default_of(key, config),
            Some(setting) => Some(match key.kind {
                Kind::Secret => MASK.to_owned(),
                Kind::Url => mask_dsn(&setting.raw.line()),
                Kind::SecretUrl => masked_url(&setting.raw.line()),
                _ => setting.raw.line(),
            }),
        };
        let source = setting.map_or(Source::Default, |setting| setting.source.clone());
        all.push(Shown { name: key.name, value, source: source.to_string() });
        if let ("listen", Some(extra)) = (key.name, &settings.extra_listener) {
            all.push(Shown { name: "listen (also)", value: Some(extra.raw.line()), source: extra.source.to_string() });
        }
    }
    all
}

/// What holds when nobody sets it: worked out where it depends on the surroundings.
fn default_of(key: &Key, config: &Config) -> Option<String> {
    match key.name {
        "listen" => config.listen.first().map(ToString::to_string),
        "data_dir" => Some(config.data_dir.display().to_string()),
        "server" => Some(config.client.server.clone()),
        _ => Some(key.default.to_owned()).filter(|text| !text.is_empty()),
    }
}

/// The same as the API tells it: `{setting: {value, source}}`.
pub(crate) fn shown_json(config: &Config) -> serde_json::Value {
    let entry = |one: Shown| (one.name.to_owned(), serde_json::json!({"value": one.value, "source": one.source}));
    serde_json::Value::Object(shown(config).into_iter().map(entry).collect())
}

/// The path of a webhook is its secret, so only its server is shown.
fn masked_url(text: &str) -> String {
    match reqwest::Url::parse(text) {
        Ok(url) => {
            let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
            format!("{}://{}{port}/{MASK}", url.scheme(), url.host_str().unwrap_or_default())
        }
        Err(_) => MASK.to_owned(),
    }
}

/// The reference page, in Markdown.
pub(crate) fn reference() -> String {
    let mut page = String::from(
        "# Settings\n\n\
         A setting comes from `reeve.toml` (in the working directory, `~/.config/reeve/` or `/etc/reeve/`, or the file\n\
         that `--config` or `REEVE_CONFIG` names), then from its variable, then from a flag; later ones win. An empty\n\
         variable counts as not set. `reeve config` shows what holds and where it comes from.\n\n\
         | Setting | Is a | Variable | Also read | Default |\n|---|---|---|---|---|\n",
    );
    for key in KEYS {
        let aliases: Vec<String> = key.aliases.iter().map(|alias| format!("`{alias}`")).collect();
        let default = if key.default.is_empty() { "–" } else { key.default };
        let _ = writeln!(
            page,
            "| `{}` | {} | `{}` | {} | {default} |",
            key.name,
            key.kind.words(),
            key.variable(),
            if aliases.is_empty() { "–".to_owned() } else { aliases.join(", ") },
        );
    }
    page.push('\n');
    for key in KEYS {
        let _ = writeln!(page, "* `{}`: {}", key.name, key.meaning);
    }
    let _ = writeln!(
        page,
        "\n`{EXTRA_LISTENER}` adds one more address to `listen`, unless `REEVE_LISTEN` or `--listen` says exactly where to listen.\n\
         `{LISTEN_HOST}` and `{LISTEN_PORT}` are read as `listen` where no other variable sets it; variables that end in `_MS`\n\
         hold milliseconds, whatever the setting counts in."
    );
    page
}
