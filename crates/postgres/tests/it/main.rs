//! Tests against real servers.

mod diagnosis;
mod tools;
