//! Standbys, slots and the archiver.

use std::time::Duration;

use reeve_postgres::evidence::DiagnoseOptions;
use reeve_testkit::postgres::{PostgresServer, StopMode};
use reeve_types::Severity;

use super::{durable, find, look_now, until_found, with_thresholds};

const MB: i64 = 1024 * 1024;

#[tokio::test]
async fn a_paused_standby_is_named_on_both_sides() {
    let primary = durable().start();
    let standby = primary.standby();
    primary.psql("CREATE TABLE t AS SELECT 1 AS x");
    primary.wait_for(&standby);
    standby.psql("SELECT pg_wal_replay_pause()");
    primary.psql("INSERT INTO t SELECT generate_series(1, 50000)");
    assert!(received(&primary).await, "the standby receives what the primary sends");

    let options = with_thresholds(|t| t.replication_lag_bytes = MB);
    let (lag, _) = until_found(&primary, &options, "replication_lag").await;
    assert!(lag.cause.contains("replay is paused there"), "{}", lag.cause);

    let (paused, diagnosis) = until_found(&standby, &options, "wal_replay_paused").await;
    assert_eq!(paused.remedies[0].tool, "resume_wal_replay");
    assert!(paused.remedies[0].reversible);
    let lag = find(&diagnosis, "replication_lag").unwrap_or_else(|| panic!("{diagnosis:#?}"));
    assert_eq!(lag.explained_by.as_deref(), Some("wal_replay_paused"));
    let place = |code: &str| diagnosis.findings.iter().position(|finding| finding.code == code);
    assert!(place("wal_replay_paused") < place("replication_lag"), "the cause comes first");
    assert!(find(&diagnosis, "standby").is_some());

    standby.psql("SELECT pg_wal_replay_resume()");
    primary.wait_for(&standby);
    let calm = look_now(&standby).await;
    assert!(calm.findings.iter().all(|finding| finding.severity == Severity::Info), "{calm:#?}");
}

/// Waits until the standby has everything on its disk, so that only replay can be what lags.
async fn received(primary: &PostgresServer) -> bool {
    let all_there = "SELECT coalesce(bool_and(flush_lsn >= pg_current_wal_lsn()), false) FROM pg_stat_replication";
    for _ in 0..1000 {
        if primary.psql(all_there) == "t" {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    false
}

#[tokio::test]
async fn a_standby_without_its_primary_says_so() {
    let mut primary = durable().start();
    let standby = primary.standby();
    primary.wait_for(&standby);
    primary.stop(StopMode::Immediate);
    let (finding, _) = until_found(&standby, &DiagnoseOptions::default(), "standby_disconnected").await;
    assert_eq!(finding.title, "this standby is not connected to its primary");
}

#[tokio::test]
async fn an_inactive_slot_that_keeps_wal_can_be_dropped() {
    let server = durable().start();
    server.psql("SELECT pg_create_physical_replication_slot('old_standby', true)");
    server.psql("CREATE TABLE t AS SELECT generate_series(1, 300000) AS x");
    let (finding, _) = until_found(&server, &DiagnoseOptions::default(), "stale_replication_slot").await;
    assert_eq!(finding.severity, Severity::Warning);
    // Since when it is inactive is known from 17 on.
    let since = if server.major_version() >= 17 { " for " } else { " and keeps " };
    let title = format!("replication slot old_standby is inactive{since}");
    assert!(finding.title.starts_with(&title), "{}", finding.title);
    assert!(finding.cause.contains("max_slot_wal_keep_size is unlimited"), "{}", finding.cause);
    assert_eq!(finding.remedies[0].tool, "drop_replication_slot");
    assert_eq!(finding.remedies[0].arguments["slot_name"], "old_standby");
}

#[tokio::test]
async fn a_failing_archiver_explains_the_wal_that_piles_up() {
    let server = durable()
        .setting("archive_mode", "on")
        .setting("archive_command", "/bin/false")
        .setting("min_wal_size", "32MB")
        .start();
    server.psql("CREATE TABLE t (x int)");
    for _ in 0..3 {
        server.psql("INSERT INTO t VALUES (1); SELECT pg_switch_wal()");
    }
    let options = with_thresholds(|t| {
        t.wal_over_max = 0.1;
        t.wal_bytes_min = 0;
    });
    let (finding, diagnosis) = until_found(&server, &options, "archiver_failing").await;
    assert!(finding.cause.contains("archive_command /bin/false fails"), "{}", finding.cause);
    let retention = find(&diagnosis, "wal_retention").unwrap_or_else(|| panic!("{diagnosis:#?}"));
    assert_eq!(retention.explained_by.as_deref(), Some("archiver_failing"));
}
