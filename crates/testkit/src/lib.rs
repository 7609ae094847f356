//! What tests stand on: throw-away servers of the real thing.

pub mod gate;
pub mod models;
pub mod permits;
pub mod postgres;
