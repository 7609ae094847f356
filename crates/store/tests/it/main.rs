//! The store as the rest of the house uses it: durable, append-only, provable, and separate for each tenant.

mod directory;
mod projection;
mod proofs;
mod queries;
mod support;
mod tampering;
