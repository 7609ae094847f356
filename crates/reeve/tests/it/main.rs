//! The program as a black box: started as a process, spoken to over HTTP and its command line, killed and looked at.

#![expect(clippy::expect_used, clippy::panic, reason = "a test that cannot go on says so and ends")]

mod accounts;
mod acts;
mod carried;
mod chat_demo;
mod console;
mod conversation;
mod coverage;
mod crash;
mod engine;
mod external_agents;
mod follower;
mod guide;
mod kills;
mod large;
mod lifecycle;
mod model_server;
mod notices;
mod own_coder;
mod own_terminal;
mod pressed;
#[path = "../../../workspace/tests/docker/program.rs"]
mod program;
mod server;
mod session_crashes;
mod telemetry;
mod tenants;
mod terminal;
mod walls;
mod witness;
mod workspaces;
