//! How fast a log is verified and how large a proof is, at a million records of about 900 bytes.
//!
//! Records are made in chunks, outside the measured time, so that the figure is the verifier's alone. Another number of
//! records can be given: `cargo bench -p reeve-audit -- 100000`.
#![expect(clippy::print_stdout, reason = "a program whose output is its figures")]

use std::collections::BTreeMap;
use std::error::Error;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use reeve_audit::tiles::reads_for_inclusion;
use reeve_audit::{
    ChainVerifier, Checkpoint, Fetched, KeyRole, ProofFile, Read, Sealed, SigningKey, TileId, TiledTree,
    inclusion_proof, seal, sign,
};
use reeve_types::event::{OutcomePart, ToolPart};
use reeve_types::{
    ActionClass, AuthMethod, Digest, Event, EventType, Origin, Principal, PrincipalKind, Purpose, TenantId, TraceId,
};
use serde_json::json;

const ORIGIN: &str = "reeve.example/audit";
const CHUNK: u64 = 20_000;
/// Over how many proofs the time to make one is averaged.
const PROOFS: u32 = 1_000;

fn event(number: u64) -> Result<Event, Box<dyn Error>> {
    let at = Timestamp::from_millisecond(1_770_000_000_000 + i64::try_from(number)?)?;
    let random = u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    let trace = TraceId::new("tr", at, random);
    let mut event = Event::new(EventType::ToolExecution, TenantId::default_tenant(), trace, at, random);
    event.origin = Some(Origin::Agent);
    event.action_class = Some(ActionClass::Read);
    event.principal = Some(Principal::new(PrincipalKind::User, "alice", AuthMethod::ApiKey).with_roles(["dba"]));
    event.purpose = Some(Purpose::Diagnostic);
    event.input.user_query = "why are the checkout queries slow since noon?".to_owned();
    event.tool = Some(ToolPart {
        name: "get_lock_info".to_owned(),
        agent: "database".to_owned(),
        parameters: json!({"connection_string": "prod-db", "min_wait_ms": number % 1000}),
        result: "pid 4711 waits for a row lock held by pid 4242 since 00:03:12; ".repeat(2),
        duration_ms: Some(number % 97),
        ..ToolPart::default()
    });
    event.outcome =
        Some(OutcomePart { status: "success".to_owned(), error_message: String::new(), duration_ms: Some(12) });
    Ok(event)
}

/// What a store would keep of the tree.
#[derive(Default)]
struct Stored {
    leaves: Vec<Digest>,
    tiles: BTreeMap<TileId, (Vec<Digest>, Digest)>,
}

impl Stored {
    fn read(&self, read: &Read) -> Option<Vec<Digest>> {
        match *read {
            Read::Tile(id) => self.tiles.get(&id).map(|(hashes, _)| hashes.clone()),
            Read::Entries { level: 0, from, to } => {
                Some(self.leaves.get(usize::try_from(from).ok()?..usize::try_from(to).ok()?)?.to_vec())
            }
            Read::Entries { level, from, to } => (from..to)
                .map(|index| self.tiles.get(&TileId { level: level - 1, index }).map(|(_, root)| *root))
                .collect(),
        }
    }
}

fn rate(count: u64, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}

fn main() -> Result<(), Box<dyn Error>> {
    let total = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(1_000_000);
    let (mut tree, mut stored) = (TiledTree::new(), Stored::default());
    let mut verifier = ChainVerifier::new();
    let (mut sealing, mut growing, mut verifying) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    let (mut prev_hash, mut bytes, mut middle) = (Digest::ZERO, 0, None);
    let mut seq = 0;
    while seq < total {
        let events: Vec<Event> = (seq..total.min(seq + CHUNK)).map(event).collect::<Result<_, _>>()?;
        let mut records: Vec<Sealed> = Vec::with_capacity(events.len());
        let started = Instant::now();
        for event in &events {
            let sealed = seal(event, seq, prev_hash)?;
            (seq, prev_hash) = (seq + 1, sealed.event_hash);
            records.push(sealed);
        }
        sealing += started.elapsed();
        let started = Instant::now();
        for record in &records {
            for tile in tree.append(record.leaf_hash) {
                stored.tiles.insert(tile.id, (tile.hashes, tile.root));
            }
        }
        growing += started.elapsed();
        let started = Instant::now();
        for record in &records {
            verifier.feed(record.seq, &record.canonical, &record.event_hash);
        }
        verifying += started.elapsed();
        bytes += records.iter().map(|record| record.canonical.len()).sum::<usize>();
        stored.leaves.extend(records.iter().map(|record| record.leaf_hash));
        middle = records.into_iter().find(|record| record.seq == total / 2).or(middle);
    }
    let verdict = verifier.finish();
    println!("records          {total}, {} bytes each", bytes as u64 / total.max(1));
    println!("sealing          {:.2} s, {:.0} records/s", sealing.as_secs_f64(), rate(total, sealing));
    println!("growing the tree {:.2} s, {:.0} records/s", growing.as_secs_f64(), rate(total, growing));
    println!("verifying        {:.2} s, {:.0} records/s", verifying.as_secs_f64(), rate(total, verifying));
    println!("verdict          valid {}, same root {}", verdict.valid, verdict.root == tree.root());
    let Some(record) = middle else { return Ok(()) };
    show_proof(record, &tree, &stored)
}

/// How many reads a proof takes, and its hashes.
fn prove(index: u64, size: u64, stored: &Stored) -> Result<(usize, Vec<Digest>), Box<dyn Error>> {
    let reads = reads_for_inclusion(index, size).unwrap_or_default();
    let mut fetched = Fetched::new();
    for read in &reads {
        fetched.insert(read, &stored.read(read).unwrap_or_default())?;
    }
    Ok((reads.len(), inclusion_proof(index, size, &fetched)?))
}

fn show_proof(record: Sealed, tree: &TiledTree, stored: &Stored) -> Result<(), Box<dyn Error>> {
    let key = SigningKey::from_seed(ORIGIN, KeyRole::Log, &[1; 32])?;
    let checkpoint = Checkpoint { origin: ORIGIN.to_owned(), size: tree.size(), root: tree.root() };
    let checkpoint = sign(&checkpoint, &key)?;
    let started = Instant::now();
    let step = (tree.size() / u64::from(PROOFS)).max(1);
    for index in (0..tree.size()).step_by(usize::try_from(step)?) {
        prove(index, tree.size(), stored)?;
    }
    let made = started.elapsed() / PROOFS;
    let (reads, hashes) = prove(record.seq, tree.size(), stored)?;
    let proof = ProofFile { event: record.canonical, index: record.seq, hashes, checkpoint };
    let text = proof.to_string();
    let started = Instant::now();
    ProofFile::parse(&text)?.check(&[key.verifying_key().clone()])?;
    let checked = started.elapsed();
    let event_line = text.lines().nth(1).map_or(0, |line| line.len() + 1);
    println!("proof            {} hashes from {reads} reads, made in {made:.0?}", proof.hashes.len());
    println!("proof size       {} bytes, {} with its checkpoint", proof.proof_bytes(), text.len() - event_line);
    println!("proof check      {checked:.0?}");
    Ok(())
}
