//! The runtime against a real directory, real programs and real terminals.

mod files;
mod files_archives;
mod files_finding;
