//! The program inside a workspace, as a library so that its parts can be tested without a sandbox.
//!
//! `reeve-runtime` is started inside each workspace by every driver. It serves one Unix socket: files, programs,
//! terminals, ports. It trusts nobody without the token, and its answers are hostile input to whoever asks it.

mod activity;
pub mod carry;
pub mod config;
pub mod confine;
pub mod dial;
mod environment;
mod executions;
pub mod files;
pub mod forward;
mod hardening;
mod http;
mod languages;
mod manifest;
mod memory;
mod output;
mod pipes;
mod place;
mod ports;
mod preview;
mod routes;
mod runtime;
pub mod serve;
mod signals;
pub mod supervise;
mod terminal;
mod terminals;
mod words;
