//! What people ask about, in their words, and which checks answer it.
//!
//! Each topic is the entry point of a triage playbook: its symptoms are the sentences by which a question is recognised,
//! its tools are what is looked at, its findings are those parts of a diagnosis that answer the question.

/// Something people ask about.
#[derive(Debug)]
pub struct Topic {
    /// The playbook series it enters.
    pub playbook: &'static str,
    /// One word for records and answers.
    pub category: &'static str,
    /// What it is called in an answer.
    pub title: &'static str,
    /// Sentences by which it is recognised.
    pub symptoms: &'static [&'static str],
    /// Tools that are run besides the diagnosis.
    pub tools: &'static [&'static str],
    /// Parts of finding codes that belong to it; empty means every finding.
    pub findings: &'static [&'static str],
}

/// Every topic.
pub const TOPICS: &[Topic] = &[
    Topic {
        playbook: "pbs_connection_triage",
        category: "connections",
        title: "connections",
        symptoms: &[
            "too many connections",
            "too many clients already",
            "remaining connection slots are reserved",
            "connection slots exhausted",
            "connections running out",
            "cannot get a connection from the pool",
            "how many connections are open",
            "connection limit reached",
            "idle connections pile up",
        ],
        tools: &["get_connection_stats"],
        findings: &["connection", "idle_in_transaction"],
    },
    Topic {
        playbook: "pbs_lock_contention_triage",
        category: "locks",
        title: "locks and blocked sessions",
        symptoms: &[
            "queries are blocked",
            "who is blocking whom",
            "what is blocking",
            "blocking sessions",
            "sessions waiting for locks",
            "waiting for a lock",
            "lock contention",
            "deadlock detected",
            "update hangs",
            "transaction stuck hanging",
            "table is locked",
            "idle in transaction",
            "uncommitted transaction",
        ],
        tools: &["get_blocking_queries"],
        findings: &["lock", "idle_in_transaction", "prepared_transaction", "long_"],
    },
    Topic {
        playbook: "pbs_slow_query_triage",
        category: "slow_queries",
        title: "slow statements",
        symptoms: &[
            "queries are slow",
            "database is slow",
            "slow queries",
            "statement takes forever",
            "response times went up",
            "performance has degraded",
            "long running query",
            "what is running right now",
            "high load",
        ],
        tools: &["get_active_connections", "get_slow_queries"],
        findings: &["lock", "long_", "query", "cache", "statistics", "index", "io_", "temp", "wait"],
    },
    Topic {
        playbook: "pbs_vacuum_triage",
        category: "vacuum",
        title: "vacuum, bloat and wraparound",
        symptoms: &[
            "dead tuples pile up",
            "dead rows",
            "table bloat",
            "vacuum needed",
            "autovacuum not keeping running",
            "tables need vacuum",
            "transaction wraparound",
            "database must be vacuumed",
        ],
        tools: &["get_vacuum_status"],
        findings: &["vacuum", "bloat", "wraparound", "xid", "statistics", "long_", "prepared_transaction"],
    },
    Topic {
        playbook: "pbs_cache_miss_triage",
        category: "cache",
        title: "cache and temporary files",
        symptoms: &[
            "cache miss ratio",
            "cache hit ratio dropped",
            "shared buffers small",
            "temporary files spill",
            "disk reads high",
        ],
        tools: &["get_database_stats"],
        findings: &["cache", "temp", "io_"],
    },
    Topic {
        playbook: "pbs_checkpoint_bgwriter_triage",
        category: "checkpoints",
        title: "checkpoints and background writing",
        symptoms: &[
            "checkpoints occurring too frequently",
            "checkpoint storm",
            "background writer",
            "backends write buffers",
        ],
        tools: &["get_bgwriter_stats"],
        findings: &["checkpoint", "bgwriter", "wal"],
    },
    Topic {
        playbook: "pbs_replication_lag",
        category: "replication",
        title: "replication",
        symptoms: &[
            "replication lag",
            "replica is behind",
            "standby lagging behind",
            "replica shows stale data",
            "replay paused",
            "standby disconnected",
            "replication status",
            "replication broken stopped",
        ],
        tools: &["get_replication_status"],
        findings: &["replication", "standby", "replay", "slot", "role"],
    },
    Topic {
        playbook: "pbs_wal_stale_slot",
        category: "wal",
        title: "write-ahead log, archiving and slots",
        symptoms: &[
            "pg_wal keeps growing",
            "wal directory growing",
            "inactive replication slot",
            "stale slot retains",
            "archive command failing",
            "archiver failing",
        ],
        tools: &["get_replication_status"],
        findings: &["wal", "slot", "archiv"],
    },
    Topic {
        playbook: "pbs_disk_pressure_triage",
        category: "disk",
        title: "disk usage",
        symptoms: &[
            "disk usage",
            "disk full",
            "disk space running out",
            "space left on device",
            "largest tables",
            "biggest tables",
            "database size growing",
            "what uses space",
        ],
        tools: &["get_disk_usage"],
        findings: &["disk", "bloat", "wal", "slot", "temp", "index"],
    },
    Topic {
        playbook: "pbs_auth_failure_triage",
        category: "access",
        title: "reaching and entering the database",
        symptoms: &[
            "password authentication failed",
            "cannot connect",
            "connection refused",
            "login fails",
            "no pg_hba.conf entry",
            "certificate verify failed",
            "database does not exist",
            "database is down",
            "role does not exist",
            "database unreachable timeout",
        ],
        tools: &["check_connection"],
        findings: &[
            "connect", "auth", "refused", "hba", "tls", "dns", "host", "timeout", "missing", "role", "socket",
            "starting", "shutting",
        ],
    },
    Topic {
        playbook: "pbs_config_review",
        category: "settings",
        title: "settings",
        symptoms: &[
            "changed settings",
            "configuration parameters",
            "unsafe settings",
            "settings review",
            "which settings differ",
        ],
        tools: &["get_pg_settings"],
        findings: &["setting", "fsync", "autovacuum", "checksum"],
    },
    Topic {
        playbook: "pbs_index_review",
        category: "indexes",
        title: "indexes",
        symptoms: &["missing indexes", "unused indexes", "index invalid broken", "duplicate indexes", "index review"],
        tools: &["get_table_stats"],
        findings: &["index"],
    },
    Topic {
        playbook: "pbs_server_facts",
        category: "facts",
        title: "the server",
        symptoms: &[
            "server version",
            "postgres version",
            "server uptime",
            "which version running",
            "server info information",
        ],
        tools: &["get_server_info"],
        findings: &["nothing"],
    },
    Topic {
        playbook: "pbs_health_review",
        category: "health",
        title: "general health",
        symptoms: &[
            "what is wrong",
            "anything wrong",
            "health check",
            "check health",
            "diagnose the database",
            "is everything alright fine",
            "give me an overview status",
        ],
        tools: &["get_status_summary"],
        findings: &[],
    },
];

/// How sure a match must be.
const SCORE_MIN: f64 = 0.6;
/// By how much it must beat the next topic.
const LEAD_MIN: f64 = 0.15;
/// Shortest word that counts, in characters.
const WORD_CHARS_MIN: usize = 4;
/// How many words of a symptom must be found.
const WORDS_MIN: usize = 2;

/// How a question matched.
#[derive(Debug, Clone, Copy)]
pub struct Match {
    /// The topic.
    pub topic: &'static Topic,
    /// From 0 to 1.
    pub score: f64,
    /// The symptom that matched best.
    pub symptom: &'static str,
}

/// The words of a text that count: lower case, letters and digits, at least four characters, each once.
fn words(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for word in text.to_lowercase().split(|c: char| !c.is_alphanumeric()) {
        if word.chars().count() >= WORD_CHARS_MIN && !found.iter().any(|known| known == word) {
            found.push(word.to_owned());
        }
    }
    found
}

fn score(question: &str, symptom: &str) -> f64 {
    let words = words(symptom);
    let matched = words.iter().filter(|word| question.contains(word.as_str())).count();
    if matched < WORDS_MIN.min(words.len()) || words.is_empty() {
        return 0.0;
    }
    // A symptom of a single long word needs that word.
    f64::from(u32::try_from(matched).unwrap_or(0)) / f64::from(u32::try_from(words.len()).unwrap_or(1))
}

/// Every topic that a question could mean, the best first.
pub fn matches(question: &str) -> Vec<Match> {
    let question = question.to_lowercase();
    let mut found: Vec<Match> = TOPICS
        .iter()
        .filter_map(|topic| {
            let best = topic.symptoms.iter().map(|symptom| (score(&question, symptom), *symptom));
            let (score, symptom) = best.max_by(|a, b| a.0.total_cmp(&b.0))?;
            (score > 0.0).then_some(Match { topic, score, symptom })
        })
        .collect();
    found.sort_by(|a, b| b.score.total_cmp(&a.score));
    found
}

/// The one topic that a question means, when it is sure enough and no other is nearly as likely.
pub fn choose(found: &[Match]) -> Option<Match> {
    let best = found.first()?;
    let next = found.get(1).map_or(0.0, |m| m.score);
    (best.score >= SCORE_MIN && best.score - next >= LEAD_MIN).then_some(*best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_find_their_topic() {
        let table = [
            ("Why are there too many connections on prod?", "connections"),
            ("which sessions are blocking others, who is blocking whom?", "locks"),
            ("deadlock detected in the logs", "locks"),
            ("the replica is lagging behind, what is the replication lag?", "replication"),
            ("dead tuples pile up in orders", "vacuum"),
            ("pg_wal keeps growing and growing", "wal"),
            ("password authentication failed for user app", "access"),
            ("what are the largest tables?", "disk"),
            ("which postgres version is it?", "facts"),
        ];
        for (question, category) in table {
            let chosen = choose(&matches(question)).unwrap_or_else(|| panic!("{question}: {:?}", matches(question)));
            assert_eq!(chosen.topic.category, category, "{question}");
        }
    }

    #[test]
    fn small_talk_finds_none() {
        assert!(choose(&matches("hello there, how is the weather today?")).is_none());
    }
}
