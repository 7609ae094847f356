//! Ways out of a workspace, one row each, tried from inside by a program that knows how. Every driver's tests can hold
//! their driver to the same table.

use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use reeve_types::WorkspaceId;
use reeve_types::workspace::processes::ExecRequest;

use crate::actor::{Actor, execution_id, path, spec, until};
use crate::contract::Ground;

/// What tries them: `escapes.py ROW [WHAT]`.
const PROGRAM: &[u8] = include_bytes!("escapes.py");

/// Every way that needs nothing but a workspace: what it is, and its name in the program.
pub(crate) const TABLE: &[(&str, &str)] = &[
    ("writing outside the writable directories", "writing_outside"),
    ("mounting, and changing the root", "mounting"),
    ("writing to /proc and /sys", "proc_and_sys"),
    ("capabilities and other users", "capabilities"),
    ("tracing the runtime, and its token", "tracing"),
    ("kernel keyrings", "keyrings"),
    ("the metadata address of clouds", "metadata"),
    ("sockets of container engines", "container_engines"),
    ("setuid programs", "setuid"),
    ("device nodes", "device_nodes"),
    ("release_agent and control groups", "control_groups"),
    ("user namespaces and all others", "namespaces"),
    ("rare system calls and sockets", "deep_in_the_kernel"),
    ("typing into terminals", "terminal_injection"),
    ("the runtime without its token", "runtime_without_token"),
];

/// Tries every row in one workspace. `noted` are the rows that a driver is known to leave open; where it is `sure` what
/// is beneath the driver, they must be open, or what is told of it is not true any more.
pub(crate) async fn every_way_is_shut(ground: &impl Ground, noted: &[&str], sure: bool) {
    let (actor, spec) = (ground.actor(), spec());
    actor.begin(&spec).await;
    bring_program(&actor, &spec.id).await;
    let mut wrong = Vec::new();
    for (what, row) in TABLE {
        let said = attempt(&actor, &spec.id, row, "").await;
        let is_noted = noted.contains(row);
        let as_told = if said == "shut" { !(sure && is_noted) } else { is_noted };
        if !as_told {
            wrong.push(format!("{what}: {said}"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

async fn bring_program(actor: &Actor<'_>, id: &WorkspaceId) {
    actor.save(id, "escapes.py", PROGRAM).await;
}

/// Tries one row: `shut`, or what was got hold of.
async fn attempt(actor: &Actor<'_>, id: &WorkspaceId, row: &str, what: &str) -> String {
    let ran = actor.run(id, &["/usr/bin/python3", "escapes.py", row, what]).await;
    if ran.outcome.exit_code == 0 { ran.stdout.trim_end().to_owned() } else { format!("it broke off: {}", ran.said()) }
}

/// Files of this machine that anybody may read are not there.
pub(crate) async fn files_of_the_machine_are_not_seen(ground: &impl Ground) {
    let (actor, spec) = (ground.actor(), spec());
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).expect("open to all");
    let canary = directory.path().join("canary");
    std::fs::write(&canary, "secret").expect("a file");
    actor.begin(&spec).await;
    bring_program(&actor, &spec.id).await;
    let said = attempt(&actor, &spec.id, "host_files", canary.to_str().expect("a plain path")).await;
    assert_eq!(said, "shut");
    let own = std::process::id().to_string();
    assert_eq!(attempt(&actor, &spec.id, "other_processes", &own).await, "shut");
}

/// Neither a neighbour's ports nor this machine's can be reached, and no sockets without a name in the file system.
pub(crate) async fn neighbours_and_the_machine_cannot_be_reached(ground: &impl Ground) {
    let (actor, one, neighbour) = (ground.actor(), spec(), spec());
    let machine = TcpListener::bind("0.0.0.0:0").expect("a listener");
    let port = machine.local_addr().expect("an address").port();
    let name = format!("reeve-test-{}", std::process::id());
    let _nameless =
        UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).expect("a name")).expect("a listener");
    actor.begin(&one).await;
    actor.begin(&neighbour).await;
    let served = "setsid /usr/bin/python3 -m http.server 8123 >/dev/null 2>&1 & \
                  setsid /usr/bin/python3 -c 'import socket,time\ns=socket.socket(socket.AF_UNIX);s.bind(\"\\0neighbour\");\
                  s.listen();time.sleep(1000)' >/dev/null 2>&1 & sleep 1000";
    let serving = ExecRequest {
        argv: ["bash", "-c", served].map(str::to_owned).to_vec(),
        timeout_ms: Some(60_000),
        ..ExecRequest::default()
    };
    let link = actor.link(&neighbour.id).await;
    let _kept_running = link.execute(execution_id(), actor.permit(serving).await).await.expect("begun");
    until("the neighbour serves", async || {
        let leave = actor.leave(&neighbour.id).await;
        link.ports(&leave).await.expect("ports").iter().any(|listening| listening.port == 8123)
    })
    .await;
    bring_program(&actor, &one.id).await;
    let mut places =
        vec![format!("127.0.0.1:{port}"), "127.0.0.1:8123".to_owned(), format!("@{name}"), "@neighbour".into()];
    places.extend(addresses().into_iter().map(|address| format!("{address}:{port}")));
    assert_eq!(attempt(&actor, &one.id, "network", &places.join(",")).await, "shut");
}

/// The addresses of this machine besides its loopback.
fn addresses() -> Vec<String> {
    let told = std::process::Command::new("hostname").arg("-I").output();
    let told = told.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    told.split_whitespace().filter(|address| !address.contains(':')).map(str::to_owned).collect()
}

/// Links that lead out of the files are links: nothing behind them is read, written, copied or packed.
pub(crate) async fn links_that_lead_out_lead_nowhere(ground: &impl Ground) {
    let (actor, one, fork) = (ground.actor(), spec(), spec());
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o777)).expect("open to all");
    let canary = directory.path().join("canary");
    std::fs::write(&canary, "secret of the machine").expect("a file");
    let outside = directory.path().to_str().expect("a plain path");
    actor.begin(&one).await;
    let made = format!("ln -s {outside} way; ln -s {outside}/canary file; ln -s /proc/self/root{outside} magic");
    assert_eq!(actor.shell(&one.id, &made).await.outcome.exit_code, 0);
    for name in ["way/canary", "file", "magic/canary"] {
        let read = actor.read(&one.id, name).await;
        assert!(read.is_err(), "{name} was read: {:?}", read.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()));
    }
    let link = actor.link(&one.id).await;
    let remove = reeve_types::workspace::files::FileOperation::CreateFile { path: path("way/made") };
    assert!(link.operate(actor.permit(remove).await).await.is_err(), "a file was made outside");
    let snapshot = crate::actor::snapshot_id();
    actor.snapshot(&one.id, &snapshot).await.expect("a snapshot");
    let packed = actor.export(&one.id).await;
    actor.fork(&fork, &one.id, Some(&snapshot)).await.expect("a fork");
    actor.start(&fork).await.expect("started");
    for id in [&one.id, &fork.id] {
        let held = actor.shell(id, "readlink way file; cat way/canary file 2>/dev/null").await;
        assert_eq!(held.stdout, format!("{outside}\n{outside}/canary\n"));
    }
    actor.suspend(&one.id).await.expect("suspended");
    actor.roll_back(&one.id, &snapshot).await.expect("rolled back");
    actor.delete(&one.id, true).await.expect("deleted");
    assert!(!String::from_utf8_lossy(&packed).contains("secret of the machine"), "the export holds what is outside");
    assert_eq!(std::fs::read_to_string(&canary).expect("still there"), "secret of the machine");
    assert_eq!(std::fs::read_dir(directory.path()).expect("a directory").count(), 1);
}
