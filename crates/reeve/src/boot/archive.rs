//! The store as the database tools' archive.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use reeve_gate::{Clock, SystemClock, ToolCall, masked_arguments};
use reeve_postgres::tools::{Archive, Snapshot, SnapshotQuery, Upload};
use reeve_store::{NewToolResult, Store};
use reeve_types::{Principal, ToolOutput};
use serde_json::Value;

pub(super) struct StoreArchive {
    store: Store,
    clock: Arc<dyn Clock>,
}

impl StoreArchive {
    pub(super) fn new(store: Store) -> Self {
        Self { store, clock: Arc::new(SystemClock) }
    }
}

impl Archive for StoreArchive {
    fn snapshots<'a>(
        &'a self,
        principal: &'a Principal,
        query: SnapshotQuery,
    ) -> BoxFuture<'a, Result<Vec<Snapshot>, String>> {
        Box::pin(async move {
            let kept = self
                .store
                .results(&principal.tenant, Some(query.tool_name), query.server_name, Some(query.since), query.limit)
                .await
                .map_err(|error| error.chain())?;
            Ok(kept
                .into_iter()
                .map(|result| Snapshot {
                    result_id: result.result_id,
                    server_name: result.server_name,
                    tool_name: result.tool_name,
                    recorded_at: result.recorded_at,
                    success: result.success,
                    output: result.output,
                })
                .collect())
        })
    }

    fn upload<'a>(
        &'a self,
        principal: &'a Principal,
        upload_id: &'a str,
    ) -> BoxFuture<'a, Result<Option<Upload>, String>> {
        Box::pin(async move {
            let found = self.store.upload(&principal.tenant, upload_id, self.clock.now()).await;
            let found = found.map_err(|error| error.chain())?;
            Ok(found.map(|kept| Upload {
                filename: kept.filename,
                uploaded_at: kept.uploaded_at,
                content: kept.content,
            }))
        })
    }

    fn save<'a>(&'a self, call: &'a ToolCall, output: &'a ToolOutput) -> BoxFuture<'a, Result<String, String>> {
        Box::pin(async move {
            let now = self.clock.now();
            let unique = reeve_types::id::suffix(reeve_types::id::uuid_v7(now, self.clock.random()));
            let result_id = format!("res_{unique}");
            let result = NewToolResult {
                result_id: result_id.clone(),
                server_name: call.resource.name.clone(),
                tool_name: call.tool.clone(),
                tool_args: Value::Object(masked_arguments(&call.arguments, Some("connection_string"))),
                output: output.output.clone(),
                trace_id: call.trace_id.to_string(),
                recorded_by: call.principal.label(),
                success: true,
            };
            self.store.keep_result(&call.principal.tenant, result, now).await.map_err(|error| error.chain())?;
            Ok(result_id)
        })
    }
}
