//! The tools behind a real gate, with a kubeconfig of the test's own.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reeve_gate::{FailureKind, ToolFailure};
use reeve_kubernetes::client::ClientOptions;
use reeve_kubernetes::kubeconfig::Surroundings;
use reeve_kubernetes::tools::{Clusters, Place, all};
use reeve_testkit::gate::TestGate;
use reeve_types::{Resource, ToolOutput};
use serde_json::{Value, json};

use crate::scripted_api_server::{ScriptedApiServer, TOKEN};

/// Takes contexts and namespaces as they are written, as a server without an inventory does.
struct AsWritten;

impl Clusters for AsWritten {
    fn place(&self, _: &Resource, context: Option<&str>, namespace: Option<&str>) -> Result<Place, String> {
        Ok(Place { context: context.map(str::to_owned), namespace: namespace.map(str::to_owned) })
    }
}

pub(crate) struct Setting {
    gate: TestGate,
    dir: tempfile::TempDir,
}

/// A kubeconfig with one context.
pub(crate) fn kubeconfig(cluster: &Value, user: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "test", "preferences": {},
        "clusters": [{"name": "c", "cluster": cluster}],
        "contexts": [{"name": "test", "context": {"cluster": "c", "user": "reader", "namespace": "ignored"}}],
        "users": [{"name": "reader", "user": user}],
    })
}

impl Setting {
    pub(crate) fn new(config: &Value) -> Self {
        Self::with(config, ClientOptions::default())
    }

    pub(crate) fn with(config: &Value, options: ClientOptions) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("config");
        std::fs::write(&path, config.to_string()).expect("it is written");
        Self { gate: gate(&path, options), dir }
    }

    /// For the scripted server, with its token.
    pub(crate) fn of(server: &ScriptedApiServer) -> Self {
        let options = ClientOptions { request_timeout: Duration::from_secs(30), ..ClientOptions::default() };
        Self::with(&kubeconfig(&json!({"server": server.url()}), &json!({"token": TOKEN})), options)
    }

    pub(crate) async fn call(&self, tool: &str, arguments: Value) -> ToolOutput {
        match self.gate.call(tool, arguments).await {
            Ok(output) => output,
            Err(failure) => panic!("{tool} failed: {failure}"),
        }
    }

    pub(crate) async fn fail(&self, tool: &str, arguments: Value) -> ToolFailure {
        match self.gate.call(tool, arguments).await {
            Ok(output) => panic!("{tool} did not fail: {output:?}"),
            Err(failure) => failure,
        }
    }

    /// The kind and the sentence of the failure of `get_pods`, with the server's port and the kubeconfig's directory taken out.
    pub(crate) async fn refusal(&self, namespace: &str) -> (FailureKind, String) {
        let failure = self.fail("get_pods", json!({"namespace": namespace})).await;
        let words = failure.message.replace(&self.dir.path().display().to_string(), "DIR");
        (failure.kind, without_port(&words))
    }

    pub(crate) fn gate(&self) -> &TestGate {
        &self.gate
    }
}

pub(crate) fn gate(kubeconfig: &Path, options: ClientOptions) -> TestGate {
    let around = Surroundings { kubeconfig: Some(kubeconfig.into()), ..Surroundings::default() };
    TestGate::new(all(Arc::new(AsWritten), around, options))
}

/// Ports differ from run to run.
pub(crate) fn without_port(text: &str) -> String {
    let mut parts = text.split("127.0.0.1:");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out.push_str("127.0.0.1:PORT");
        out.push_str(part.trim_start_matches(|c: char| c.is_ascii_digit()));
    }
    out
}
