//! A real server whose workspaces take all there is: it answers everybody else meanwhile, its own memory stays as it is, and
//! what nobody uses rests while what works does not.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::server::{Server, eventually};
use crate::terminal::Terminal;
use crate::workspaces::{Cleared, create, home, run};

/// How much a workspace floods its terminal with.
const FLOOD: usize = 96 << 20;
/// How much of a server's memory may come and go.
const MEMORY_SWAY: u64 = 48 << 20;

/// Memory of a process in bytes, by the name that the kernel gives it.
pub(crate) fn memory(server: &Server, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a line of it");
    let kilobytes: u64 =
        line.trim_matches([':', ' ', '\t']).split(' ').next().and_then(|n| n.parse().ok()).expect("kB");
    kilobytes * 1024
}

/// Makes the kernel forget the most memory that a server ever had.
pub(crate) fn forget_the_most(server: &Server) {
    std::fs::write(format!("/proc/{}/clear_refs", server.pid()), "5").expect("a process of the tests' own");
}

/// Forks without end, whatever it is asked to do, for as long as nobody kills it.
const FORK_BOMB: &str = "import os, signal, time\n\
    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n\
    end = time.time() + 90\n\
    while time.time() < end:\n try:\n  os.fork()\n except OSError:\n  time.sleep(0.01)\n";

#[test]
fn a_fork_bomb_meets_the_usual_limit_and_everybody_else_is_answered() {
    let home = home();
    let cleared = Cleared(&home);
    let server = home.start();
    let (bombed, neighbour) = (create(&server, "bombed", "base"), create(&server, "quiet", "base"));
    let at = |rest: &str| format!("/api/v1/workspaces/{bombed}{rest}");
    let made = server.get(&at("")).expect(200);
    assert_eq!(made["limits"]["pids"], 512, "the usual limit: {made}");
    let counted = made["isolation"]["limits"].as_str().is_some_and(|word| word.starts_with("cgroup"));
    assert!(counted, "this takes a kernel that counts processes: {made}");
    let pids = || server.get(&at("/usage")).expect(200)["pids"].as_u64().unwrap_or_default();
    std::thread::scope(|scope| {
        let bomb = scope.spawn(|| {
            let body = json!({"argv": ["/usr/bin/python3", "-c", FORK_BOMB], "timeout_ms": 8000});
            server.post(&at("/executions"), &body).expect(200)
        });
        let most = eventually(|| Some(pids()).filter(|pids| *pids >= 500));
        assert!(most <= 512, "{most} processes where 512 are allowed");
        let mut took = Vec::new();
        while !bomb.is_finished() {
            let began = Instant::now();
            assert_eq!(server.get("/health").status, 200);
            took.push(began.elapsed());
            let pids = pids();
            assert!(pids <= 512, "{pids} processes where 512 are allowed");
            std::thread::park_timeout(Duration::from_millis(20));
        }
        took.sort();
        let (half, late) = (took[took.len() / 2], took[took.len() * 99 / 100]);
        println!("health while {most} processes fork: p50 {half:?}, p99 {late:?} of {} calls", took.len());
        assert!(took.len() >= 20 && late < Duration::from_secs(5), "it was answered seldom or late: {took:?}");
        assert_eq!(run(&server, &neighbour, &["echo", "well"])["stdout"], "well\n");
        let ended = bomb.join().expect("the bomb");
        assert_eq!((&ended["timed_out"], &ended["exit_code"]), (&json!(true), &json!(124)), "{ended}");
    });
    eventually(|| (pids() < 12).then_some(()));
    assert_eq!(run(&server, &bombed, &["echo", "well"])["stdout"], "well\n");
    drop((server, cleared));
}

#[test]
fn a_flood_in_a_terminal_costs_the_server_no_memory_and_is_ended_at_once() {
    let home = home();
    let cleared = Cleared(&home);
    let server = home.start();
    let id = create(&server, "flooded", "base");
    let mut terminal = Terminal::open(&server, &id, &["bash", "--norc", "-i"]);
    terminal.type_in("yes\n");
    terminal.skip(16 << 20);
    let before = memory(&server, "VmRSS");
    forget_the_most(&server);
    terminal.skip(FLOOD);
    let began = Instant::now();
    terminal.type_in("\x03echo stop''ped\n");
    let until_prompt = terminal.until("stopped");
    println!("Ctrl-C in a flood: the prompt is back after {:?} and {until_prompt} bytes", began.elapsed());
    // What was on its way, and no more: what a flood writes in the time that a person notices is much more.
    assert!(until_prompt < 32 << 20, "{until_prompt} bytes came after Ctrl-C");

    // Somebody who reads nothing: the program waits, and nothing piles up.
    terminal.type_in("yes\n");
    let writes = "cat /proc/[0-9]*/stat | grep -F '(yes)' | cut -d ' ' -f 3,14,15";
    let mut seen = String::new();
    eventually(|| {
        let now = run(&server, &id, &["sh", "-c", writes])["stdout"].as_str().unwrap_or_default().to_owned();
        let waits = now.starts_with('S') && now == seen;
        seen = now;
        waits.then_some(())
    });
    let began = Instant::now();
    terminal.type_in("\x03");
    eventually(|| run(&server, &id, &["sh", "-c", writes])["stdout"].as_str().filter(|left| left.is_empty()).map(drop));
    println!("Ctrl-C when nobody reads: the program is gone after {:?}", began.elapsed());
    let most = memory(&server, "VmHWM");
    assert!(most.saturating_sub(before) < MEMORY_SWAY, "{before} bytes before the flood, at most {most} in it");
    terminal.type_in("echo al''ive\n");
    terminal.until("alive");
    drop((terminal, server, cleared));
}

#[test]
fn an_open_tab_keeps_nothing_awake() {
    let home = home();
    let cleared = Cleared(&home);
    let server = home.start();
    let body = json!({"name": "quiet", "limits": {"idle_timeout_ms": 4000}});
    let id = server.post("/api/v1/workspaces", &body).expect(201)["id"].as_str().expect("an id").to_owned();
    let at = |rest: &str| format!("/api/v1/workspaces/{id}{rest}");
    let mut shown = Terminal::open(&server, &id, &["sh", "-c", "seq 1000; exec sleep 600"]);
    shown.until("\n1000");
    // What a page that is left open does: it follows files and workspaces, asks for states and ports, and attaches to its
    // terminals again whenever its token was renewed.
    let follow = |path: String| {
        let client = reqwest::blocking::Client::builder().timeout(None).build().expect("a client");
        let stream = client.get(format!("{}{path}", server.url)).bearer_auth(server.token()).send().expect("a stream");
        assert_eq!(stream.status().as_u16(), 200);
        stream
    };
    let _open = (follow(at("/files/events")), follow("/api/v1/workspaces/events".to_owned()));
    let begun = server.get(&at("")).expect(200);
    let seen = eventually(|| {
        let seen = server.get(&at("")).expect(200);
        if seen["state"] == "suspended" {
            return Some(seen);
        }
        server.get(&at("/ports"));
        server.get(&at("/usage"));
        let rests: Option<jiff::Timestamp> = seen["suspends_at"].as_str().and_then(|at| at.parse().ok());
        // Nobody attaches while it is being suspended.
        if rests.is_some_and(|at| at.duration_since(jiff::Timestamp::now()).as_secs() >= 1) {
            let mut again = Terminal::attach(&server, &id, &shown.id);
            again.control(&json!({"type": "resize", "cols": 120, "rows": 40}));
            again.control(&json!({"type": "ping", "t": 1}));
            again.until("\n1000");
        }
        None
    });
    assert_eq!(seen["last_active_at"], begun["last_active_at"], "nothing of it was use: {seen}");
    drop((shown, server, cleared));
}

#[test]
fn a_running_build_is_not_suspended_and_rests_when_it_has_ended() {
    let home = home();
    let cleared = Cleared(&home);
    let server = home.start();
    let body = json!({"name": "built", "limits": {"idle_timeout_ms": 1000}});
    let id = server.post("/api/v1/workspaces", &body).expect(201)["id"].as_str().expect("an id").to_owned();
    let at = format!("/api/v1/workspaces/{id}");
    std::thread::scope(|scope| {
        // The idle are looked for every ten seconds: at least once while this is silent.
        let line = "sleep 12; echo built";
        let building = scope.spawn(|| run(&server, &id, &["sh", "-c", line]));
        let busy = eventually(|| Some(server.get(&at).expect(200)).filter(|seen| seen["alive_because"] == "execution"));
        assert_eq!((&busy["state"], busy.get("suspends_at")), (&json!("running"), None), "{busy}");
        let built = building.join().expect("the build");
        assert_eq!((&built["exit_code"], &built["stdout"]), (&json!(0), &json!("built\n")), "{built}");
    });
    eventually(|| (server.get(&at).expect(200)["state"] == "suspended").then_some(()));
    drop((server, cleared));
}
