//! The help of every command, and how words become settings.

use super::*;

/// Every command with the words that lead to it.
fn commands(command: &clap::Command, path: &str, found: &mut Vec<(String, clap::Command)>) {
    found.push((path.to_owned(), command.clone()));
    for inner in command.get_subcommands() {
        commands(inner, &format!("{path} {}", inner.get_name()), found);
    }
}

fn all() -> Vec<(String, clap::Command)> {
    let mut root = command().term_width(100);
    root.build();
    let mut found = Vec::new();
    commands(&root, "reeve", &mut found);
    found
}

#[test]
fn the_definition_is_sound() {
    command().debug_assert();
}

#[test]
fn the_help_of_every_command_is_reviewed() {
    for (path, mut command) in all() {
        let help = command.render_long_help().to_string();
        insta::assert_snapshot!(format!("help_{}", path.replace(' ', "_")), help);
    }
}

#[test]
fn every_command_and_every_argument_says_what_it_is_for() {
    for (path, command) in all() {
        assert!(command.get_about().is_some(), "`{path}` has no description");
        for argument in
            command.get_arguments().filter(|argument| !matches!(argument.get_id().as_str(), "help" | "version"))
        {
            assert!(argument.get_help().is_some(), "`{}` of `{path}` has no description", argument.get_id());
        }
    }
}

fn parsed(line: &[&str]) -> Cli {
    parse(line.iter().map(OsString::from)).unwrap()
}

#[test]
fn flags_become_settings() {
    let cli = parsed(&["reeve", "up", "--listen", ":1", "--listen", ":2", "--mode", "fix", "--data-dir", "/d"]);
    let flags: Vec<_> = cli.flags().into_iter().map(|flag| (flag.key, flag.flag, flag.values.join(" "))).collect();
    let wanted = [("data_dir", "--data-dir", "/d"), ("listen", "--listen", ":1 :2"), ("mode", "--mode", "fix")];
    assert_eq!(flags, wanted.map(|(key, flag, values)| (key, flag, values.to_owned())));
}

#[test]
fn every_flag_names_a_setting() {
    let lines: [&[&str]; 3] = [
        &[
            "reeve",
            "up",
            "--listen",
            "x",
            "--policy",
            "x",
            "--inventory",
            "x",
            "--users-file",
            "x",
            "--identity",
            "x",
            "--mode",
            "x",
            "--log-level",
            "x",
            "--log-format",
            "x",
            "--data-dir",
            "x",
            "--server",
            "x",
            "--api-key",
            "x",
            "--as",
            "x",
        ],
        &["reeve", "approvals", "pending", "--user", "x"],
        &["reeve", "explain", "--infra-config", "x"],
    ];
    let around = Surroundings { working_dir: "/".into(), is_root: true, ..Surroundings::default() };
    for line in lines {
        for flag in parsed(line).flags() {
            let (settings, _) = crate::config::Settings::gather(&around, std::slice::from_ref(&flag));
            let known = crate::config::reference().contains(&format!("| `{}` |", flag.key));
            assert!(known && settings.get(flag.key).is_some() && line.contains(&flag.flag), "{flag:?}");
        }
    }
}

#[test]
fn global_flags_stand_anywhere() {
    for line in [&["reeve", "--json", "events"], &["reeve", "events", "--json"], &["reeve", "-ojson", "events"]] {
        assert!(parsed(line).globals.wants_json());
    }
    let cli = parsed(&["reeve", "approvals", "approve", "apr_1", "--reason", "x", "--url", "http://h"]);
    assert_eq!(cli.globals.server.as_deref(), Some("http://h"));
}

#[tokio::test]
async fn completions_and_version_need_no_configuration() {
    let out = Captured::default();
    let mut term = Term::into(out.clone(), std::io::sink());
    let code = dispatch(parsed(&["reeve", "--config", "/no/such/file", "completions", "bash"]), &mut term).await;
    assert_eq!(code, Ok(exit::DONE));
    assert!(out.text().contains("complete -F _reeve"), "{}", out.text());
    let code = dispatch(parsed(&["reeve", "--config", "/no/such/file", "version", "--json"]), &mut term).await;
    assert_eq!(code, Ok(exit::DONE));
    assert!(out.text().ends_with(&format!("{{\"name\":\"reeve\",\"version\":\"{}\"}}\n", env!("CARGO_PKG_VERSION"))));
}

#[tokio::test]
async fn a_broken_configuration_is_a_usage_error() {
    let mut term = Term::into(std::io::sink(), std::io::sink());
    let failure = dispatch(parsed(&["reeve", "--config", "/no/such/file", "config"]), &mut term).await.unwrap_err();
    assert_eq!((failure.code, failure.message.as_str()), (exit::USAGE, "/no/such/file: there is no such file"));
}

#[tokio::test]
async fn a_server_out_of_reach_is_said_with_a_hint() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("reeve.toml");
    // Port 9 of the loopback interface (discard) has no server.
    std::fs::write(&config, format!("data_dir = '{}'\nserver = 'http://127.0.0.1:9'\n", dir.path().display())).unwrap();
    let mut term = Term::into(std::io::sink(), std::io::sink());
    let line = ["reeve", "--config", config.to_str().unwrap(), "approvals", "pending"];
    let failure = dispatch(parsed(&line), &mut term).await.unwrap_err();
    assert_eq!(failure.code, exit::COULD_NOT);
    assert!(failure.message.starts_with("cannot reach http://127.0.0.1:9: "), "{}", failure.message);
    assert!(failure.hint.contains("reeve up"));
}

#[tokio::test]
async fn without_a_server_commands_work_on_the_data_directory() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("reeve.toml");
    std::fs::write(&config, "data_dir = 'data'\n").unwrap();
    let run = async |words: &[&str]| {
        let out = Captured::default();
        let mut term = Term::into(out.clone(), std::io::sink());
        let line: Vec<&str> = ["reeve", "--config", config.to_str().unwrap()].iter().chain(words).copied().collect();
        (dispatch(parsed(&line), &mut term).await, out.text())
    };
    let (code, tools) = run(&["tools", "--json"]).await;
    assert_eq!(code, Ok(exit::DONE));
    assert!(tools.contains("\"name\":\"diagnose\""), "{tools}");
    // Nothing listens on port 9 of the loopback interface: a finding, and nobody has looked inside.
    let (code, diagnosis) = run(&["diagnose", "host=127.0.0.1 port=9 password=hush"]).await;
    assert_eq!(code, Ok(exit::COULD_NOT), "{diagnosis}");
    assert!(diagnosis.contains("CRITICAL") && !diagnosis.contains("hush"), "{diagnosis}");
    let (code, waiting) = run(&["tool", "run", "cancel_query", "pid=1", "--target", "host=127.0.0.1 port=9"]).await;
    assert_eq!(code, Ok(exit::AWAITING_APPROVAL));
    assert!(waiting.contains("No server runs. Start one"), "{waiting}");
    // What one command recorded, the next one finds.
    let (code, verdict) = run(&["audit", "verify"]).await;
    assert_eq!(code, Ok(exit::DONE), "{verdict}");
    let (_, decisions) = run(&["explain", "--list", "--table"]).await;
    assert!(decisions.contains("require_approval") && decisions.contains("allow"), "{decisions}");
    let (code, _) = run(&["approvals", "approve", "apr_01h455vb4pex5vsknk084sn02q"]).await;
    assert_eq!(code.unwrap_err().code, exit::COULD_NOT, "answering needs a server that outlives the command");
}

/// Standard output that a test can read.
#[derive(Clone, Default)]
struct Captured(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

impl Captured {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl std::io::Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
