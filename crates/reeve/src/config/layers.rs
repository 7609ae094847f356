//! What was typed, where, and which of it counts.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use super::ConfigError;
use super::file::read_file;
use super::keys::{EXTRA_LISTENER, KEYS, Key, Kind, LISTEN_HOST, LISTEN_PORT};
use super::surroundings::Surroundings;

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// Nobody set it.
    Default,
    /// A file; line and column count from 1, in characters. 0 means the file as a whole.
    File {
        /// The file.
        path: PathBuf,
        /// The line.
        line: usize,
        /// The column.
        column: usize,
    },
    /// An environment variable.
    Variable(String),
    /// A flag.
    Flag(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line: 0, .. } => write!(f, "{}", path.display()),
            Self::File { path, line, column } => write!(f, "{}:{line}:{column}", path.display()),
            Self::Variable(name) => f.write_str(name),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

/// A value as it was typed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Raw {
    /// A text, a number or a switch, as text.
    One(String),
    /// Several texts.
    Many(Vec<String>),
}

impl Raw {
    /// One line of it, for showing.
    pub(crate) fn line(&self) -> String {
        match self {
            Self::One(text) => text.clone(),
            Self::Many(texts) => texts.join(", "),
        }
    }
}

/// A value and where it comes from. It may be a secret, so only where it comes from is ever printed by itself.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Setting {
    /// As it was typed.
    pub(crate) raw: Raw,
    /// Where.
    pub(crate) source: Source,
}

impl fmt::Debug for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Setting(*** from {})", self.source)
    }
}

/// A setting that a flag of the command line carries.
#[derive(Clone)]
pub(crate) struct Flag {
    /// The name of the setting.
    pub(crate) key: &'static str,
    /// The flag, with its dashes.
    pub(crate) flag: &'static str,
    /// What follows it; lists may repeat the flag.
    pub(crate) values: Vec<String>,
}

impl fmt::Debug for Flag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Flag({} = ***)", self.flag)
    }
}

/// The values that count, by the name of their setting.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    by_key: BTreeMap<&'static str, Setting>,
    /// An address that the guides' variable adds to `listen`.
    pub(crate) extra_listener: Option<Setting>,
}

impl Settings {
    /// What was typed for a setting, if anything.
    pub(crate) fn get(&self, key: &str) -> Option<&Setting> {
        self.by_key.get(key)
    }

    /// Lays file, variables and flags over each other; later ones win.
    pub(crate) fn gather(around: &Surroundings, flags: &[Flag]) -> (Self, Vec<ConfigError>) {
        let mut settings = Self::default();
        let mut errors = Vec::new();
        if let Some((path, text)) = &around.file {
            for (key, setting) in read_file(path, text, &mut errors) {
                settings.by_key.insert(key, setting);
            }
        }
        for key in KEYS {
            if let Some(setting) = from_variables(key, around) {
                settings.by_key.insert(key.name, setting);
            }
        }
        for flag in flags {
            settings.by_key.insert(flag.key, from_flag(flag));
        }
        settings.extra_listener = settings.extra_listener(around);
        (settings, errors)
    }

    /// The guides' second daemon had an address of its own; here it is one more address of the one server, unless
    /// somebody says exactly where to listen.
    fn extra_listener(&self, around: &Surroundings) -> Option<Setting> {
        let exact = match self.get("listen").map(|setting| &setting.source) {
            Some(Source::Flag(_)) => true,
            Some(Source::Variable(name)) => name == "REEVE_LISTEN",
            Some(Source::File { .. } | Source::Default) | None => false,
        };
        let value = around.variable(EXTRA_LISTENER).filter(|_| !exact)?;
        let source = Source::Variable(EXTRA_LISTENER.to_owned());
        Some(Setting { raw: Raw::One(value.to_owned()), source })
    }
}

fn from_flag(flag: &Flag) -> Setting {
    let list = super::keys::find(flag.key).is_some_and(|key| key.kind.is_list());
    let raw = match flag.values.as_slice() {
        [one] if !list => Raw::One(one.clone()),
        many => Raw::Many(many.iter().flat_map(|value| split(value)).collect()),
    };
    Setting { raw, source: Source::Flag(flag.flag) }
}

/// The setting's own variable, else the first alias. An empty variable counts as not set: compose files pass such on.
fn from_variables(key: &Key, around: &Surroundings) -> Option<Setting> {
    let own = key.variable();
    let names = std::iter::once(own.as_str()).chain(key.aliases.iter().copied());
    let Some((name, value)) = names.into_iter().find_map(|name| Some((name, around.variable(name)?))) else {
        return if key.name == "listen" { in_two_parts(around) } else { None };
    };
    let raw = match key.kind {
        Kind::TextList | Kind::PathList => Raw::Many(split(value)),
        _ if key.name.ends_with("_seconds") && name.ends_with("_MS") => Raw::One(in_seconds(value)),
        _ => Raw::One(value.to_owned()),
    };
    Some(Setting { raw, source: Source::Variable(name.to_owned()) })
}

/// The Aegis guide names host and port by themselves.
fn in_two_parts(around: &Surroundings) -> Option<Setting> {
    let (host, port) = (around.variable(LISTEN_HOST), around.variable(LISTEN_PORT));
    let source = Source::Variable(if host.is_some() { LISTEN_HOST } else { LISTEN_PORT }.to_owned());
    let usual = super::check::usual_address(around);
    let host = match host {
        None if port.is_none() => return None,
        None => usual.ip().to_string(),
        Some(host) if host.contains(':') && !host.starts_with('[') => format!("[{host}]"),
        Some(host) => host.to_owned(),
    };
    let port = port.map_or_else(|| usual.port().to_string(), str::to_owned);
    Some(Setting { raw: Raw::Many(vec![format!("{host}:{port}")]), source })
}

/// The Aegis guide counts milliseconds; begun seconds count. What is no number is left as it is, to be complained of as it
/// was typed.
fn in_seconds(milliseconds: &str) -> String {
    milliseconds.trim().parse::<u64>().map_or_else(|_| milliseconds.to_owned(), |ms| ms.div_ceil(1000).to_string())
}

fn split(value: &str) -> Vec<String> {
    value.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}
