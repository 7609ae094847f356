//! Things kept for later comparison: results of tools, uploaded files, policy sets.

use reeve_types::{Digest, TenantId};
use rusqlite::{OptionalExtension as _, params};
use serde_json::Value;

use crate::{Store, StoreError, micros, moment, parse_json};

/// A tool's result to keep.
#[derive(Debug, Clone)]
pub struct NewToolResult {
    /// Its id, `res_…`.
    pub result_id: String,
    /// The target.
    pub server_name: String,
    /// The tool.
    pub tool_name: String,
    /// Its arguments, masked.
    pub tool_args: Value,
    /// What it gave back.
    pub output: String,
    /// The journey.
    pub trace_id: String,
    /// Who had it kept.
    pub recorded_by: String,
    /// Whether it succeeded.
    pub success: bool,
}

/// A kept result.
#[derive(Debug, Clone, serde::Serialize)]
pub struct StoredToolResult {
    /// Its id.
    pub result_id: String,
    /// The target.
    pub server_name: String,
    /// The tool.
    pub tool_name: String,
    /// Its arguments, masked.
    pub tool_args: Value,
    /// What it gave back.
    pub output: String,
    /// The journey.
    pub trace_id: String,
    /// Who had it kept.
    pub recorded_by: String,
    /// When.
    pub recorded_at: jiff::Timestamp,
    /// Whether it succeeded.
    pub success: bool,
}

/// A file to keep for a while.
#[derive(Debug, Clone)]
pub struct NewUpload {
    /// Its id, `ul_…`.
    pub upload_id: String,
    /// Its name, for people.
    pub filename: String,
    /// Its bytes.
    pub content: Vec<u8>,
    /// Until when it is kept.
    pub expires_at: jiff::Timestamp,
}

/// A kept file.
#[derive(Debug, Clone)]
pub struct StoredUpload {
    /// Its id.
    pub upload_id: String,
    /// Its name.
    pub filename: String,
    /// Its bytes.
    pub content: Vec<u8>,
    /// When it came.
    pub uploaded_at: jiff::Timestamp,
    /// Until when it is kept.
    pub expires_at: jiff::Timestamp,
}

impl Store {
    /// Keeps a tool's result.
    pub async fn keep_result(
        &self,
        tenant: &TenantId,
        result: NewToolResult,
        now: jiff::Timestamp,
    ) -> Result<(), StoreError> {
        let tenant = tenant.as_str().to_owned();
        self.write(move |db| {
            db.execute(
                "INSERT INTO tool_results (result_id, tenant, server_name, tool_name, tool_args, output, trace_id,
                                           recorded_by, recorded_us, success)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
                params![
                    result.result_id,
                    tenant,
                    result.server_name,
                    result.tool_name,
                    result.tool_args.to_string(),
                    result.output,
                    result.trace_id,
                    result.recorded_by,
                    micros(now),
                    result.success,
                ],
            )?;
            Ok(())
        })
        .await
    }

    /// Kept results, newest first.
    pub async fn results(
        &self,
        tenant: &TenantId,
        tool: Option<String>,
        server: Option<String>,
        since: Option<jiff::Timestamp>,
        limit: usize,
    ) -> Result<Vec<StoredToolResult>, StoreError> {
        let tenant = tenant.as_str().to_owned();
        self.read(move |db| {
            let mut statement = db.prepare_cached(
                "SELECT result_id, server_name, tool_name, tool_args, output, trace_id, recorded_by, recorded_us, success
                 FROM tool_results WHERE tenant = ?1 AND (?2 IS NULL OR tool_name = ?2) AND (?3 IS NULL OR server_name = ?3)
                   AND recorded_us >= ?4 ORDER BY recorded_us DESC, result_id DESC LIMIT ?5",
            )?;
            let limit = i64::try_from(limit).unwrap_or(100);
            let rows = statement.query_map(params![tenant, tool, server, since.map_or(0, micros), limit], |row| {
                Ok((row.get::<_, String>(3)?, StoredToolResult {
                    result_id: row.get(0)?,
                    server_name: row.get(1)?,
                    tool_name: row.get(2)?,
                    tool_args: Value::Null,
                    output: row.get(4)?,
                    trace_id: row.get(5)?,
                    recorded_by: row.get(6)?,
                    recorded_at: moment(row.get(7)?),
                    success: row.get(8)?,
                }))
            })?;
            rows.map(|row| {
                let (args, result) = row?;
                Ok(StoredToolResult { tool_args: parse_json(&result.result_id, &args)?, ..result })
            })
            .collect()
        })
        .await
    }

    /// Keeps an uploaded file and forgets those whose time is over.
    pub async fn keep_upload(
        &self,
        tenant: &TenantId,
        upload: NewUpload,
        now: jiff::Timestamp,
    ) -> Result<(), StoreError> {
        let tenant = tenant.as_str().to_owned();
        self.write(move |db| {
            db.execute("DELETE FROM uploads WHERE expires_us <= ?1", [micros(now)])?;
            db.execute(
                "INSERT INTO uploads (upload_id, tenant, filename, content, uploaded_us, expires_us)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![
                    upload.upload_id,
                    tenant,
                    upload.filename,
                    upload.content,
                    micros(now),
                    micros(upload.expires_at)
                ],
            )?;
            Ok(())
        })
        .await
    }

    /// An uploaded file whose time is not over.
    pub async fn upload(
        &self,
        tenant: &TenantId,
        id: &str,
        now: jiff::Timestamp,
    ) -> Result<Option<StoredUpload>, StoreError> {
        let (tenant, id) = (tenant.as_str().to_owned(), id.to_owned());
        self.read(move |db| {
            let sql = "SELECT upload_id, filename, content, uploaded_us, expires_us FROM uploads
                       WHERE upload_id = ?1 AND tenant = ?2 AND expires_us > ?3";
            let row = db
                .prepare_cached(sql)?
                .query_row(params![id, tenant, micros(now)], |row| {
                    Ok(StoredUpload {
                        upload_id: row.get(0)?,
                        filename: row.get(1)?,
                        content: row.get(2)?,
                        uploaded_at: moment(row.get(3)?),
                        expires_at: moment(row.get(4)?),
                    })
                })
                .optional()?;
            Ok(row)
        })
        .await
    }

    /// Keeps the text of a policy set under its digest, so that past decisions can be replayed with the very same rules.
    pub async fn keep_policy_set(
        &self,
        digest: Digest,
        sources: Value,
        now: jiff::Timestamp,
    ) -> Result<(), StoreError> {
        self.write(move |db| {
            db.execute(
                "INSERT OR IGNORE INTO policy_sets (digest, at_us, sources) VALUES (?1, ?2, ?3)",
                params![digest.to_string(), micros(now), sources.to_string()],
            )?;
            Ok(())
        })
        .await
    }

    /// The text of a policy set that was once in force.
    pub async fn policy_set(&self, digest: Digest) -> Result<Option<Value>, StoreError> {
        self.read(move |db| {
            let text: Option<String> = db
                .query_row("SELECT sources FROM policy_sets WHERE digest = ?1", [digest.to_string()], |row| row.get(0))
                .optional()?;
            text.map(|text| parse_json("policy set", &text)).transpose()
        })
        .await
    }
}
