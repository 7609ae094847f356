//! Every way in holds a caller to their own workspaces, the one for any tool included.

use reeve_gate::{Refusal, Submission};
use reeve_platform::PlatformError;
use reeve_platform::workspaces::NewWorkspace;
use reeve_types::{Origin, Principal, WorkspaceState};
use serde_json::{Value, json};

use super::{Yard, plain, yard};
use crate::support::{acting_for, service, user};

async fn run(yard: &Yard, who: &Principal, tool: &str, arguments: Value) -> Result<Submission, PlatformError> {
    let arguments = arguments.as_object().cloned().unwrap();
    let trace = yard.platform.new_trace("dt");
    yard.platform.run_tool(who, tool, arguments, None, "", trace, Origin::DirectTool, "").await
}

#[tokio::test]
async fn a_workspace_of_somebody_else_is_not_there_for_any_tool() {
    let yard = yard(plain()).await;
    let (alice, bob) = (user("alice", &["sre"]), user("bob", &["sre"]));
    let site = yard.workspaces().create(&yard.asker(&alice), NewWorkspace::named("site", "base")).await.unwrap();
    let nobody = Principal { tenant: "acme".parse().unwrap(), ..user("alice", &["admin"]) };
    let specs: Vec<_> = yard.platform.gate().specs().cloned().collect();
    let on_one = specs.iter().filter(|spec| spec.target_argument.as_deref() == Some("workspace_id"));
    let mut tried = 0;
    for spec in on_one {
        for who in [&bob, &nobody] {
            for id in [site.id.as_str(), "wsp_01m7zgjv5ke27v663n52mkpe01", "site", ""] {
                let refused = run(&yard, who, &spec.name, json!({ "workspace_id": id })).await.unwrap_err();
                let PlatformError::Refused(Refusal::UnknownTarget(unknown)) = &refused else {
                    panic!("{}: {refused}", spec.name)
                };
                assert_eq!((unknown.target.as_str(), unknown.known.len()), (id, 0), "{}", spec.name);
                tried += 1;
            }
        }
    }
    assert!(tried > 100, "{tried}");
    assert_eq!(yard.rows().await[0].workspace.state, WorkspaceState::Running, "nothing happened to it");

    let done = run(&yard, &alice, "workspace_suspend", json!({ "workspace_id": site.id })).await.unwrap();
    assert!(matches!(done, Submission::Done(done) if done.outcome.is_ok()));
}

#[tokio::test]
async fn workspaces_take_a_role_whatever_the_way_in() {
    let yard = yard(plain()).await;
    let auditor = user("alice", &["auditor"]);
    let agent = acting_for(service("helper"), auditor.clone());
    for who in [&auditor, &agent] {
        let refused = run(&yard, who, "workspace_create", json!({"template": "base", "name": "site"})).await;
        assert!(matches!(refused, Err(PlatformError::NotAnApprover { .. })), "{refused:?}");
    }
    assert!(yard.rows().await.is_empty());
}

#[tokio::test]
async fn only_the_platform_puts_the_files_of_a_backup_back() {
    let yard = yard(plain()).await;
    let root = user("root", &["admin"]);
    let site = yard.workspaces().create(&yard.asker(&root), NewWorkspace::named("site", "base")).await.unwrap();
    let done = run(&yard, &root, "workspace_put_back", json!({ "workspace_id": site.id })).await.unwrap();
    let Submission::Done(done) = done else { panic!("policy lets it be asked for") };
    assert!(done.outcome.unwrap_err().message.contains("only the platform itself"));
}
