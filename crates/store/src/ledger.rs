//! The store as the gate's ledger.

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use reeve_gate::{Admission, Entry, Expectation, Ledger, LedgerError, Recorded, ResumableAct};
use reeve_types::{ActionId, Digest};
use rusqlite::params;

use crate::{Store, StoreError, actions, approvals, micros};

fn unavailable(error: StoreError) -> LedgerError {
    LedgerError::Unavailable(error.chain())
}

impl Ledger for Store {
    fn record<'a>(
        &'a self,
        expect: Vec<Expectation>,
        mut entries: Vec<Entry>,
    ) -> BoxFuture<'a, Result<Vec<Recorded>, LedgerError>> {
        Box::pin(async move {
            if let Some(span) = self.spans.and_then(|here| here()) {
                for entry in &mut entries {
                    entry.event.span.get_or_insert_with(|| span.clone());
                }
            }
            self.writer.record(expect, entries).await
        })
    }

    fn find_act<'a>(&'a self, act_digest: Digest) -> BoxFuture<'a, Result<Admission, LedgerError>> {
        Box::pin(async move {
            let now = micros(self.clock.now());
            let found =
                self.read(move |db| actions::find_live(db, act_digest, now, false)).await.map_err(unavailable)?;
            Ok(found.map_or(Admission::New, |known| Admission::Known(Box::new(known))))
        })
    }

    fn action<'a>(&'a self, id: &'a ActionId) -> BoxFuture<'a, Result<Option<ResumableAct>, LedgerError>> {
        let id = id.clone();
        Box::pin(async move {
            self.read(move |db| {
                let Some(action) = actions::get(db, &id)? else { return Ok(None) };
                let approval = match &action.approval_id {
                    Some(approval_id) => approvals::get(db, approval_id)?,
                    None => None,
                };
                Ok(Some(ResumableAct { action, approval }))
            })
            .await
            .map_err(unavailable)
        })
    }

    fn collect<'a>(&'a self, id: &'a ActionId, at: Timestamp) -> BoxFuture<'a, Result<bool, LedgerError>> {
        let id = id.clone();
        Box::pin(async move {
            self.write(move |db| {
                let changed = db.execute(
                    "UPDATE actions SET collected_us = ?2 WHERE action_id = ?1 AND collected_us IS NULL",
                    params![id.as_str(), micros(at)],
                )?;
                Ok(changed == 1)
            })
            .await
            .map_err(unavailable)
        })
    }
}
