//! Which functions only read.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use super::{GuardOptions, Name, Refused};

static ALLOWED: LazyLock<BTreeSet<&'static str>> = LazyLock::new(|| {
    include_str!("functions.txt").lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
});

/// Whether a function of `pg_catalog` is in the list.
pub(super) fn is_allowed(name: &str) -> bool {
    ALLOWED.contains(name)
}

/// Families that people may expect to work, each with the reason why it does not. A trailing `*` stands for anything.
/// The list explains; what is in neither list is refused all the same.
const UNSAFE: &[(&str, &str)] = &[
    ("pg_read_*", "reads files of the server"),
    ("pg_ls_*", "reads directories of the server"),
    ("pg_stat_file", "reads files of the server"),
    ("pg_file_*", "writes files of the server"),
    ("pg_hba_file_rules", "reads files of the server"),
    ("pg_ident_file_mappings", "reads files of the server"),
    ("pg_show_all_file_settings", "reads files of the server"),
    ("lo_*", "reads, writes or imports large objects and files"),
    ("loread", "works on large objects"),
    ("lowrite", "works on large objects"),
    ("pg_terminate_backend", "ends another session"),
    ("pg_cancel_backend", "cancels another session's statement"),
    ("pg_signal_*", "signals processes"),
    ("pg_log_*", "makes another process write to the log"),
    ("pg_reload_conf", "reloads the configuration"),
    ("pg_rotate_logfile*", "rotates the log"),
    ("pg_promote", "promotes a standby"),
    ("pg_wal_replay_*", "pauses or resumes replay"),
    ("pg_switch_wal", "switches the WAL segment"),
    ("pg_create_*", "creates a slot or restore point"),
    ("pg_drop_*", "drops a slot"),
    ("pg_copy_*", "copies a slot"),
    ("pg_replication_slot_advance", "moves a slot"),
    ("pg_replication_origin_*", "changes replication progress"),
    ("pg_logical_*", "consumes or writes logical changes"),
    ("pg_sync_replication_slots", "changes slots"),
    ("pg_backup_*", "starts or stops a backup"),
    ("pg_start_backup", "starts a backup"),
    ("pg_stop_backup", "stops a backup"),
    ("pg_export_snapshot", "holds back vacuum"),
    ("pg_sleep*", "only wastes time and a connection"),
    ("pg_advisory_*", "takes locks"),
    ("pg_try_advisory_*", "takes locks"),
    ("pg_notify", "sends notifications"),
    ("pg_stat_reset*", "throws away statistics"),
    ("pg_stat_statements_reset", "throws away statistics"),
    ("pg_stat_force_*", "changes statistics"),
    ("pg_stat_clear_snapshot", "changes what the session sees"),
    ("pg_clear_*", "throws away statistics"),
    ("pg_restore_*", "changes statistics"),
    ("pg_import_system_collations", "changes the catalog"),
    ("pg_extension_config_dump", "changes the catalog"),
    ("pg_nextoid", "assigns object ids"),
    ("pg_current_xact_id", "assigns a transaction id; pg_current_xact_id_if_assigned does not"),
    ("txid_current", "assigns a transaction id; txid_current_if_assigned does not"),
    ("binary_upgrade_*", "changes the catalog"),
    ("brin_*", "changes an index"),
    ("gin_clean_pending_list", "changes an index"),
    ("set_config", "changes settings of the session"),
    ("setseed", "changes the state of the session"),
    ("nextval", "advances a sequence"),
    ("setval", "sets a sequence"),
    ("currval", "depends on the session's writes"),
    ("lastval", "depends on the session's writes"),
    ("query_to_xml*", "runs SQL text that cannot be checked"),
    ("cursor_to_xml*", "runs SQL text that cannot be checked"),
    ("table_to_xml*", "runs SQL text that cannot be checked"),
    ("schema_to_xml*", "runs SQL text that cannot be checked"),
    ("database_to_xml*", "runs SQL text that cannot be checked"),
    ("ts_stat", "runs SQL text that cannot be checked"),
    ("ts_rewrite", "runs SQL text that cannot be checked"),
    ("dblink*", "acts on another system"),
    ("postgres_fdw_*", "acts on another system"),
    ("http*", "acts on another system"),
    ("pg_execute_*", "runs programs"),
    ("xpath_table", "runs SQL text that cannot be checked"),
    ("crosstab*", "runs SQL text that cannot be checked"),
    ("connectby", "runs SQL text that cannot be checked"),
];

fn unsafe_reason(name: &str) -> Option<&'static str> {
    let (_, reason) = UNSAFE.iter().find(|(pattern, _)| match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => *pattern == name,
    })?;
    Some(reason)
}

/// Whether a call is accepted.
pub(super) fn check(function: &Name, options: &GuardOptions) -> Result<(), Refused> {
    if options.allows(function) {
        return Ok(());
    }
    let builtin = matches!(function.schema.as_deref(), None | Some("pg_catalog"));
    if builtin && is_allowed(&function.name) {
        return Ok(());
    }
    let name = function.to_string();
    match unsafe_reason(&function.name) {
        Some(reason) => Err(Refused::UnsafeFunction { name, reason }),
        None => Err(Refused::UnknownFunction { name }),
    }
}

/// Catalogs that hold passwords or connection strings.
pub(super) fn is_secret_relation(name: &str) -> bool {
    matches!(
        name,
        "pg_authid"
            | "pg_shadow"
            | "pg_user_mapping"
            | "pg_user_mappings"
            | "pg_subscription"
            | "pg_file_settings"
            | "pg_hba_file_rules"
            | "pg_ident_file_mappings"
            | "pg_largeobject"
            | "user_mapping_options"
    )
}

/// Settings that hold passwords or connection strings.
pub(super) fn is_secret_setting(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    matches!(
        name.as_str(),
        "primary_conninfo" | "ssl_passphrase_command" | "archive_command" | "restore_command" | "all"
    ) || ["password", "secret", "token", "api_key", "apikey"].iter().any(|word| name.contains(word))
        && name != "password_encryption"
}
