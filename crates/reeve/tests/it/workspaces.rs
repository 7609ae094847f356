//! Workspaces on a real server with real namespaces: from the command line, and through kills at any moment.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::Output;
use std::time::Duration;

use serde_json::{Value, json};

use crate::kills;
use crate::server::{Home, Server, eventually, text};

/// How often the server is killed while it makes, fills and removes workspaces.
const ROUNDS: u32 = 12;

pub(crate) fn home() -> Home {
    Home::new().with("REEVE_WORKSPACES_DRIVER", "namespace").with("REEVE_WORKSPACES_WARM", "0")
}

/// Takes down what a test has made, also when it fails.
pub(crate) struct Cleared<'a>(pub(crate) &'a Home);

impl Drop for Cleared<'_> {
    fn drop(&mut self) {
        let server = self.0.start();
        for id in ids(&server, "") {
            let _ =
                server.request("DELETE", &format!("/api/v1/workspaces/{id}?force=true"), Some(server.token()), None);
        }
        server.signal("TERM");
        let mut server = server;
        let _ = server.wait(Duration::from_secs(20));
        if !std::thread::panicking() {
            assert_eq!(left(self.0), Vec::<String>::new(), "nothing is left on the machine");
        }
    }
}

pub(crate) fn ids(server: &Server, more: &str) -> Vec<String> {
    let answer = server.get(&format!("/api/v1/workspaces?limit=200{more}")).expect(200);
    let all = answer["workspaces"].as_array().cloned().unwrap_or_default();
    all.iter().filter_map(|one| Some(one["id"].as_str()?.to_owned())).collect()
}

/// Mounts, processes and places of workspaces that belong to this home.
fn left(home: &Home) -> Vec<String> {
    let data = home.data().display().to_string();
    let mounts = std::fs::read_to_string("/proc/self/mounts").expect("the mounts");
    let mut found: Vec<String> = mounts.lines().filter(|line| line.contains(&data)).map(str::to_owned).collect();
    for place in std::fs::read_dir("/run/reeve-workspaces").into_iter().flatten().flatten() {
        let of = std::fs::read(place.path().join("of")).unwrap_or_default();
        if String::from_utf8_lossy(&of).contains(&data) {
            found.push(place.path().display().to_string());
        }
    }
    for entry in std::fs::read_dir("/proc").expect("the processes").flatten() {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(&data) {
            found.push(line);
        }
    }
    found
}

pub(crate) fn create(server: &Server, name: &str, template: &str) -> String {
    let made = server.post("/api/v1/workspaces", &json!({"name": name, "template": template})).expect(201);
    assert_eq!(made["state"], "running", "{made}");
    made["id"].as_str().expect("an id").to_owned()
}

pub(crate) fn run(server: &Server, id: &str, argv: &[&str]) -> Value {
    server.post(&format!("/api/v1/workspaces/{id}/executions"), &json!({"argv": argv})).expect(200)
}

pub(crate) fn said(output: &Output) -> String {
    assert!(output.status.success(), "{}", text(output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_workspace_is_made_used_rested_and_removed_with_commands() {
    let home = home();
    let cleared = Cleared(&home);
    let server = home.start();
    let made = said(&server.cli(&home, &["workspaces", "create", "shop", "--template", "python"]));
    assert!(made.contains("running") && made.contains("isolation  namespace"), "{made}");
    let id = ids(&server, "").remove(0);

    let output = server.cli(&home, &["workspaces", "exec", &id, "--", "python3", "-c", "print('one\\ntwo')"]);
    assert_eq!(said(&output), "one\ntwo\n", "what a program writes arrives as it is");
    let failed = server.cli(&home, &["workspaces", "exec", &id, "--", "sh", "-c", "echo trouble >&2; exit 7"]);
    assert_eq!((failed.status.code(), String::from_utf8_lossy(&failed.stderr).as_ref()), (Some(7), "trouble\n"));
    let missing = run(&server, &id, &["no-such-program"]);
    assert_eq!(missing["exit_code"], 127, "{missing}");

    said(&server.cli(&home, &["workspaces", "exec", &id, "--", "sh", "-c", "echo kept > note"]));
    assert!(said(&server.cli(&home, &["workspaces", "suspend", &id])).contains("suspended"));
    let resting = server.cli(&home, &["workspaces", "exec", &id, "--", "true"]);
    assert!(!resting.status.success() && text(&resting).contains("suspended"), "{}", text(&resting));
    assert!(said(&server.cli(&home, &["workspaces", "start", &id])).contains("running"));
    assert_eq!(said(&server.cli(&home, &["workspaces", "exec", &id, "--", "cat", "note"])), "kept\n");

    said(&server.cli(&home, &["workspaces", "delete", &id]));
    assert!(ids(&server, "").is_empty());
    said(&server.cli(&home, &["workspaces", "restore", &id]));
    said(&server.cli(&home, &["workspaces", "start", &id]));
    assert_eq!(said(&server.cli(&home, &["workspaces", "exec", &id, "--", "cat", "note"])), "kept\n");
    let gone = said(&server.cli(&home, &["workspaces", "delete", "--force", &id]));
    assert!(gone.contains("gone for good"), "{gone}");
    assert_eq!(server.get(&format!("/api/v1/workspaces/{id}")).status, 404);

    let verdict = server.post("/api/v1/audit/verify", &json!({})).expect(200);
    assert_eq!(verdict["valid"], true, "{verdict}");
    drop((server, cleared));
}

#[test]
fn what_the_file_says_of_quotas_and_limits_holds() {
    let settings = "[workspaces]\nper_tenant = 2\ndisk_gb_per_tenant = 3\ndisk_gb = 1\nmemory_mb = 256\n\
                    memory_mb_max = 512\negress_by_choice = false\nsnapshots_max = 1\nrun_max_minutes = 5\n";
    let home = home().with_file("REEVE_CONFIG", "quotas.toml", settings);
    let cleared = Cleared(&home);
    let server = home.start();
    let wanted = |more: Value| {
        let mut body = json!({"name": "a", "start": false});
        body.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
        server.post("/api/v1/workspaces", &body)
    };
    let first = wanted(json!({})).expect(201);
    assert_eq!(
        (&first["limits"]["memory_bytes"], &first["limits"]["disk_bytes"]),
        (&json!(256_u64 << 20), &json!(1_u64 << 30)),
        "{first}"
    );
    for refused in [
        json!({"limits": {"memory_bytes": 513_u64 << 20}}),
        json!({"egress": {"mode": "public"}}),
        json!({"limits": {"disk_bytes": 3_u64 << 30}}),
    ] {
        let answer = wanted(refused.clone());
        assert!((400..500).contains(&answer.status), "{refused}: {}", answer.text);
    }
    wanted(json!({"limits": {"memory_bytes": 512_u64 << 20}})).expect(201);
    // Whoever else is in the tenant finds it used up as well.
    let other = server.user("somebody", &["developer"]);
    let third = server.post_as(&other, "/api/v1/workspaces", &json!({"name": "c", "start": false}));
    assert_eq!((third.status, &third.body["code"]), (409, &json!("quota_reached")), "{}", third.text);
    assert!(third.text.contains("tenant"), "{}", third.text);
    let id = first["id"].as_str().expect("an id").to_owned();
    let snapshot = || server.post(&format!("/api/v1/workspaces/{id}/snapshots"), &json!({"name": "s"}));
    snapshot().expect(201);
    assert_eq!(snapshot().status, 409);
    server.post(&format!("/api/v1/workspaces/{id}/start"), &json!({})).expect(200);
    let longer = json!({"argv": ["true"], "timeout_ms": 300_001});
    assert_eq!(server.post(&format!("/api/v1/workspaces/{id}/executions"), &longer).status, 400);
    drop((server, cleared));
}

#[test]
fn a_workspace_is_copied_and_carried_with_commands() {
    let home = home();
    let cleared = Cleared(&home);
    let server = home.start();
    let id = create(&server, "shop", "base");
    let cli = |arguments: &[&str]| said(&server.cli(&home, arguments));
    cli(&["workspaces", "exec", &id, "--", "sh", "-c", "echo one > note; head -c 3000000 /dev/urandom > large"]);
    let taken = cli(&["workspaces", "snapshot", &id, "first"]);
    assert!(taken.contains("snp_") && taken.contains("first"), "{taken}");
    let listed: Value =
        serde_json::from_str(&cli(&["--output", "json", "workspaces", "snapshots", &id])).expect("JSON");
    let snapshot = listed["snapshots"][0]["id"].as_str().expect("an id").to_owned();
    cli(&["workspaces", "exec", &id, "--", "sh", "-c", "echo two > note"]);
    let used = cli(&["workspaces", "usage", &id]);
    assert!(used.contains("disk") && used.contains("MB"), "{used}");
    let renamed = cli(&["workspaces", "rename", &id, "Shop 2", "--idle-minutes", "30"]);
    assert!(renamed.contains("Shop 2"), "{renamed}");

    let file = home.path().join("shop.tar");
    let file = file.to_str().expect("a path");
    let written: Value =
        serde_json::from_str(&cli(&["--output", "json", "workspaces", "export", &id, file])).expect("JSON");
    assert_eq!(written["bytes"], std::fs::metadata(file).expect("the file").len());
    let again = server.cli(&home, &["workspaces", "export", &id, file]);
    assert!(!again.status.success() && text(&again).contains("there already"), "{}", text(&again));
    let came = cli(&["workspaces", "import", "again", file, "--start"]);
    assert!(came.contains("again") && came.contains("running"), "{came}");
    let other = ids(&server, "").into_iter().find(|other| *other != id).expect("the new one");
    assert_eq!(cli(&["workspaces", "exec", &other, "--", "cat", "note"]), "two\n");
    let digest = |id: &str| cli(&["workspaces", "exec", id, "--", "sha256sum", "large"]);
    assert_eq!(digest(&id), digest(&other));

    cli(&["workspaces", "suspend", &id]);
    cli(&["workspaces", "roll-back", &id, &snapshot]);
    let forked = cli(&["workspaces", "fork", &id, "copy", "--snapshot", &snapshot, "--start"]);
    assert!(forked.contains("copy") && forked.contains("running"), "{forked}");
    cli(&["workspaces", "start", &id]);
    assert_eq!(cli(&["workspaces", "exec", &id, "--", "cat", "note"]), "one\n");
    cli(&["workspaces", "drop-snapshot", &id, &snapshot]);
    assert!(cli(&["workspaces", "snapshots", &id]).contains("No snapshots"));
    drop((server, cleared));
}

#[test]
fn a_template_of_ones_own_is_made_from_and_read_like_the_built_in_ones() {
    let own = tempfile::tempdir().expect("a directory");
    let flask = own.path().join("flask");
    std::fs::create_dir_all(flask.join("files/src")).expect("its files");
    let manifest = "name = \"flask\"\ntitle = \"Flask\"\ndescription = \"A small web server\"\nlanguages = [\"python\"]\n\
                    default_command = \"python3 src/app.py\"\nports = [5000]\n\n[limits]\npids = 99\n";
    std::fs::write(flask.join("template.toml"), manifest).expect("a manifest");
    std::fs::write(flask.join("files/src/app.py"), "print('mine')\n").expect("a file");
    let home = home().with("REEVE_WORKSPACES_TEMPLATES", own.path().display().to_string());
    let cleared = Cleared(&home);
    let server = home.start();
    assert!(said(&server.cli(&home, &["workspaces", "templates"])).contains("A small web server"));
    let id = create(&server, "mine", "flask");
    let seen = server.get(&format!("/api/v1/workspaces/{id}")).expect(200);
    assert_eq!((&seen["template"], &seen["limits"]["pids"]), (&json!("flask"), &json!(99)), "{seen}");
    assert_eq!(run(&server, &id, &["python3", "src/app.py"])["stdout"], "mine\n");
    drop((server, cleared));

    std::fs::write(flask.join("template.toml"), "name = \"flask\"\ntitel = \"Flask\"\n").expect("a manifest");
    let mut command = home.command(crate::server::REEVE);
    let refused = command.args(["up", "--listen", "127.0.0.1:0"]).output().expect("it ends");
    assert!(!refused.status.success() && text(&refused).contains("template.toml"), "{}", text(&refused));
}

#[test]
fn a_program_whose_follower_goes_away_is_ended_and_that_is_no_failure() {
    let home = home();
    let cleared = Cleared(&home);
    let server = home.start();
    let id = create(&server, "left", "base");
    let following = reqwest::blocking::Client::new()
        .post(format!("{}/api/v1/workspaces/{id}/executions", server.url))
        .bearer_auth(server.token())
        .header("accept", "text/event-stream")
        .json(&json!({"argv": ["sleep", "600"]}))
        .send()
        .expect("a stream");
    let begun = BufReader::new(following).lines().map_while(Result::ok).find(|line| line.contains("\"start\""));
    assert!(begun.is_some(), "it began, and nobody follows it any more");
    let record = eventually(|| {
        let ended = "/api/v1/events?event_type=tool_execution&tool_name=workspace_execute";
        server.get(ended).expect(200).as_array().and_then(|found| found.first().cloned())
    });
    assert_eq!(record["outcome"]["status"], "success", "{record}");
    assert!(record["tool"]["result"].as_str().is_some_and(|words| words.contains("nobody followed it")), "{record}");
    let programs = run(&server, &id, &["sh", "-c", "cat /proc/*/cmdline | tr '\\0' ' '"]);
    assert!(!programs["stdout"].as_str().unwrap_or_default().contains("sleep 600"), "{programs}");
    drop((server, cleared));
}

#[test]
fn programs_go_on_while_the_server_is_killed_and_started_again() {
    let home = home();
    let cleared = Cleared(&home);
    let server = home.start();
    let id = create(&server, "lasting", "base");
    let begun = run(&server, &id, &["sh", "-c", "cat /proc/1/stat | cut -d ' ' -f 22"]);
    let open = server.post(&format!("/api/v1/workspaces/{id}/terminals"), &json!({"cols": 80, "rows": 24})).expect(201);
    server.kill();

    let server = home.start();
    let after = eventually(|| {
        let now = server.get(&format!("/api/v1/workspaces/{id}")).expect(200);
        (now["state"] == "running").then_some(now)
    });
    assert_eq!(after["name"], "lasting");
    let same = run(&server, &id, &["sh", "-c", "cat /proc/1/stat | cut -d ' ' -f 22"]);
    assert_eq!(begun["stdout"], same["stdout"], "its first process is the same one");
    let terminals = server.get(&format!("/api/v1/workspaces/{id}/terminals")).expect(200);
    assert_eq!(terminals["terminals"][0]["id"], open["id"], "and its terminal is still open: {terminals}");
    drop((server, cleared));
}

#[test]
fn killed_while_making_filling_and_removing_it_keeps_what_it_said_and_leaves_nothing() {
    let home = home();
    let cleared = Cleared(&home);
    kills::survived(&home, kills::Kills { rounds: ROUNDS, within: Duration::from_millis(600) });
    drop(cleared);
}

#[test]
fn a_machine_without_the_program_inside_says_what_is_missing() {
    let nowhere = PathBuf::from("/nonexistent/reeve-runtime").display().to_string();
    let home = home().with("REEVE_WORKSPACES_RUNTIME", nowhere);
    let ended = home.command(crate::server::REEVE).args(["doctor"]).output().expect("it ends");
    let said = text(&ended);
    assert!(!ended.status.success() && said.contains("reeve-runtime"), "{said}");
}

#[test]
fn everything_comes_back_from_one_file_and_nothing_newer_is_lost() {
    let home = home();
    let cleared = Cleared(&home);
    let server = home.start();
    let id = create(&server, "ledger", "base");
    run(&server, &id, &["sh", "-c", "mkdir -p books && echo 1,200 > books/2026 && chmod 600 books/2026"]);
    let file = home.path().join("backup.tar");
    let name = file.display().to_string();
    let taken = said(&server.cli(&home, &["backup", &name]));
    assert!(taken.contains("Workspaces  1"), "{taken}");
    let mode = std::os::unix::fs::PermissionsExt::mode(&file.metadata().expect("a file").permissions());
    assert_eq!(mode & 0o777, 0o600, "it holds keys");
    let again = server.cli(&home, &["backup", &name]);
    assert!(!again.status.success() && text(&again).contains("is there already"), "{}", text(&again));
    assert_eq!(
        std::fs::read_dir(home.data().join("backups")).expect("the directory").count(),
        0,
        "nothing is left there"
    );

    let live = home.command(crate::server::REEVE).args(["restore", &name]).output().expect("it ends");
    assert!(!live.status.success() && text(&live).contains("a server uses"), "{}", text(&live));

    let other = self::home();
    let elsewhere = Cleared(&other);
    let restored = other.command(crate::server::REEVE).args(["restore", &name]).output().expect("it ends");
    assert!(said(&restored).contains("Workspaces"), "{}", text(&restored));
    let second = other.start();
    let back = eventually(|| {
        let there = second.get(&format!("/api/v1/workspaces/{id}")).expect(200);
        (there["state"] == "suspended" || there["state"] == "stopped").then_some(there)
    });
    assert_eq!(back["name"], "ledger");
    eventually(|| (!other.data().join("returning").exists()).then_some(()));
    second.post(&format!("/api/v1/workspaces/{id}/start"), &json!({})).expect(200);
    let kept = run(&second, &id, &["sh", "-c", "stat -c %a books/2026; cat books/2026"]);
    assert_eq!(kept["stdout"], "600\n1,200\n", "{kept}");
    let verdict = second.post("/api/v1/audit/verify", &json!({})).expect(200);
    assert_eq!(verdict["valid"], true, "{verdict}");
    let mut second = second;
    second.signal("TERM");
    second.wait(Duration::from_secs(20)).expect("it ends");

    let over = other.command(crate::server::REEVE).args(["restore", &name]).output().expect("it ends");
    assert!(!over.status.success() && text(&over).contains("would lose what came later"), "{}", text(&over));
    drop((elsewhere, server, cleared));
}
