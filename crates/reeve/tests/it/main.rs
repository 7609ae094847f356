//! The program as a black box: started as a process, spoken to over HTTP and its command line, killed and looked at.

#![expect(clippy::expect_used, clippy::panic, reason = "a test that cannot go on says so and ends")]

mod accounts;
mod acts;
mod coverage;
mod crash;
mod external_agents;
mod guide;
mod lifecycle;
mod notices;
mod server;
mod telemetry;
mod walls;
mod witness;
mod workspaces;
