//! Replication slots that keep WAL or old rows for nobody.

use reeve_types::{Finding, Severity};
use serde_json::json;

use crate::draft::{self, Draft};
use crate::evidence::Slot;
use crate::{EvidenceSet, Thresholds, words};

/// Slots that are inactive, lost, or keep too much.
pub(super) fn slots(evidence: &EvidenceSet, thresholds: &Thresholds) -> Vec<Finding> {
    evidence.slots.iter().flatten().filter_map(|slot| judge(evidence, slot, thresholds)).collect()
}

fn judge(evidence: &EvidenceSet, slot: &Slot, thresholds: &Thresholds) -> Option<Finding> {
    let status = slot.wal_status.as_deref().unwrap_or("reserved");
    let retained = slot.retained_bytes.unwrap_or(0);
    if status == "lost" {
        return Some(lost(slot));
    }
    let critical = status == "unreserved" || retained >= thresholds.slot_retained_critical_bytes;
    match (slot.active, critical) {
        (false, true) => Some(stale(evidence, slot, retained, Severity::Critical)),
        (false, false) if slot.temporary => None,
        (false, false) if retained >= thresholds.slot_retained_bytes => {
            Some(stale(evidence, slot, retained, Severity::Warning))
        }
        (false, false) => Some(stale(evidence, slot, retained, Severity::Info)),
        (true, true) => Some(slow(slot, retained)),
        (true, false) => None,
    }
}

fn lost(slot: &Slot) -> Finding {
    Draft::new("slot_lost", Severity::Critical, format!("replication slot {} has lost its WAL", slot.name))
        .cause(
            "It fell behind further than max_slot_wal_keep_size allows, and the WAL it needs is gone. Its standby or \
             subscriber cannot go on and must be built anew.",
        )
        .data("wal_status is lost", "pg_replication_slots", json!(slot))
        .remedy(draft::drop_slot(&slot.name, "it is of no use any more; build its consumer anew with a new slot"))
        .done()
}

fn stale(evidence: &EvidenceSet, slot: &Slot, retained: i64, severity: Severity) -> Finding {
    let since = slot.inactive_secs.map(|secs| format!(" for {}", words::duration(secs))).unwrap_or_default();
    let limit = match evidence.setting("max_slot_wal_keep_size") {
        Some("-1") | None => {
            "max_slot_wal_keep_size is unlimited, so it will keep WAL until the disk is full and the server stops"
                .to_owned()
        }
        Some(mb) => format!("max_slot_wal_keep_size ({mb} MB) bounds it; beyond that the slot is lost"),
    };
    let rows = match slot.xmin_age.max(slot.catalog_xmin_age) {
        Some(age) if age > 0 => {
            format!(" It also keeps rows of the last {} transactions from vacuum.", words::count(age))
        }
        _ => String::new(),
    };
    let draft = Draft::new(
        "stale_replication_slot",
        severity,
        format!("replication slot {} is inactive{since} and keeps {} of WAL", slot.name, words::bytes(retained)),
    )
    .cause(format!(
        "Nobody reads from {} slot {}, so the server keeps all WAL since its last reader; {limit}.{rows}",
        slot.kind, slot.name
    ))
    .data(
        format!(
            "active is false, {} retained, wal_status {}",
            words::bytes(retained),
            slot.wal_status.as_deref().unwrap_or("unknown")
        ),
        "pg_replication_slots",
        json!(slot),
    );
    let draft = match severity {
        Severity::Info => draft,
        _ => draft.remedy(draft::drop_slot(
            &slot.name,
            "frees the WAL at the next checkpoint; its standby or subscriber must be built anew if it still exists. Bring that \
             back instead, if it can be",
        )),
    };
    draft.advice("Set max_slot_wal_keep_size so that a forgotten slot cannot fill the disk.").done()
}

fn slow(slot: &Slot, retained: i64) -> Finding {
    Draft::new(
        "slow_replication_slot",
        Severity::Warning,
        format!("the reader of slot {} is {} of WAL behind", slot.name, words::bytes(retained)),
    )
    .cause("Somebody reads from the slot, but slower than WAL is written; the WAL it has not confirmed is kept on disk.")
    .data(format!("active, {} retained", words::bytes(retained)), "pg_replication_slots", json!(slot))
    .advice("Look at the consumer: a logical subscriber that fails on one row reads the same WAL again and again; its log says so.")
    .done()
}
