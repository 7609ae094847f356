//! Policies as people meet them: tables of expectations, texts, errors with their places, and properties.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test stops at what it does not expect")]

mod agreement;
mod cedar_files;
mod explaining;
mod linting;
mod loading;
mod matrices;
mod schedules;
mod short_form;
mod support;
