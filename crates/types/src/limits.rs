//! Limits that hold everywhere. Each has a unit in its name.

/// Largest body of an HTTP request, in bytes.
pub const REQUEST_BODY_BYTES_MAX: usize = 1024 * 1024;
/// Largest arguments of one tool call in canonical form, in bytes.
pub const ARGUMENTS_BYTES_MAX: usize = 256 * 1024;
/// Largest output of one tool call that is returned, in bytes. What is cut is said.
pub const TOOL_OUTPUT_BYTES_MAX: usize = 1024 * 1024;
/// How much of a tool's output its record keeps, in characters.
pub const RECORD_OUTPUT_CHARS_MAX: usize = 500;
/// Largest policy, inventory or users file, in bytes.
pub const CONFIG_FILE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Longest SQL statement accepted from a person or a model, in bytes.
pub const SQL_BYTES_MAX: usize = 128 * 1024;
/// Longest reason of an approval or a purpose note, in bytes.
pub const REASON_BYTES_MAX: usize = 4 * 1024;
/// How long an approval waits for an answer unless told otherwise, in seconds.
pub const APPROVAL_EXPIRY_SECS: u64 = 60 * 60;
/// Longest page of a list.
pub const PAGE_ROWS_MAX: usize = 1000;
