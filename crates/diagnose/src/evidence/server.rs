//! The server itself: version, role, settings.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Version, role and what the looking role may see.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Server {
    /// `server_version_num`: 150018 for 15.18.
    pub version_num: i32,
    /// `15.18`.
    pub version: String,
    /// Since the postmaster started.
    pub uptime_secs: f64,
    /// Since the configuration was loaded last.
    pub config_loaded_secs: f64,
    /// Whether it is a standby or recovers from a crash.
    pub in_recovery: bool,
    /// The database that was connected to; per-database checks speak of it alone.
    pub database: String,
    /// The role that looked.
    pub user: String,
    /// Whether that role is a superuser.
    pub superuser: bool,
    /// Whether it sees the sessions of others (`pg_read_all_stats`, part of `pg_monitor`).
    pub reads_all_stats: bool,
    /// Whether it may end sessions of others (`pg_signal_backend` or superuser).
    pub may_signal: bool,
    /// Since the counters of the connected database began: their last reset, or the making of the cluster.
    pub stats_reset_secs: Option<f64>,
    /// What makes transactions read-only by default: `ALTER DATABASE`, `ALTER ROLE`, `configuration file`. Not read from
    /// the setting itself, for whoever looks does so in a read-only session.
    pub read_only_by: Option<String>,
    /// The schema of `pg_stat_statements`, when it is installed.
    pub statements_schema: Option<String>,
}

impl Server {
    /// For how long the counters of the connected database have counted.
    pub fn counting_secs(&self) -> f64 {
        self.stats_reset_secs.unwrap_or(self.uptime_secs)
    }
}

/// One setting.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Setting {
    /// The value in its unit, as `pg_settings.setting` gives it.
    pub value: String,
    /// `kB`, `8kB`, `s`, `ms`, … or empty.
    pub unit: Option<String>,
    /// Where it comes from: `default`, `configuration file`, …
    pub source: String,
    /// What it is when nobody sets it.
    pub boot_value: Option<String>,
    /// Whether a changed value waits for a restart.
    pub pending_restart: bool,
}

/// Settings by name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Settings(pub BTreeMap<String, Setting>);

impl Settings {
    /// The value of a setting.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|setting| setting.value.as_str())
    }
}

/// A line of a configuration file that the server cannot take.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ConfigError {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: Option<i64>,
    /// The setting, when it is one.
    pub name: Option<String>,
    /// What is wrong, in the server's words.
    pub error: String,
}
