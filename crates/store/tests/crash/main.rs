//! What a killed process, a full disk and a limit on files leave behind, done for real: this program starts itself as a
//! child, and takes from it what a crash would.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stdout, reason = "a child tells its parent on its standard output what has been answered")]

mod appending;
mod full_disk;
#[path = "../it/rooms.rs"]
mod rooms;
mod rows;

use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Names the part that a child plays; the directory is its argument.
const PART: &str = "REEVE_CRASH_TEST_PART";

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let dir = || PathBuf::from(std::env::args().nth(1).unwrap());
    match std::env::var(PART).as_deref() {
        Ok("append") => runtime.block_on(appending::child(dir())),
        Ok("rows") => runtime.block_on(rows::child(dir())),
        Ok("limit") => runtime.block_on(full_disk::child_with_a_limit(dir())),
        Ok("state-limit") => runtime.block_on(full_disk::child_whose_state_stays_behind(dir())),
        Ok("disk") => runtime.block_on(full_disk::child_on_a_small_disk(dir())),
        Ok(other) => panic!("there is no part `{other}`"),
        Err(_) => {
            let named = |name: &str| std::env::args().nth(1).is_none_or(|wanted| name.contains(&wanted));
            let all: [(&str, fn()); 5] = [
                ("every_answered_record_survives_a_kill", appending::every_answered_record_survives_a_kill),
                ("every_answered_row_survives_a_kill", rows::every_answered_row_survives_a_kill),
                ("a_log_that_cannot_grow_refuses_and_recovers", full_disk::a_log_that_cannot_grow_refuses_and_recovers),
                ("a_state_that_stays_behind_is_never_asked", full_disk::a_state_that_stays_behind_is_never_asked),
                (
                    "a_full_disk_refuses_changes_and_serves_reads",
                    full_disk::a_full_disk_refuses_changes_and_serves_reads,
                ),
            ];
            for (name, check) in all.into_iter().filter(|(name, _)| named(name)) {
                let started = std::time::Instant::now();
                check();
                println!("{name}: ok, {:.1} s", started.elapsed().as_secs_f32());
            }
        }
    }
}

/// This program as a child that plays a part. `wrapper` are words to put before it.
fn child(part: &str, dir: &std::path::Path, wrapper: &[&str]) -> Command {
    let me = std::env::current_exe().unwrap();
    let mut command = match wrapper {
        [] => Command::new(me),
        [first, rest @ ..] => {
            let mut command = Command::new(first);
            command.args(rest).arg(me);
            command
        }
    };
    command.arg(dir).env(PART, part).stdin(Stdio::null());
    command
}
