//! Filters, cursors, the live stream, and that no query of one tenant sees another.

use std::collections::BTreeSet;
use std::time::Duration;

use reeve_gate::Ledger as _;
use reeve_store::{ActionFilter, ApprovalFilter, Claim, EventFilter, JourneyFilter, NewKey, NewToolResult, NewUpload};
use reeve_types::{ApprovalStatus, EventType, KeyId, PrincipalKind, TenantId};
use serde_json::json;

use crate::support::{Story, event, open, record, tenant};

#[tokio::test]
async fn pages_cover_every_record_once_in_both_directions() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (ours, theirs) = (tenant("ours"), tenant("theirs"));
    for n in 0..50 {
        let who = if n % 3 == 0 { &theirs } else { &ours };
        record(&store, event(EventType::Lifecycle, who, &format!("tr_{}", n % 5))).await;
    }
    for ascending in [false, true] {
        let (mut beyond, mut seen) = (None, Vec::new());
        loop {
            let filter = EventFilter { beyond, limit: 7, ascending, ..EventFilter::default() };
            let page = store.events(&ours, filter).await.unwrap();
            seen.extend(page.events.iter().map(|stored| stored.seq));
            beyond = page.next;
            if beyond.is_none() {
                break;
            }
        }
        let mut wanted: Vec<u64> = (0..50).filter(|n| n % 3 != 0).collect();
        if !ascending {
            wanted.reverse();
        }
        assert_eq!(seen, wanted);
    }
    let one = EventFilter { trace_id: Some("tr_2".to_owned()), limit: 100, ..EventFilter::default() };
    assert_eq!(store.events(&ours, one).await.unwrap().events.len(), 7);
    let huge = EventFilter { limit: usize::MAX, ..EventFilter::default() };
    assert_eq!(store.events(&theirs, huge).await.unwrap().events.len(), 17);
}

#[tokio::test]
async fn filters_name_what_they_say() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let ours = tenant("ours");
    let story = Story::new(&ours, "change", jiff::Timestamp::now());
    record(&store, story.asked()).await;
    record(&store, story.resolved(ApprovalStatus::Approved)).await;
    record(&store, story.begun()).await;
    record(&store, story.ended("success", "gone")).await;
    let count = |filter: EventFilter| {
        let (store, ours) = (store.clone(), ours.clone());
        async move { store.events(&ours, EventFilter { limit: 100, ..filter }).await.unwrap().events.len() }
    };
    let none = EventFilter::default;
    assert_eq!(count(none()).await, 4);
    let types = vec![EventType::EffectIntent, EventType::ToolExecution];
    assert_eq!(count(EventFilter { types, ..none() }).await, 2);
    assert_eq!(count(EventFilter { outcome_status: Some("success".to_owned()), ..none() }).await, 1);
    assert_eq!(count(EventFilter { tool_name: Some("change".to_owned()), ..none() }).await, 4);
    assert_eq!(count(EventFilter { tool_name: Some("other".to_owned()), ..none() }).await, 0);
    assert_eq!(count(EventFilter { action_class: Some("read".to_owned()), ..none() }).await, 0);
    assert_eq!(count(EventFilter { trace_id_prefix: Some("dt_".to_owned()), ..none() }).await, 4);
    assert_eq!(count(EventFilter { trace_id_prefix: Some("tr_".to_owned()), ..none() }).await, 0);
    let later = jiff::Timestamp::now().checked_add(Duration::from_secs(60)).unwrap();
    assert_eq!(count(EventFilter { since: Some(later), ..none() }).await, 0);
}

#[tokio::test]
async fn no_query_of_one_tenant_sees_another() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (ours, theirs) = (tenant("ours"), tenant("theirs"));
    let now = jiff::Timestamp::now();
    let story = Story::new(&theirs, "change", now);
    let asked = story.asked();
    let (event_id, trace) = (asked.event_id.clone(), asked.trace_id.to_string());
    record(&store, asked).await;
    let key_id = KeyId::new(now, 1);
    let key = NewKey {
        key_id: key_id.clone(),
        tenant: theirs.clone(),
        kind: PrincipalKind::User,
        principal: "bob".to_owned(),
        roles: BTreeSet::new(),
        note: String::new(),
        hash: "00".to_owned(),
        created_at: now,
    };
    store.add_key(key).await.unwrap();
    let result = NewToolResult {
        result_id: "res_1".to_owned(),
        server_name: "orders".to_owned(),
        tool_name: "look".to_owned(),
        tool_args: json!({}),
        output: "secret".to_owned(),
        trace_id: trace.clone(),
        recorded_by: "bob".to_owned(),
        success: true,
    };
    store.keep_result(&theirs, result, now).await.unwrap();
    let expires_at = now.checked_add(Duration::from_secs(60)).unwrap();
    let upload =
        NewUpload { upload_id: "ul_1".to_owned(), filename: "f".to_owned(), content: b"secret".to_vec(), expires_at };
    store.keep_upload(&theirs, upload, now).await.unwrap();
    store.claim(&theirs, "user:bob", "k", "d".to_owned(), now).await.unwrap();
    store.answer_claim(&theirs, "user:bob", "k", 200, "secret".to_owned()).await.unwrap();

    for (who, there) in [(&theirs, true), (&ours, false)] {
        let found = [
            store.event(who, &event_id).await.unwrap().is_some(),
            !store.events(who, EventFilter { limit: 9, ..EventFilter::default() }).await.unwrap().events.is_empty(),
            !store
                .journey_records(
                    who,
                    JourneyFilter { trace_id: Some(trace.clone()), limit: 9, ..JourneyFilter::default() },
                )
                .await
                .unwrap()
                .concat()
                .is_empty(),
            !store
                .journey_records(who, JourneyFilter { limit: 9, ..JourneyFilter::default() })
                .await
                .unwrap()
                .is_empty(),
            store.approval(who, &story.approval.approval_id).await.unwrap().is_some(),
            !store
                .approvals(who, ApprovalFilter { limit: 9, ..ApprovalFilter::default() }, now)
                .await
                .unwrap()
                .is_empty(),
            store.action_of(who, &story.approval.action_id).await.unwrap().is_some(),
            !store.actions(who, ActionFilter { limit: 9, ..ActionFilter::default() }).await.unwrap().is_empty(),
            !store.keys(who).await.unwrap().is_empty(),
            !store.results(who, None, None, None, 9).await.unwrap().is_empty(),
            store.upload(who, "ul_1", now).await.unwrap().is_some(),
            store.claim(who, "user:bob", "k", "d".to_owned(), now).await.unwrap() != Claim::Fresh,
        ];
        assert_eq!(found, [there; 12], "{who}");
    }
    assert!(!store.revoke_key(&ours, &key_id, now).await.unwrap());
    assert!(store.key(&key_id).await.unwrap().unwrap().revoked_at.is_none());
    assert!(store.revoke_key(&theirs, &key_id, now).await.unwrap());
    assert!(!store.revoke_key(&theirs, &key_id, now).await.unwrap(), "once");
}

#[tokio::test]
async fn approvals_are_found_by_how_they_stand_at_a_moment() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let ours = tenant("ours");
    let now = jiff::Timestamp::now();
    let (open_one, settled) = (Story::new(&ours, "change", now), Story::new(&ours, "change", now));
    record(&store, open_one.asked()).await;
    record(&store, settled.asked()).await;
    record(&store, settled.resolved(ApprovalStatus::Denied)).await;
    let after = open_one.approval.expires_at;
    let ids = |status, at| {
        let (store, ours) = (store.clone(), ours.clone());
        async move {
            let filter = ApprovalFilter { status: Some(status), limit: 9, ..ApprovalFilter::default() };
            let found = store.approvals(&ours, filter, at).await.unwrap();
            found.into_iter().map(|approval| approval.approval_id).collect::<Vec<_>>()
        }
    };
    assert_eq!(ids(ApprovalStatus::Pending, now).await, std::slice::from_ref(&open_one.approval.approval_id));
    assert_eq!(ids(ApprovalStatus::Expired, now).await, []);
    assert_eq!(ids(ApprovalStatus::Pending, after).await, []);
    assert_eq!(ids(ApprovalStatus::Expired, after).await, std::slice::from_ref(&open_one.approval.approval_id));
    assert_eq!(ids(ApprovalStatus::Denied, now).await, std::slice::from_ref(&settled.approval.approval_id));
    assert_eq!(store.next_expiry().await.unwrap().map(|at| at.as_microsecond()), Some(after.as_microsecond()));
    for by in ["user:alice", "alice"] {
        let filter = ApprovalFilter { requested_by: Some(by.to_owned()), limit: 9, ..ApprovalFilter::default() };
        assert_eq!(store.approvals(&ours, filter, now).await.unwrap().len(), 2, "{by}");
    }
    let filter = ApprovalFilter { requested_by: Some("lice".to_owned()), limit: 9, ..ApprovalFilter::default() };
    assert_eq!(store.approvals(&ours, filter, now).await.unwrap().len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_live_stream_is_in_order_and_whole_with_what_the_log_adds() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut live = store.subscribe();
    let tasks = (0..16).map(|_| {
        let store = store.clone();
        tokio::spawn(async move {
            for _ in 0..40 {
                let two = (0..2).map(|_| event(EventType::Lifecycle, &TenantId::default_tenant(), "sys").into());
                let places = store.record(vec![], two.collect()).await.unwrap();
                assert_eq!(places[1].seq, places[0].seq + 1, "what comes together stays together");
                // Whoever has been answered finds it.
                assert_eq!(store.records_from(places[0].seq, 1).await.unwrap()[0].seq, places[0].seq);
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    for wanted in 0..1280 {
        let record = live.recv().await.unwrap();
        assert_eq!(record.seq, wanted);
    }
    let stored = store.records_from(0, 2000).await.unwrap();
    assert_eq!(stored.len(), 1280);
    assert!(stored.iter().enumerate().all(|(at, record)| record.seq == at as u64));
}

#[tokio::test]
async fn an_idempotency_key_stands_for_one_request_for_a_day() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (ours, now) = (tenant("ours"), jiff::Timestamp::now());
    let claim = |digest: &str, at| {
        let (store, ours, digest) = (store.clone(), ours.clone(), digest.to_owned());
        async move { store.claim(&ours, "user:bob", "k", digest, at).await.unwrap() }
    };
    assert_eq!(claim("a", now).await, Claim::Fresh);
    assert_eq!(claim("a", now).await, Claim::InProgress);
    assert_eq!(claim("b", now).await, Claim::Mismatch);
    store.answer_claim(&ours, "user:bob", "k", 201, "{}".to_owned()).await.unwrap();
    assert_eq!(claim("a", now).await, Claim::Answered { status: 201, body: "{}".to_owned() });
    let next_day = now.checked_add(Duration::from_secs(24 * 3600 + 1)).unwrap();
    assert_eq!(claim("b", next_day).await, Claim::Fresh);
}

#[tokio::test]
async fn a_result_is_collected_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let story = Story::new(&tenant("ours"), "change", jiff::Timestamp::now());
    record(&store, story.asked()).await;
    let id = &story.approval.action_id;
    let now = jiff::Timestamp::now();
    assert!(store.collect(id, now).await.unwrap());
    assert!(!store.collect(id, now).await.unwrap());
}
