//! Fifty programs of the Agent Client Protocol at work at once, in five workspaces: how long after a program has written an
//! update it is an event, and read by a client; and whether any is lost.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use reeve_types::SessionId;
use serde_json::{Value, json};

use super::{Outcome, Server, follow_request, told};

const AGENTS: usize = 50;
/// A workspace holds sixteen of them.
const WORKSPACES: usize = 5;
/// Updates of each, ten in a second.
const UPDATES: usize = 100;
const PROGRAM: &str = include_str!("updates.py");

/// What was seen of one update: when it became an event, and when it was read, after it was written.
struct Seen {
    event: Duration,
    read: Duration,
}

pub(super) fn agents() -> Outcome<()> {
    let home = tempfile::tempdir()?;
    let (data, programs) = (home.path().join("data"), home.path().join("programs"));
    for place in [&data, &programs] {
        std::fs::create_dir_all(place)?;
    }
    let program = programs.join("updates");
    std::fs::write(&program, PROGRAM)?;
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755))?;
    let agent =
        format!("[agent.updates]\ncommand = ['updates']\ntitle = 'Updates'\nmount = '{}'\n", programs.display());
    std::fs::write(data.join("agents.toml"), agent)?;
    let server =
        Server::start_with(&data, &[("REEVE_WORKSPACES_DRIVER", "namespace"), ("REEVE_WORKSPACES_WARM", "0")])?;
    let mut places = Vec::new();
    for n in 0..WORKSPACES {
        let made = server.ask(
            "POST",
            "/api/v1/workspaces",
            Some(&json!({"name": format!("many {n}"), "template": "base"})),
        )?;
        places.push(made["id"].as_str().ok_or_else(|| format!("no workspace: {made}"))?.to_owned());
    }
    let outcome = at_work(&server, &places);
    for place in &places {
        server.ask("DELETE", &format!("/api/v1/workspaces/{place}?force=true"), None)?;
    }
    outcome
}

fn at_work(server: &Server, places: &[String]) -> Outcome<()> {
    let ids: Vec<SessionId> = (0..AGENTS)
        .map(|n| {
            let wanted = json!({"agent": "updates", "workspace_id": places[n % places.len()]});
            let made = server.ask("POST", "/api/v1/sessions", Some(&wanted))?;
            Ok(made["id"].as_str().ok_or_else(|| format!("no session: {made}"))?.parse()?)
        })
        .collect::<Outcome<_>>()?;
    // The programs are started first: what is measured is updates, not Python.
    for id in &ids {
        say(server, id, "updates 1")?;
    }
    for id in &ids {
        follow(server, id, 1)?;
    }
    let begun = Instant::now();
    let seen = std::thread::scope(|scope| -> Outcome<Vec<Seen>> {
        let followers: Vec<_> = ids.iter().map(|id| scope.spawn(|| follow(server, id, 2))).collect();
        for id in &ids {
            say(server, id, &format!("updates {UPDATES}"))?;
        }
        let mut all = Vec::new();
        for follower in followers {
            all.extend(follower.join().map_err(|_| "a follower failed")??);
        }
        Ok(all)
    })?;
    // The first of each was the one of the start.
    println!("{AGENTS} agents at once: {} of {} updates came", seen.len() - AGENTS, AGENTS * UPDATES);
    let took = begun.elapsed();
    told("update written by a program (ACP) to event", seen.iter().map(|seen| seen.event).collect(), took);
    told("update written by a program (ACP) to read (SSE)", seen.iter().map(|seen| seen.read).collect(), took);
    Ok(())
}

fn say(server: &Server, id: &SessionId, text: &str) -> Outcome<()> {
    server.ask("POST", &format!("/api/v1/sessions/{id}/prompts"), Some(&json!({"text": text}))).map(drop)
}

/// Reads a session from its beginning until so many turns have ended.
fn follow(server: &Server, id: &SessionId, turns: usize) -> Outcome<Vec<Seen>> {
    let mut reader = BufReader::new(TcpStream::connect(&server.address)?);
    reader.get_mut().write_all(follow_request(server, id, 0).as_bytes())?;
    let (mut line, mut seen, mut ended) = (String::new(), Vec::new(), 0);
    while ended < turns {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Err("the stream ended".into());
        }
        let now = nanoseconds(jiff::Timestamp::now());
        let Some(data) = line.trim_end().strip_prefix("data: ") else { continue };
        let event: Value = serde_json::from_str(data)?;
        match event["event"].as_str() {
            Some("turn_ended") => {
                if event["end"] != "completed" {
                    return Err(format!("a turn ended badly: {event}").into());
                }
                ended += 1;
            }
            Some("tool_called") => {
                let written: i128 = event["title"].as_str().unwrap_or_default().parse()?;
                let at: jiff::Timestamp = event["at"].as_str().unwrap_or_default().parse()?;
                seen.push(Seen { event: since(written, nanoseconds(at)), read: since(written, now) });
            }
            _ => {}
        }
    }
    Ok(seen)
}

fn nanoseconds(at: jiff::Timestamp) -> i128 {
    at.as_nanosecond()
}

fn since(from: i128, to: i128) -> Duration {
    Duration::from_nanos(u64::try_from(to - from).unwrap_or(0))
}
