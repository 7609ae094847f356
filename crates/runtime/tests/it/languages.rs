//! Files run by their extension.

use reeve_types::workspace::processes::{ExecPhase, ExecRequest};
use serde_json::json;

use crate::running::{Ran, Running, installed};

async fn run_file(runtime: &Running, file: &str, args: &[&str]) -> Ran {
    let args = args.iter().map(|arg| (*arg).to_owned()).collect();
    let file = Some(file.parse().expect("a path"));
    runtime.run(ExecRequest { file, args, timeout_ms: Some(120_000), ..ExecRequest::default() }).await
}

#[tokio::test]
async fn what_is_installed_here_runs() {
    let programs = [
        ("python3", "a b.py", "import sys; print('hello', sys.argv[1])"),
        ("node", "a.mjs", "console.log('hello', process.argv[2])"),
        ("node", "a.cjs", "console.log('hello', process.argv[2])"),
        ("bash", "$(id).sh", "echo hello \"$1\""),
        ("perl", "a.pl", "print \"hello $ARGV[0]\\n\""),
        ("gcc", "-a.c", "#include <stdio.h>\nint main(int n, char **a) { printf(\"hello %s\\n\", a[1]); return 0; }"),
        (
            "g++",
            "a.cc",
            "#include <iostream>\nint main(int, char **a) { std::cout << \"hello \" << a[1] << std::endl; }",
        ),
        ("g++", "a.hpp", "#include <cstdio>\nint main(int, char **a) { std::printf(\"hello %s\\n\", a[1]); }"),
        ("rustc", "1-a.rs", "fn main() { println!(\"hello {}\", std::env::args().nth(1).unwrap()); }"),
        (
            "javac",
            "src/Hello.java",
            "package org.example;\nclass Other {}\npublic class Hello { public static void main(String[] a) { \
             System.out.println(\"hello \" + a[0]); } }",
        ),
    ];
    let runtime = Running::start().await;
    for (program, file, source) in programs {
        if !installed(program) {
            continue;
        }
        runtime.write(file, source);
        let ran = run_file(&runtime, file, &["wörld; $x"]).await;
        assert_eq!(ran.stdout, "hello wörld; $x\n", "{file}: {ran:?}");
        assert_eq!((ran.outcome.exit_code, ran.outcome.phase), (0, ExecPhase::Run), "{file}");
    }
    let left = std::fs::read_dir(runtime.temporary()).expect("the temporary directory").flatten();
    let left: Vec<_> = left.filter(|entry| entry.file_name().to_string_lossy().starts_with("reeve-run-")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn a_failing_compiler_is_no_failing_program() {
    let runtime = Running::start().await;
    runtime.write("broken.c", "int main( {");
    runtime.write("fails.c", "int main(void) { return 3; }");
    let broken = run_file(&runtime, "broken.c", &[]).await;
    assert_eq!((broken.outcome.exit_code, broken.outcome.phase, broken.argvs.len()), (1, ExecPhase::Compile, 1));
    assert!(broken.stderr.contains("broken.c:1"), "{}", broken.stderr);
    let fails = run_file(&runtime, "fails.c", &[]).await;
    assert_eq!((fails.outcome.exit_code, fails.outcome.phase, fails.argvs.len()), (3, ExecPhase::Run, 2));
}

#[tokio::test]
async fn the_language_may_be_named_and_a_file_may_run_itself() {
    let runtime = Running::start().await;
    runtime.write("script", "#!/bin/sh\necho self\n");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(runtime.root().join("script"), mode).expect("executable");
    assert_eq!(run_file(&runtime, "script", &[]).await.stdout, "self\n");
    runtime.write("data.txt", "print('named')");
    let file = Some("data.txt".parse().expect("a path"));
    let named = ExecRequest { file, language: Some("python".to_owned()), ..ExecRequest::default() };
    assert_eq!(runtime.run(named).await.stdout, "named\n");
}

#[tokio::test]
async fn a_missing_toolchain_is_a_clear_answer() {
    let runtime = Running::start_with(&[("PATH", "/nowhere")]).await;
    for (file, program) in
        [("a.py", "python3"), ("a.rs", "rustc"), ("a.ts", "tsx"), ("a.java", "javac"), ("a.go", "go")]
    {
        runtime.write(file, "");
        let (status, problem) = runtime.post("/v1/executions", json!({ "file": file })).await;
        assert_eq!((status.as_u16(), &problem["code"]), (422, &json!("missing_toolchain")), "{file}");
        assert!(problem["message"].as_str().is_some_and(|said| said.contains(program)), "{problem}");
    }
    let languages = runtime.get("/v1/languages").await;
    let all = languages.as_array().expect("languages");
    assert!(all.len() >= 12 && all.iter().all(|language| language["available"] == false), "{languages}");
}

#[tokio::test]
async fn languages_say_what_is_there() {
    let runtime = Running::start().await;
    let languages = runtime.get("/v1/languages").await;
    for (id, program) in [("python", "python3"), ("node", "node"), ("bash", "bash"), ("c", "gcc"), ("rust", "rustc")] {
        let known = languages.as_array().expect("languages").iter().find(|language| language["id"] == id);
        assert_eq!(known.expect("it is listed")["available"], installed(program), "{id}");
    }
}
