//! Ending everything below this process.

use std::collections::HashMap;
use std::time::{Duration, Instant};
use std::{fs, thread};

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};

use super::order::{GRACE_MS, PATIENCE_MS, Stop};

const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Rounds of stopping before killing begins anyway.
const STOP_ROUNDS: usize = 20;

/// Ends the tree below this process, and returns when nothing lives in it.
pub(super) fn end(stop: Stop) {
    match stop {
        Stop::Ask => ask(&[Signal::TERM], GRACE_MS),
        Stop::AskPatiently => ask(&[Signal::TERM], PATIENCE_MS),
        Stop::HangUp => ask(&[Signal::HUP, Signal::CONT], GRACE_MS),
        Stop::Kill => {}
    }
    kill();
}

fn ask(signals: &[Signal], grace_ms: u64) {
    for pid in living_below() {
        for signal in signals {
            let _gone = kill_process(pid, *signal);
        }
    }
    let deadline = Instant::now() + Duration::from_millis(grace_ms);
    while Instant::now() < deadline && !living_below().is_empty() {
        thread::sleep(LOOK_EVERY);
    }
}

/// What multiplies faster than it is killed is first kept from multiplying: no more processes for its user, then every
/// process stopped until no new one appears.
fn kill() {
    let mut known = 0;
    for _ in 0..STOP_ROUNDS {
        let living = living_below();
        if living.len() <= 1 || living.len() == known {
            break;
        }
        known = living.len();
        for pid in living {
            let none = Rlimit { current: Some(0), maximum: Some(0) };
            let _gone = prlimit(Some(pid), Resource::Nproc, none);
            let _gone = kill_process(pid, Signal::STOP);
        }
    }
    loop {
        let living = living_below();
        if living.is_empty() {
            return;
        }
        for pid in living {
            let _gone = kill_process(pid, Signal::KILL);
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// Every process below this one that is no zombie.
fn living_below() -> Vec<Pid> {
    below(rustix::process::getpid())
}

/// The children of a process that are no zombies.
pub(super) fn children(parent: Pid) -> Vec<Pid> {
    let all = families().remove(&parent.as_raw_nonzero().get()).unwrap_or_default();
    all.into_iter().filter(|(_, alive)| *alive).filter_map(|(pid, _)| Pid::from_raw(pid)).collect()
}

/// Every process below another that is no zombie. Zombies count as links: what is below one is found all the same.
pub(super) fn below(top: Pid) -> Vec<Pid> {
    let mut children = families();
    let mut found = Vec::new();
    let mut look_below = vec![top.as_raw_nonzero().get()];
    while let Some(parent) = look_below.pop() {
        for (pid, alive) in children.remove(&parent).unwrap_or_default() {
            look_below.push(pid);
            found.extend(Pid::from_raw(pid).filter(|_| alive));
        }
    }
    found
}

/// Of every parent its children, and whether they live.
fn families() -> HashMap<i32, Vec<(i32, bool)>> {
    let mut children: HashMap<i32, Vec<(i32, bool)>> = HashMap::new();
    let names = fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.file_name());
    for pid in names.filter_map(|name| name.to_str()?.parse::<i32>().ok()) {
        if let Some((parent, alive)) = parent_of(pid) {
            children.entry(parent).or_default().push((pid, alive));
        }
    }
    children
}

/// The parent of a process, and whether the process lives. The name in `stat` may hold anything, `)` included.
fn parent_of(pid: i32) -> Option<(i32, bool)> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let after_name = stat.iter().rposition(|byte| *byte == b')')? + 1;
    let rest = std::str::from_utf8(stat.get(after_name..)?).ok()?;
    let mut words = rest.split_ascii_whitespace();
    let alive = !matches!(words.next()?, "Z" | "X" | "x");
    Some((words.next()?.parse().ok()?, alive))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_is_below_its_parent() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("a child");
        let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid")).expect("a pid");
        assert!(below(rustix::process::getpid()).contains(&pid));
        child.kill().expect("killed");
        child.wait().expect("reaped");
    }
}
