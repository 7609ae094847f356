//! Tests against real servers, and against what only looks like one.

mod diagnosis;
mod silent;
mod tools;
