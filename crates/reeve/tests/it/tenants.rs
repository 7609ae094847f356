//! Several tenants on one server, as a black box: blind to each other, and each in directories of its own.

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use serde_json::{Value, json};

use crate::server::{Home, Reply, Server, text};

/// Whose directories they are; a server that is not root has its own.
fn somebody() -> u32 {
    let me = rustix::process::geteuid();
    if me.is_root() { 1234 } else { me.as_raw() }
}

fn make(path: &Path) {
    std::fs::create_dir_all(path).expect("a directory");
    if rustix::process::geteuid().is_root() {
        chown(path, Some(somebody()), Some(somebody())).expect("given");
    }
}

/// A server with directories of the host for two tenants, of whom one is confined.
struct Ground {
    home: Home,
}

impl Ground {
    fn lay() -> Self {
        let home = Home::new()
            .with("REEVE_WORKSPACES_DRIVER", "namespace")
            .with("REEVE_WORKSPACES_WARM", "0")
            .with("REEVE_WORKSPACES_HOST_DIRECTORIES", "true");
        // The owner of a directory must be able to walk to it.
        std::fs::set_permissions(home.path(), PermissionsExt::from_mode(0o711)).expect("walkable");
        let ground = Self { home };
        std::fs::create_dir(ground.home.path().join("tenants")).expect("a directory");
        for name in ["acme", "acme/projects", "acme/projects/shop", "acme/private", "acme-two", "beta"] {
            make(&ground.at(name));
        }
        let written = json!({"tenantWorkdirs": {
            "acme": {"root": ground.at("acme"), "allowedPaths": ["projects"]},
        }});
        std::fs::create_dir_all(ground.home.data()).expect("a directory");
        std::fs::write(ground.home.data().join("tenants.json"), written.to_string()).expect("a file");
        ground
    }

    fn at(&self, below: &str) -> PathBuf {
        self.home.path().join("tenants").join(below)
    }

    fn stop(&self, server: Server, keys: &[&str]) {
        for key in keys.iter().copied().chain([server.token()]) {
            let all = server.get_as(Some(key), "/api/v1/workspaces?limit=200").expect(200);
            for one in all["workspaces"].as_array().cloned().unwrap_or_default() {
                let path = format!("/api/v1/workspaces/{}?force=true", one["id"].as_str().expect("an id"));
                server.request("DELETE", &path, Some(key), None).expect(200);
            }
        }
        server.signal("TERM");
        let mut server = server;
        assert!(server.wait(Duration::from_secs(20)).is_some(), "it ends");
    }
}

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{}", text(output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Makes a tenant with the command and gives its first key.
fn tenant(server: &Server, home: &Home, name: &str) -> String {
    let made = said(&server.cli(home, &["tenants", "create", name]));
    let key = made.lines().next().unwrap_or_default().trim().to_owned();
    assert!(key.starts_with("reeve_") && made.contains(&format!("the first administrator of {name}")), "{made}");
    key
}

fn on(server: &Server, key: &str, path: &Path) -> Reply {
    server.post_as(key, "/api/v1/workspaces", &json!({"name": "here", "directory": path}))
}

fn problem(reply: Reply, status: u16, code: &str) -> Value {
    let body = reply.expect(status);
    assert_eq!(body["code"], code, "{body}");
    body
}

#[test]
fn each_tenant_works_where_its_directories_lie() {
    let ground = Ground::lay();
    let (server, home) = (ground.home.start(), &ground.home);
    let (acme, beta) = (tenant(&server, home, "acme"), tenant(&server, home, "beta"));
    assert!(said(&server.cli(home, &["tenants", "list"])).contains("beta"));

    let shop = ground.at("acme/projects/shop");
    let made = on(&server, &acme, &shop).expect(201);
    assert_eq!((made["state"].as_str(), made["directory"].as_str()), (Some("running"), shop.to_str()), "{made}");
    let id = made["id"].as_str().expect("an id");
    let run = |key: &str| {
        let body = json!({"argv": ["sh", "-c", "echo inside > note; cat note"]});
        server.post_as(key, &format!("/api/v1/workspaces/{id}/executions"), &body)
    };
    assert_eq!(run(&acme).expect(200)["stdout"], "inside\n");
    assert_eq!(std::fs::read_to_string(shop.join("note")).expect("a file"), "inside\n");

    for below in ["acme", "acme/private", "acme-two", "beta", "beta/nothing"] {
        problem(on(&server, &acme, &ground.at(below)), 403, "tenant_workdir_denied");
    }
    problem(on(&server, &acme, &ground.at("acme/projects/nothing")), 404, "not_found");
    problem(on(&server, &acme, Path::new("/etc")), 403, "tenant_workdir_denied");
    let records = server.get_as(Some(&acme), "/api/v1/events?event_type=access_denied").expect(200);
    let notes: Vec<&str> =
        records.as_array().into_iter().flatten().filter_map(|event| event["note"].as_str()).collect();
    let denied = notes.iter().filter(|note| note.starts_with("session.action.denied: tenant acme: `")).count();
    assert_eq!(denied, 6, "{notes:?}");

    // A tenant that is not named is not restricted, and neither is the operator; some places are nobody's.
    on(&server, &beta, &ground.at("beta")).expect(201);
    on(&server, server.token(), &ground.at("acme/private")).expect(201);
    for key in [&beta, server.token()] {
        for path in [Path::new("/"), Path::new("/etc"), &home.data()] {
            problem(on(&server, key, path), 403, "forbidden");
        }
    }
    // Neither sees the other's.
    for stranger in [&beta, server.token()] {
        for path in [format!("/api/v1/workspaces/{id}"), format!("/api/v1/workspaces/{id}/tree")] {
            assert_eq!(server.get_as(Some(stranger), &path).status, 404, "{path}");
        }
        assert_eq!(run(stranger).status, 404);
    }

    let gone = server.request("DELETE", &format!("/api/v1/workspaces/{id}?force=true"), Some(&acme), None).expect(200);
    assert_eq!(gone["purged"], true);
    assert_eq!(std::fs::read_to_string(shop.join("note")).expect("a file"), "inside\n", "the host's files stay");
    let done = server.get_as(Some(&acme), "/api/v1/events?event_type=tool_execution").expect(200).to_string();
    assert!(done.contains("stay on the host as they are"), "the record says so: {done}");
    ground.stop(server, &[&acme, &beta]);
}

#[test]
fn directories_of_the_host_are_off_until_somebody_switches_them_on() {
    let ground = Ground::lay();
    let home = Home::new().with("REEVE_WORKSPACES_DRIVER", "namespace").with("REEVE_WORKSPACES_WARM", "0");
    let server = home.start();
    let refused = problem(on(&server, server.token(), &ground.at("beta")), 403, "forbidden");
    assert!(refused["detail"].as_str().unwrap_or_default().contains("workspaces.host_directories"), "{refused}");
}

#[test]
fn beside_docker_a_directory_of_the_host_is_still_to_be_had_and_both_drivers_are_told() {
    let ground = Ground::lay();
    let home = ground.home.with("REEVE_WORKSPACES_DRIVER", "docker").with("DOCKER_HOST", "unix:///no/such.sock");
    let ground = Ground { home };
    let server = ground.home.start();
    let told = server.get("/api/v1/workspace-templates").expect(200);
    let networks = |name: &str| {
        let found = told["drivers"].as_array().into_iter().flatten().find(|driver| driver["name"] == name);
        found.map(|driver| (driver["default"] == true, driver["networks"].clone()))
    };
    let root = rustix::process::geteuid().is_root();
    let all = if root { json!(["none", "allow", "public"]) } else { json!(["none"]) };
    assert_eq!(networks("docker"), Some((true, all.clone())), "{told}");
    assert_eq!(networks("namespace"), Some((false, all)), "{told}");
    assert_eq!(server.get("/api/v1/agents/definitions").expect(200)["host_directories"], true);
    let made = on(&server, server.token(), &ground.at("beta")).expect(201);
    assert_eq!((made["driver"].as_str(), made["state"].as_str()), (Some("namespace"), Some("running")), "{made}");
    ground.stop(server, &[]);
}

#[test]
fn a_file_of_tenants_that_is_wrong_stops_the_start_with_its_place() {
    let home = Home::new().with("REEVE_WORKSPACES_DRIVER", "namespace").with_file(
        "REEVE_TENANTS_FILE",
        "tenants.yaml",
        "tenantWorkdirs:\n  acme:\n    root: tenants/acme\n",
    );
    let output = home.command(crate::server::REEVE).args(["up", "--listen", "127.0.0.1:0"]).output().expect("it runs");
    let said = text(&output);
    assert!(!output.status.success() && said.contains("tenants.yaml:3:"), "{said}");
    assert!(said.contains("must be an absolute path without `..`"), "{said}");
}
