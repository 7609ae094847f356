//! Workspaces over the API: the real service, the real gate, and the real program inside each workspace.

mod archives;
mod assistant;
mod files;
mod forms;
mod guide;
mod guide_corners;
mod history;
mod lifecycle;
mod neighbours;
mod page;
mod previews;
mod programs;
mod rates;
mod replacing;
mod saving;
pub(crate) mod server;
mod sockets;
mod sockets_end;
mod uploads;

use std::path::PathBuf;
use std::sync::Arc;

use reeve_gate::workspace::WorkspaceDriver;
use reeve_platform::workspaces::{Template, Workspaces, WorkspacesOptions, WorkspacesParts};
use serde_json::{Value, json};

use crate::platform::{Client, Ground, Setup, TestPlatform};
use crate::unconfined::Unconfined;

/// Everybody may do everything with their workspaces; of those of the template `guarded` changes are asked for, and the
/// template `sealed` is nobody's.
const POLICY: &str = "\
version: '1'
policies:
  - name: guarded
    priority: 10
    resources: [{type: workspace, match: {tags: ['template:guarded']}}]
    rules:
      - {action: read, effect: allow}
      - {action: [write, destructive], effect: require_approval}
  - name: sealed
    priority: 10
    resources: [{type: workspace, match: {tags: ['template:sealed']}}]
    rules:
      - {action: [read, write, destructive], effect: deny, message: nothing is made from this}
  - name: agents-ask
    resources: [{type: agent}]
    rules:
      - {action: [read, write, destructive], effect: require_approval}
  - name: workspaces
    resources: [{type: workspace}]
    rules:
      - {action: [read, write, destructive], effect: allow}
";

/// A platform with workspaces. Their programs end and their directories go when it is dropped.
pub(crate) struct Yard {
    pub(crate) t: TestPlatform,
    pub(crate) driver: Arc<Unconfined>,
}

impl Yard {
    pub(crate) async fn new() -> Self {
        Self::with(Setup::default(), WorkspacesOptions::default()).await
    }

    pub(crate) async fn with(setup: Setup, options: WorkspacesOptions) -> Self {
        let setup = Setup { policy: POLICY, ..setup };
        let ground = Ground::lay(&setup);
        let driver = Unconfined::new();
        let drivers: Vec<Arc<dyn WorkspaceDriver>> = vec![Arc::<Unconfined>::clone(&driver)];
        let store = ground.store.clone();
        let templates = ["base", "python", "node", "guarded", "sealed"].map(template).to_vec();
        let parts = WorkspacesParts { store, clock: Arc::clone(&setup.clock), drivers, templates, options };
        let workspaces = Workspaces::open(parts).await.unwrap();
        Self { t: TestPlatform::on(ground, setup, Some(workspaces)), driver }
    }

    /// Somebody who has workspaces.
    pub(crate) async fn developer(&self, name: &str) -> Client {
        self.t.user(name, &["developer"]).await
    }

    /// Somebody with a running workspace of their own.
    pub(crate) async fn at_work(&self, name: &str) -> Desk {
        let client = self.developer(name).await;
        let made = client.post("/api/v1/workspaces", json!({"name": "site"})).await.expect(201);
        assert_eq!(made["state"], "running", "{made}");
        Desk { client, id: made["id"].as_str().unwrap().to_owned() }
    }

    /// Where the files of somebody's workspace are on this machine.
    pub(crate) fn files(&self, desk: &Desk) -> PathBuf {
        self.driver.files(&desk.id)
    }
}

fn template(name: &str) -> Template {
    let ports: &[u16] = if name == "python" { &[8000] } else { &[] };
    let manifest = json!({"name": name, "title": name, "drivers": ["namespace"], "languages": [name], "ports": ports});
    serde_json::from_value(manifest).unwrap()
}

/// Somebody at a workspace of theirs.
pub(crate) struct Desk {
    pub(crate) client: Client,
    pub(crate) id: String,
}

impl Desk {
    /// The path of something of this workspace.
    pub(crate) fn at(&self, rest: &str) -> String {
        format!("/api/v1/workspaces/{}{rest}", self.id)
    }

    pub(crate) async fn get(&self, rest: &str) -> crate::platform::Answer {
        self.client.get(&self.at(rest)).await
    }

    pub(crate) async fn post(&self, rest: &str, body: Value) -> crate::platform::Answer {
        self.client.post(&self.at(rest), body).await
    }

    /// Saves a file, whatever is there.
    pub(crate) async fn save(&self, path: &str, content: &str) -> Value {
        let answer = self
            .client
            .put(&self.at(&format!("/files/content?create_parents=true&path={path}")), content.to_owned())
            .await;
        assert!(answer.status.is_success(), "{} {}", answer.status, answer.text);
        answer.json()
    }

    /// Runs a line in a shell to its end.
    pub(crate) async fn sh(&self, line: &str) -> Value {
        self.post("/executions", json!({"argv": ["bash", "-c", line]})).await.expect(200)
    }
}

/// The events of a stream of server-sent events that has ended.
pub(crate) fn events(text: &str) -> Vec<Value> {
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    data.map(|json| serde_json::from_str(json).unwrap()).collect()
}
