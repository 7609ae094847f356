//! Programs: one request each, whose answer is the stream of what happens.

use hyper::Method;
use reeve_gate::workspace::EventStream;
use reeve_types::workspace::processes::{ExecEvent, ExecRequest};
use reeve_types::{ExecutionId, WorkspaceError};

use super::connection::body_of;
use super::{RuntimeClient, bounded};

impl RuntimeClient {
    /// Runs a program, told of it as `output` says: `bounded` or `all`. The connection is the program's life line: dropping
    /// the stream closes it.
    pub(super) async fn run_program(
        &self,
        id: &ExecutionId,
        what: &ExecRequest,
        output: &str,
    ) -> Result<EventStream<ExecEvent>, WorkspaceError> {
        let address = format!("/v1/executions?id={id}&output={output}");
        let request = self.connections.request(Method::POST, &address, body_of(what)?)?;
        Ok(bounded::events(self.connections.send(request).await?))
    }
}
