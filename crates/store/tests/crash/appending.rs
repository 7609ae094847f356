//! A child appends as fast as it can and says what it was answered; it is killed in the middle, again and again.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use reeve_gate::{Clock as _, Entry, Ledger as _, SystemClock};
use reeve_store::Store;
use reeve_types::{Event, EventType, TenantId};
use rusqlite::Connection;

/// How often a child is killed, and how often on the same directory.
const KILLS: usize = 200;
const KILLS_PER_DIRECTORY: usize = 20;

fn event() -> Entry {
    let tenant = TenantId::default_tenant();
    let now = SystemClock.now();
    let trace = "sys_crash".parse().unwrap();
    Event::new(EventType::ApprovalVote, tenant, trace, now, SystemClock.random()).into()
}

pub(crate) async fn child(dir: PathBuf) {
    let store = Store::open(&dir, Arc::new(SystemClock)).unwrap();
    let tasks = (0..8).map(|task| {
        let store = store.clone();
        tokio::spawn(async move {
            loop {
                let entries: Vec<Entry> = (0..=task % 3).map(|_| event()).collect();
                let ids: Vec<String> = entries.iter().map(|entry| entry.event.event_id.to_string()).collect();
                let places = store.record(vec![], entries).await.unwrap();
                let lines: String = places.iter().zip(ids).map(|(at, id)| format!("{} {id}\n", at.seq)).collect();
                // One write per answer, so that the parent never reads half a line that matters.
                let mut out = std::io::stdout().lock();
                out.write_all(lines.as_bytes()).and_then(|()| out.flush()).unwrap();
            }
        })
    });
    // They go on until they are killed; should one fail, so does the child.
    let tasks: Vec<_> = tasks.collect();
    futures_util::future::select_all(tasks).await.0.unwrap();
}

pub(crate) fn every_answered_record_survives_a_kill() {
    let (mut answered_in_all, mut kills) = (0, 0);
    while kills < KILLS {
        let dir = tempfile::tempdir().unwrap();
        let mut answered = Vec::new();
        for _ in 0..KILLS_PER_DIRECTORY {
            answered.extend(append_and_kill(dir.path()));
            kills += 1;
            check(dir.path(), &answered);
        }
        answered_in_all += answered.len();
    }
    assert!(answered_in_all > KILLS, "the children hardly came to append: {answered_in_all} records");
}

/// What the child had been answered when it was killed.
fn append_and_kill(dir: &Path) -> Vec<(u64, String)> {
    let mut running = super::child("append", dir, &[]).stdout(Stdio::piped()).spawn().unwrap();
    let mut out = running.stdout.take().unwrap();
    let mut text = vec![0u8; 1];
    // The first answer shows that it is appending; from there on the moment of the kill is left to chance.
    out.read_exact(&mut text).unwrap();
    std::thread::sleep(Duration::from_micros(u64::from(rand::random::<u16>()) / 4));
    running.kill().unwrap();
    running.wait().unwrap();
    out.read_to_end(&mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole
        .lines()
        .map(|line| line.split_once(' ').map(|(seq, id)| (seq.parse().unwrap(), id.to_owned())).unwrap())
        .collect()
}

fn check(dir: &Path, answered: &[(u64, String)]) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let size = runtime.block_on(async {
        let store = Store::open(dir, Arc::new(SystemClock)).unwrap();
        let stored = store.records_from(0, usize::MAX).await.unwrap();
        for (at, record) in stored.iter().enumerate() {
            assert_eq!(record.seq, at as u64, "the sequence is whole");
        }
        for (seq, id) in answered {
            let found = stored.get(usize::try_from(*seq).unwrap()).map(|record| record.event.event_id.as_str());
            assert_eq!(found, Some(id.as_str()), "record {seq} was answered and is not there");
        }
        let verdict = store.verify_audit(vec![], vec![], |_| {}).await.unwrap();
        assert!(verdict.valid, "{verdict:?}");
        store.close().await;
        stored.len()
    });
    let db = Connection::open(dir.join("reeve.db")).unwrap();
    let applied: String = db.query_row("SELECT value FROM meta WHERE name = 'applied'", [], |row| row.get(0)).unwrap();
    assert_eq!(applied, size.to_string(), "the state has seen every record");
}
