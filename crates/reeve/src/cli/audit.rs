//! `reeve audit`: the record, and proving it.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use reeve_audit::{Checked, KeyRole, ProofFile, SigningKey, VerifyingKey};
use reeve_types::secret::ExposeSecret as _;
use serde_json::json;

use super::{Session, events, witness};
use crate::client::{Ask, LONG_PATIENCE, Reach, escape};
use crate::exit::{self, Failure, Outcome};
use crate::render::{clean, pairs, records};
use crate::term::Tone;

/// The largest key or checkpoint file that is read, in bytes.
const SMALL_FILE_BYTES_MAX: u64 = 1024 * 1024;
/// How many records one page of an export holds.
const EXPORT_PAGE: u32 = 1000;

/// Verify, follow, export and prove the record
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  reeve audit verify                               is the record what was written?
  reeve audit tail                                 as it happens
  reeve audit export > records.jsonl
  reeve audit log-key > log.pub
  reeve audit prove tool_01jd… > proof.txt         a proof for keeping,
  reeve audit check-proof proof.txt --key log.pub  checked without a network
  reeve audit keygen watcher.example               a key for a second party, who runs
  reeve audit witness --log-key log.pub --key watcher.example.key --server URL")]
pub(super) struct Audit {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Check the whole log: every hash, every link, every checkpoint
    Verify {
        /// A witness's public key, text or file; then only what it cosigned counts as vouched for. May be repeated
        #[arg(long = "witness", value_name = "KEY|FILE")]
        witnesses: Vec<String>,
        /// A signed checkpoint that was kept elsewhere; may be repeated
        #[arg(long = "checkpoint", value_name = "FILE")]
        checkpoints: Vec<PathBuf>,
    },
    /// Print records as they are made; Ctrl-C ends
    Tail,
    /// Print records as JSON lines, newest first
    Export {
        /// Only since this moment or so long ago: 2026-01-02T03:04:05Z, 24h
        #[arg(long, value_name = "WHEN")]
        since: Option<String>,
        /// Only of this journey
        #[arg(long)]
        trace: Option<String>,
        /// Only of this type; several with commas
        #[arg(long = "type", value_name = "TYPE")]
        types: Option<String>,
        /// Write to this file instead of standard output
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Print a proof that a record is in the log
    Prove {
        /// The record's id
        event_id: String,
        /// Write to this file instead of standard output
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Check a proof, without a server and without a network
    CheckProof {
        /// The proof; `-` for standard input
        file: PathBuf,
        /// A public key that is believed: the log's, and witnesses'; text or file; may be repeated
        #[arg(long = "key", required = true, value_name = "KEY|FILE")]
        keys: Vec<String>,
        /// How many witnesses must have cosigned
        #[arg(long, default_value_t = 0, value_name = "N")]
        witnesses: usize,
    },
    /// Cosign the log as a second party, after checking that nothing was taken back
    Witness(witness::Witness),
    /// Make a key: the private half into a file, the public half printed
    Keygen {
        /// Its name, such as the host name of whoever holds it
        name: String,
        /// What it signs
        #[arg(long, value_enum, default_value_t = Role::Witness)]
        role: Role,
        /// Where the private half goes; NAME.key when left out
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Print the public key of the log
    LogKey,
    /// Print the newest signed checkpoint, to be kept elsewhere
    Checkpoint,
}

/// What a key signs.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Role {
    /// Checkpoints of somebody else's log
    Witness,
    /// A log's own checkpoints
    Log,
}

pub(super) async fn run(command: Audit, session: &mut Session) -> Outcome {
    match command.what {
        What::Verify { witnesses, checkpoints } => verify(&witnesses, &checkpoints, session).await,
        What::Tail => events::follow(session).await,
        What::Export { since, trace, types, file } => {
            let ask = || {
                Ask::get("/events")
                    .with("since", since.as_ref())
                    .with("trace_id", trace.as_ref())
                    .with("types", types.as_ref())
                    .with("order", Some("asc"))
                    .with("limit", Some(EXPORT_PAGE))
            };
            export(ask, file.as_deref(), session).await
        }
        What::Prove { event_id, file } => {
            let ask = Ask::get(format!("/audit/proofs/{}", escape(&event_id)));
            let answer = session.fetch(Reach::ServerOrHere, "proving", ask).await?;
            write_out(&answer.text, file.as_deref(), session)
        }
        What::CheckProof { file, keys, witnesses } => check_proof(&file, &keys, witnesses, session),
        What::Witness(command) => witness::run(command, session).await,
        What::Keygen { name, role, file } => keygen(&name, role, file, session),
        What::LogKey => print_text("/audit/key", session).await,
        What::Checkpoint => print_text("/audit/checkpoint", session).await,
    }
}

async fn print_text(path: &str, session: &mut Session) -> Outcome {
    let answer = session.fetch(Reach::ServerOrHere, "reading", Ask::get(path)).await?;
    session.term.print(&answer.text)?;
    Ok(exit::DONE)
}

async fn verify(witnesses: &[String], checkpoints: &[PathBuf], session: &mut Session) -> Outcome {
    let witnesses: Vec<String> =
        witnesses.iter().map(|given| Ok(public_key(given)?.to_string())).collect::<Result<_, Failure>>()?;
    let checkpoints: Vec<String> = checkpoints.iter().map(|path| read_small(path)).collect::<Result<_, _>>()?;
    let body = json!({"witnesses": witnesses, "checkpoints": checkpoints});
    let ask = Ask::post("/audit/verify", &body).patience(LONG_PATIENCE);
    let answer = session.fetch(Reach::ServerOrHere, "checking the log", ask).await?;
    session.show(&answer, records::verdict)?;
    let valid = answer.json()?.get("valid").and_then(serde_json::Value::as_bool) == Some(true);
    Ok(if valid { exit::DONE } else { exit::BAD_NEWS })
}

async fn export(ask: impl Fn() -> Ask, file: Option<&Path>, session: &mut Session) -> Outcome {
    let mut sink = match file {
        Some(path) => {
            Some(std::fs::File::create(path).map(std::io::BufWriter::new).map_err(|error| cannot_write(path, &error))?)
        }
        None => None,
    };
    let (mut cursor, mut written) = (None, 0usize);
    loop {
        let page = ask().with("cursor", cursor.take()).patience(LONG_PATIENCE);
        let answer = session.fetch(Reach::ServerOrHere, &format!("{written} records"), page).await?;
        // The records pass through as raw text: what was hashed is what is exported.
        let records: Vec<&serde_json::value::RawValue> = serde_json::from_str(&answer.text)
            .map_err(|_| Failure::could_not("the server's answer is not a list of records"))?;
        for record in &records {
            match (&mut sink, file) {
                (Some(sink), Some(path)) => {
                    writeln!(sink, "{}", record.get()).map_err(|error| cannot_write(path, &error))?
                }
                _ => session.term.print(record.get())?,
            }
        }
        written += records.len();
        match answer.next {
            Some(next) if !records.is_empty() => cursor = Some(next),
            _ => break,
        }
    }
    if let (Some(mut sink), Some(path)) = (sink, file) {
        sink.flush().and_then(|()| sink.get_ref().sync_all()).map_err(|error| cannot_write(path, &error))?;
        session.term.note(&format!("{} written to {}", crate::render::count(written, "record"), path.display()));
    }
    Ok(exit::DONE)
}

fn cannot_write(path: &Path, error: &std::io::Error) -> Failure {
    Failure::could_not(format!("cannot write {}: {error}", path.display()))
}

fn write_out(text: &str, file: Option<&Path>, session: &mut Session) -> Outcome {
    match file {
        Some(path) => {
            std::fs::write(path, text).map_err(|error| cannot_write(path, &error))?;
            session.term.note(&format!("written to {}", path.display()));
        }
        None => session.term.print(text)?,
    }
    Ok(exit::DONE)
}

/// A public key: its text, or the file that holds it.
pub(super) fn public_key(given: &str) -> Result<VerifyingKey, Failure> {
    let direct: Result<VerifyingKey, _> = given.trim().parse();
    let found = match direct {
        Ok(key) => return Ok(key),
        Err(error) if !Path::new(given).exists() => Err(error),
        Err(_) => read_small(Path::new(given))?.trim().parse(),
    };
    found.map_err(|error| Failure::usage(format!("`{}`: {error}", clean(given))))
}

/// A small text file; `-` is standard input.
pub(super) fn read_small(path: &Path) -> Result<String, Failure> {
    read_at_most(path, SMALL_FILE_BYTES_MAX)
}

fn read_at_most(path: &Path, limit: u64) -> Result<String, Failure> {
    let cannot = |reason: String| Failure::could_not(format!("cannot read {}: {reason}", path.display()));
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin().take(limit + 1).read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(limit + 1).read_to_string(&mut text))
    };
    match read.map_err(|error| cannot(error.to_string()))? {
        length if length as u64 > limit => Err(cannot(format!("it is larger than {limit} bytes"))),
        _ => Ok(text),
    }
}

fn check_proof(file: &Path, keys: &[String], wanted: usize, session: &mut Session) -> Outcome {
    let keys: Vec<VerifyingKey> = keys.iter().map(|given| public_key(given)).collect::<Result<_, _>>()?;
    let text = read_at_most(file, reeve_audit::proof_file::PROOF_BYTES_MAX as u64)?;
    let checked = ProofFile::parse(&text).and_then(|proof| proof.check(&keys));
    let checked = checked.map_err(|error| {
        let because = std::error::Error::source(&error).map(|source| format!(": {source}")).unwrap_or_default();
        Failure::could_not(format!("the proof does not hold: {error}{because}")).code(exit::BAD_NEWS)
    })?;
    let seen = checked.cosigners.len();
    if seen < wanted {
        let message = format!("the proof holds, but {seen} of {wanted} witnesses whose keys you gave have cosigned");
        return Err(Failure::could_not(message).code(exit::BAD_NEWS));
    }
    if session.json {
        session.term.print_json(&checked)?;
    } else {
        let text = checked_text(&checked, session.term.look());
        session.term.print(&text)?;
    }
    Ok(exit::DONE)
}

fn checked_text(checked: &Checked, look: crate::term::Look) -> String {
    let signers = checked.signers.iter().map(|signer| signer.name.clone()).collect::<Vec<_>>().join(", ");
    let seen = |time: u64| {
        let at = i64::try_from(time).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
        at.map_or_else(|| time.to_string(), |at| at.to_string())
    };
    let cosigners: Vec<String> =
        checked.cosigners.iter().map(|witness| format!("{} at {}", witness.name, seen(witness.time))).collect();
    let size = usize::try_from(checked.checkpoint.size).unwrap_or(usize::MAX);
    let mut out = format!("{}\n\n", look.paint(Tone::Good, "The proof holds"));
    out.push_str(&records::event_line(&checked.event, look));
    out.push_str("\n\n");
    out.push_str(&pairs(
        look,
        &[
            ("Record", crate::render::field(&checked.event, "event_id")),
            (
                "Number",
                format!("{}, counted from 0, in a log of {}", checked.index, crate::render::count(size, "record")),
            ),
            ("Hash", checked.event_hash.to_string()),
            ("Log", clean(&checked.checkpoint.origin)),
            ("Root", checked.checkpoint.root.to_string()),
            ("Signed by", clean(&signers)),
            (
                "Cosigned by",
                if cosigners.is_empty() {
                    "nobody whose key you gave".to_owned()
                } else {
                    clean(&cosigners.join(", "))
                },
            ),
        ],
    ));
    out
}

fn keygen(name: &str, role: Role, file: Option<PathBuf>, session: &mut Session) -> Outcome {
    let role = match role {
        Role::Witness => KeyRole::Witness,
        Role::Log => KeyRole::Log,
    };
    let path = file.unwrap_or_else(|| PathBuf::from(format!("{}.key", name.replace(['/', '\\'], "-"))));
    let mut seed = [0u8; 32];
    fill_random(&mut seed)?;
    let key = SigningKey::from_seed(name, role, &seed);
    seed.fill(0);
    let key = key.map_err(Failure::usage)?;
    write_private(&path, key.encode().expose_secret())?;
    let public = key.verifying_key().to_string();
    if session.json {
        session.term.print_json(&json!({"public_key": public, "private_key_file": path}))?;
    } else {
        session.term.print(&public)?;
    }
    session.term.note(&format!("the private half is in {}; keep it where nobody else can read it", path.display()));
    Ok(exit::DONE)
}

/// Writes a file that only its owner can read. An existing file is never overwritten: it may be the only copy of a key.
fn write_private(path: &Path, text: &str) -> Result<(), Failure> {
    let opened = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = opened.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Failure::usage(format!("{} is there already and is not overwritten", path.display()))
        }
        _ => cannot_write(path, &error),
    })?;
    writeln!(file, "{text}").and_then(|()| file.sync_all()).map_err(|error| cannot_write(path, &error))
}

/// Fills a buffer from the system's source of randomness.
pub(super) fn fill_random(buffer: &mut [u8]) -> Result<(), Failure> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match rustix::rand::getrandom(rest, rustix::rand::GetRandomFlags::empty()) {
            Ok(count) => filled += count,
            Err(error) if error == rustix::io::Errno::INTR => {}
            Err(error) => return Err(Failure::could_not(format!("the system gives no randomness: {error}"))),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_key_is_never_overwritten_and_only_its_owner_reads_it() {
        use std::os::unix::fs::MetadataExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w.key");
        write_private(&path, "first").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let failure = write_private(&path, "second").unwrap_err();
        assert_eq!((failure.code, std::fs::read_to_string(&path).unwrap().as_str()), (exit::USAGE, "first\n"));
    }

    #[test]
    fn keys_are_given_as_text_or_file() {
        let key = SigningKey::from_seed("w.example", KeyRole::Witness, &[7; 32]).unwrap();
        let public = key.verifying_key().to_string();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w.pub");
        std::fs::write(&path, format!("{public}\n")).unwrap();
        assert_eq!(public_key(&public).unwrap(), public_key(path.to_str().unwrap()).unwrap());
        let failure = public_key("nonsense").unwrap_err();
        assert!(failure.message.starts_with("`nonsense`: the text is not a key"), "{}", failure.message);
        assert_eq!(failure.code, exit::USAGE);
    }

    #[test]
    fn randomness_fills_the_whole_buffer() {
        let mut buffer = [0u8; 600];
        fill_random(&mut buffer).unwrap();
        assert!(buffer.chunks(60).all(|part| part.iter().any(|&byte| byte != 0)));
    }
}
