//! Tests against real servers.

mod diagnosis;
