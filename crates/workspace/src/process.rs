//! Processes of this machine that must not be mistaken for others: a number and when it began.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal};
use serde::{Deserialize, Serialize};

/// A process, told apart from later ones with the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessMark {
    pid: i32,
    /// When it began, in clock ticks since boot.
    began: u64,
}

impl ProcessMark {
    /// The process that has this number now.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let pid = i32::try_from(pid).ok()?;
        let (began, _) = look(pid)?;
        Some(Self { pid, began })
    }

    /// Whether it still runs. One that has ended and waits to be collected does not.
    pub(crate) fn runs(self) -> bool {
        look(self.pid).is_some_and(|(began, ended)| began == self.began && !ended)
    }

    /// Its number.
    pub(crate) fn pid(self) -> i32 {
        self.pid
    }

    /// Whether its environment, when it was started, held a variable with exactly this value.
    pub(crate) fn was_given(self, variable: &str, value: &str) -> bool {
        let wanted = format!("{variable}={value}");
        let environment = std::fs::read(format!("/proc/{}/environ", self.pid)).unwrap_or_default();
        self.runs() && environment.split(|byte| *byte == 0).any(|one| one == wanted.as_bytes())
    }

    /// Sends it a signal. A later process with the same number never gets it.
    pub(crate) fn signal(self, signal: Signal) {
        let Some(handle) = self.handle() else { return };
        // Not there any more is what was wanted.
        let _gone = rustix::process::pidfd_send_signal(&handle, signal);
    }

    /// Waits until it has ended; tells whether it has.
    pub(crate) async fn ended_within(self, time: Duration) -> bool {
        let deadline = Instant::now() + time;
        let mut pause = Duration::from_micros(500);
        while self.runs() {
            if Instant::now() >= deadline {
                return false;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(20));
        }
        true
    }

    fn handle(self) -> Option<OwnedFd> {
        let pid = Pid::from_raw(self.pid)?;
        let handle = rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok()?;
        self.runs().then_some(handle)
    }
}

/// When a process began, and whether it has ended.
fn look(pid: i32) -> Option<(u64, bool)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    let state = fields.first()?;
    let began = fields.get(19)?.parse().ok()?;
    Some((began, matches!(*state, "Z" | "X" | "x")))
}

/// Processes whose environment, when they were started, held a variable with a value that begins with `prefix`; with what
/// follows the prefix.
pub(crate) fn marked(variable: &str, prefix: &str) -> Vec<(String, ProcessMark)> {
    let wanted = format!("{variable}={prefix}");
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Some(mark) = ProcessMark::of(pid) else { continue };
        let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        let value = environment.split(|byte| *byte == 0).find_map(|one| one.strip_prefix(wanted.as_bytes()));
        if let Some(value) = value.and_then(|value| str::from_utf8(value).ok()) {
            found.push((value.to_owned(), mark));
        }
    }
    found
}

/// The children of a process, as the kernel tells them.
pub(crate) fn children(pid: i32) -> Vec<u32> {
    let told = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    told.split_ascii_whitespace().filter_map(|word| word.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_process_is_known_by_more_than_its_number() {
        let mut child =
            std::process::Command::new("sleep").arg("60").env("REEVE_WORD", "kept").spawn().expect("a process");
        let mark = ProcessMark::of(child.id()).expect("a mark");
        assert!(mark.runs());
        assert!(mark.was_given("REEVE_WORD", "kept") && !mark.was_given("REEVE_WORD", "kep"));
        assert!(
            !ProcessMark { began: mark.began + 1, ..mark }.runs(),
            "a later process with its number is another one"
        );
        ProcessMark { began: mark.began + 1, ..mark }.signal(Signal::KILL);
        assert!(mark.runs(), "a signal for another one does not reach it");
        mark.signal(Signal::KILL);
        assert!(mark.ended_within(Duration::from_secs(5)).await);
        child.wait().expect("collected");
    }
}
