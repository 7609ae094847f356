//! `reeve audit witness`: the second party, who remembers what the log has shown and cosigns only what continues it.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use reeve_audit::{AddCheckpoint, Cosigned, Refusal, Seen, SigningKey, VerifyingKey, witness};
use serde_json::json;

use super::{Session, audit};
use crate::client::{Ask, Reach};
use crate::exit::{self, Failure, Outcome};
use crate::render::count;

/// Cosign the log as a second party, after checking that nothing was taken back
///
/// Asks the server for its newest checkpoint and for the proof that it continues the one seen last, checks both,
/// remembers what was seen, and sends the cosignature back. Run it where the server's keeper cannot write.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  reeve audit witness --log-key log.pub --key watcher.example.key --server URL
  reeve audit witness --log-key log.pub --key watcher.example.key --every 300

Exit codes:
  0  cosigned
  1  REFUSED: the log does not continue what was seen; the evidence is kept beside the state
  2  server or files out of reach
  3  wrong usage")]
pub(super) struct Witness {
    /// The log's public key, text or file; get it by a way that you trust
    #[arg(long, value_name = "KEY|FILE")]
    log_key: String,
    /// The file with your private key; `reeve audit keygen` makes one
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Where to remember what was seen; KEYFILE.seen when left out
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Do it again every so many seconds, until stopped
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    every: Option<u64>,
}

pub(super) async fn run(command: Witness, session: &mut Session) -> Outcome {
    let log_key = audit::public_key(&command.log_key)?;
    let key = own_key(&command.key)?;
    let path = command.state.unwrap_or_else(|| {
        let mut name = command.key.clone().into_os_string();
        name.push(".seen");
        PathBuf::from(name)
    });
    loop {
        let outcome = once(&log_key, &key, &path, session).await;
        let Some(seconds) = command.every else { return outcome };
        match outcome {
            Ok(_) => {}
            // A server out of reach comes back; a log that was rewritten does not become right.
            Err(failure) if failure.code == exit::COULD_NOT && !failure.message.is_empty() => {
                session.term.failure(&failure)
            }
            Err(failure) => return Err(failure),
        }
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }
}

fn own_key(path: &Path) -> Result<SigningKey, Failure> {
    let text = audit::read_small(path)?;
    let key = SigningKey::decode(&text).map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
    if key.role() == reeve_audit::KeyRole::Witness {
        Ok(key)
    } else {
        let failure = Failure::usage(format!("{} holds the key of a log, not of a witness", path.display()));
        Err(failure.hint("`reeve audit keygen NAME` makes one"))
    }
}

async fn once(log_key: &VerifyingKey, key: &SigningKey, path: &Path, session: &mut Session) -> Outcome {
    let state = State::lock(path)?;
    let last = state.read()?;
    let ask = Ask::get("/audit/witness").with("old", Some(last.map_or(0, |seen| seen.size)));
    let answer = session.fetch(Reach::Server, "asking for the newest checkpoint", ask).await?;
    let request = AddCheckpoint::parse(&answer.text)
        .map_err(|error| Failure::could_not(format!("the server's answer cannot be read: {error}")))?;
    let now = u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or(0);
    let cosigned = match witness::decide(last.as_ref(), &request, std::slice::from_ref(log_key), key, now) {
        Ok(cosigned) => cosigned,
        Err(refusal) => return Err(refused(&refusal, &answer.text, path, now)),
    };
    // Remembered before anybody gets the cosignature: a crash in between costs one cosignature, never a second history.
    state.write(&cosigned.seen)?;
    hand_over(&cosigned, key, session).await
}

async fn hand_over(cosigned: &Cosigned, key: &SigningKey, session: &mut Session) -> Outcome {
    let ask = Ask::post_text("/audit/cosignatures", cosigned.note.to_string());
    let ask = ask.header("x-witness-key", key.verifying_key().to_string());
    session.fetch(Reach::Server, "handing over the cosignature", ask).await?;
    let Seen { size, root } = cosigned.seen;
    if session.json {
        session.term.print_json(&json!({"size": size, "root": root, "witness": key.name()}))?;
    } else {
        let records = usize::try_from(size).unwrap_or(usize::MAX);
        session.term.print(&format!("cosigned {} with root {root}", count(records, "record")))?;
    }
    Ok(exit::DONE)
}

/// Says why, and keeps what the server said: only it shows to others that the log was rewritten.
fn refused(refusal: &Refusal, shown: &str, path: &Path, now: u64) -> Failure {
    let source = std::error::Error::source(refusal).map(|source| format!(": {source}")).unwrap_or_default();
    let failure = Failure::could_not(format!("NOT cosigned: {refusal}{source}")).code(exit::BAD_NEWS);
    let mut evidence = path.as_os_str().to_owned();
    evidence.push(format!(".refused-{now}"));
    match std::fs::write(&evidence, shown) {
        Ok(()) => failure.hint(format!("what the server showed is kept in {}", Path::new(&evidence).display())),
        Err(error) => failure.hint(format!("what the server showed could not be kept: {error}")),
    }
}

/// What was seen last, in a file that one witness at a time may use.
struct State {
    path: PathBuf,
    _lock: File,
}

impl State {
    fn lock(path: &Path) -> Result<Self, Failure> {
        use rustix::fs::{FlockOperation, flock};
        let mut name = path.as_os_str().to_owned();
        name.push(".lock");
        let cannot = |error: String| Failure::could_not(format!("cannot lock {}: {error}", Path::new(&name).display()));
        let lock = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&name)
            .map_err(|error| cannot(error.to_string()))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| cannot("another witness uses it".to_owned()))?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// What was seen last; none at the first time. A file that cannot be read is an error, because forgetting would let
    /// the log start over.
    fn read(&self) -> Result<Option<Seen>, Failure> {
        if !self.path.exists() {
            return Ok(None);
        }
        let text = audit::read_small(&self.path)?;
        let seen = serde_json::from_str(&text).map_err(|error| {
            let failure = Failure::could_not(format!("{} does not hold what was seen: {error}", self.path.display()));
            failure.hint("take it from a copy; without it the log could show another history")
        })?;
        Ok(Some(seen))
    }

    fn write(&self, seen: &Seen) -> Result<(), Failure> {
        let mut name = self.path.clone().into_os_string();
        name.push(".new");
        let text = serde_json::to_string(seen).map_err(Failure::could_not)?;
        let written = File::create(&name)
            .and_then(|mut file| writeln!(file, "{text}").and_then(|()| file.sync_all()))
            .and_then(|()| std::fs::rename(&name, &self.path))
            .and_then(|()| match self.path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                Some(parent) => File::open(parent)?.sync_all(),
                None => File::open(".")?.sync_all(),
            });
        written.map_err(|error| Failure::could_not(format!("cannot write {}: {error}", self.path.display())))
    }
}

#[cfg(test)]
mod tests {
    use reeve_types::Digest;

    use super::*;

    #[test]
    fn what_was_seen_survives_and_one_witness_at_a_time_uses_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w.key.seen");
        let state = State::lock(&path).unwrap();
        assert_eq!(state.read().unwrap(), None);
        let seen = Seen { size: 7, root: Digest::of(b"x") };
        state.write(&seen).unwrap();
        assert_eq!(state.read().unwrap(), Some(seen));
        assert!(State::lock(&path).is_err_and(|failure| failure.message.ends_with("another witness uses it")));
        drop(state);
        std::fs::write(&path, "{").unwrap();
        let failure = State::lock(&path).unwrap().read().unwrap_err();
        assert!(failure.message.contains("does not hold what was seen"), "{}", failure.message);
    }

    #[test]
    fn a_refusal_keeps_its_evidence() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("seen");
        let failure = refused(&Refusal::Fork { size: 9 }, "what was shown", &path, 1_700_000_000);
        assert_eq!(failure.code, exit::BAD_NEWS);
        assert_eq!(failure.message, "NOT cosigned: the log shows two different histories of its first 9 records");
        let kept = dir.path().join("seen.refused-1700000000");
        assert_eq!(std::fs::read_to_string(kept).unwrap(), "what was shown");
    }
}
