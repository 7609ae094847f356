//! The walls between crates, as the manifests draw them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

type Manifests = BTreeMap<String, BTreeSet<String>>;

fn manifests() -> Manifests {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    std::fs::read_dir(crates)
        .expect("the crates directory")
        .map(|entry| entry.expect("an entry").path().join("Cargo.toml"))
        .filter(|path| path.exists())
        .map(|path| {
            let text = std::fs::read_to_string(&path).expect("a manifest");
            let manifest: toml::Table = toml::from_str(&text).expect("TOML");
            let name = manifest["package"]["name"].as_str().expect("a name").to_owned();
            let normal = manifest.get("dependencies").and_then(|d| d.as_table());
            (name, normal.map(|table| table.keys().cloned().collect()).unwrap_or_default())
        })
        .collect()
}

fn assert_never(manifests: &Manifests, crates: &[&str], forbidden: &[&str]) {
    for name in crates {
        let depends = manifests.get(*name).unwrap_or_else(|| panic!("there is no crate {name}"));
        for other in forbidden {
            assert!(!depends.contains(*other), "{name} must not depend on {other}");
        }
    }
}

fn assert_only(manifests: &Manifests, dependency: &str, allowed: &[&str]) {
    for (name, depends) in manifests {
        assert!(
            !depends.contains(dependency) || allowed.contains(&name.as_str()),
            "only {allowed:?} may know {dependency}, not {name}"
        );
    }
}

#[test]
fn pure_crates_know_no_runtime_no_files_and_no_network() {
    let pure = ["reeve-types", "reeve-policy", "reeve-audit", "reeve-diagnose"];
    let impure = ["tokio", "rusqlite", "reqwest", "rand", "tokio-postgres", "axum", "tracing", "rustix"];
    assert_never(&manifests(), &pure, &impure);
}

#[test]
fn ways_in_and_ways_out_do_not_see_each_other() {
    let manifests = manifests();
    assert_never(
        &manifests,
        &["reeve-http", "reeve-platform"],
        &["reeve-postgres", "reeve-connectors", "reeve-kubernetes", "reeve-workspace", "reeve-runtime", "reeve-model"],
    );
    let above = ["reeve-http", "reeve-platform", "reeve-store"];
    assert_never(
        &manifests,
        &[
            "reeve-postgres",
            "reeve-connectors",
            "reeve-kubernetes",
            "reeve-workspace",
            "reeve-runtime",
            "reeve-model",
            "reeve-gate",
            "reeve-policy",
            "reeve-audit",
        ],
        &above,
    );
}

#[test]
fn agents_are_spoken_with_by_a_crate_that_knows_the_words_the_door_and_the_sessions() {
    let manifests = manifests();
    let depends = manifests.get("reeve-agents").expect("the crate");
    let of_ours: Vec<&str> = depends.iter().map(String::as_str).filter(|name| name.starts_with("reeve")).collect();
    // Of the platform it knows what starts agents for sessions: it is a way in, as they ask through it for what they do.
    let allowed = ["reeve-types", "reeve-gate", "reeve-platform"];
    assert!(of_ours.iter().all(|name| allowed.contains(name)), "{of_ours:?}");
    assert_only(&manifests, "reeve-agents", &["reeve"]);
}

#[test]
fn the_protocols_for_agents_see_no_other_way_in_or_out() {
    let others = ["reeve-http", "reeve-postgres", "reeve-connectors", "reeve-workspace", "reeve-model", "reeve-store"];
    assert_never(&manifests(), &["reeve-mcp"], &others);
}

#[test]
fn each_heavy_or_restless_crate_is_known_to_one_of_ours() {
    let manifests = manifests();
    assert_only(&manifests, "cedar-policy", &["reeve-policy"]);
    assert_only(&manifests, "rusqlite", &["reeve-store"]);
    assert_only(&manifests, "pg_query", &["reeve-postgres"]);
    assert_only(&manifests, "tokio-postgres", &["reeve-postgres"]);
    assert_only(&manifests, "lettre", &["reeve-connectors"]);
    // The shapes that travel over the API describe themselves; the document itself is made in `http`.
    assert_only(&manifests, "utoipa", &["reeve-http", "reeve-types"]);
    assert_only(&manifests, "rmcp", &["reeve-mcp"]);
    // The two ways of one crate: the binary alone puts it between the platform and the doors.
    assert_only(&manifests, "reeve-mcp", &["reeve"]);
    assert_only(&manifests, "bollard", &["reeve-workspace"]);
    assert_only(&manifests, "agent-client-protocol-schema", &["reeve-agents"]);
    assert_only(&manifests, "seccompiler", &["reeve-workspace"]);
    assert_only(&manifests, "vt100", &["reeve-platform"]);
    assert_only(&manifests, "clap", &["reeve"]);
}

#[test]
fn the_test_kit_never_ships() {
    assert_only(&manifests(), "reeve-testkit", &[]);
}
