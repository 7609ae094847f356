//! The runtime against a real directory, real programs and real terminals.
#![expect(clippy::expect_used, clippy::panic, reason = "a test that cannot go on says so")]

mod bad_days;
mod executions;
mod file_routes;
mod files;
mod files_archives;
mod files_finding;
mod files_history;
mod files_kept;
mod files_watching;
mod forward;
mod hardening;
mod languages;
mod pipes;
mod ports;
mod preview;
mod running;
mod sandbox_api;
mod terminals;
mod terminals_exact;
mod terminals_shared;
