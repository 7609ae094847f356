//! What is large goes through a real server without being held in its memory: a file of the greatest size, up in pieces and
//! down again, and a directory of a hundred thousand files.

use std::collections::HashSet;
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use reqwest::blocking::Client;
use serde_json::{Value, json};

use crate::pressed::{forget_the_most, memory};
use crate::server::Server;
use crate::workspaces::{Cleared, create, home, run};

/// The greatest size of a file.
const SIZE: u64 = 1 << 30;
const PIECE: usize = 32 << 20;
/// How much of the server's memory may come and go with it: what waits for its act is held in memory up to 64 MiB.
const MEMORY_SWAY: u64 = 160 << 20;
const FILES: usize = 100_000;

/// The file, piece by piece: the same in every run, and no two alike.
struct Pieces(Vec<u8>);

impl Pieces {
    fn new() -> Self {
        let mut state = 1_u64;
        let words = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        });
        let some: Vec<u8> = words.take(8192).flatten().collect();
        Self(some.repeat(PIECE / some.len()))
    }

    fn piece(&self, place: usize) -> Vec<u8> {
        let mut piece = self.0.clone();
        piece[PIECE - 8..].copy_from_slice(&place.to_le_bytes());
        piece
    }
}

/// SHA-256 of what is written to it, by the program of that name.
struct Sum(Child);

impl Sum {
    fn new() -> Self {
        let program = Command::new("sha256sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        Self(program.expect("sha256sum is of every Linux"))
    }

    fn add(&mut self, bytes: &[u8]) {
        self.0.stdin.as_mut().expect("its input").write_all(bytes).expect("it reads");
    }

    fn told(self) -> String {
        let said = self.0.wait_with_output().expect("it ends").stdout;
        String::from_utf8_lossy(&said).chars().take(64).collect()
    }
}

fn client() -> Client {
    Client::builder().timeout(Duration::from_secs(300)).build().expect("a client")
}

#[test]
fn a_file_of_the_greatest_size_goes_up_in_pieces_and_comes_down_whole_and_in_parts() {
    let home = home();
    let cleared = Cleared(&home);
    let server = home.start();
    let id = create(&server, "large", "base");
    let at = |rest: &str| format!("{}/api/v1/workspaces/{id}{rest}", server.url);
    let client = client();
    let (mut sum, content_of) = (Sum::new(), Pieces::new());
    let pieces = usize::try_from(SIZE).expect("a size") / PIECE;
    (0..pieces).for_each(|place| sum.add(&content_of.piece(place)));
    let sum = sum.told();

    let before = memory(&server, "VmRSS");
    forget_the_most(&server);
    let began = Instant::now();
    let wanted = json!({"path": "films/large.bin", "size": SIZE, "sha256": sum, "create_parents": true});
    let begun = server.post(&format!("/api/v1/workspaces/{id}/files/uploads"), &wanted).expect(201);
    let upload = format!("/files/uploads/{}", begun["id"].as_str().expect("an id"));
    for place in 0..pieces {
        let offset = place * PIECE;
        let sent = client.patch(at(&upload)).bearer_auth(server.token()).header("upload-offset", offset.to_string());
        let told = sent.body(content_of.piece(place)).send().expect("an answer");
        assert_eq!(told.status().as_u16(), 200);
        let told: Value = told.json().expect("JSON");
        assert_eq!(told["offset"], offset + PIECE);
    }
    let finish = client.post(at(&format!("{upload}/finish"))).bearer_auth(server.token()).json(&json!({}));
    let saved = finish.send().expect("an answer");
    let (status, saved) = (saved.status().as_u16(), saved.text().expect("an answer"));
    assert_eq!(status, 200, "{saved}");
    let up = began.elapsed();
    let inside = run(&server, &id, &["sha256sum", "films/large.bin"]);
    assert!(inside["stdout"].as_str().is_some_and(|told| told.starts_with(&sum)), "{inside}");

    let began = Instant::now();
    let content = at("/files/content?path=films/large.bin");
    let mut down = client.get(&content).bearer_auth(server.token()).send().expect("an answer");
    assert_eq!((down.status().as_u16(), down.content_length()), (200, Some(SIZE)));
    let (mut sum_down, mut buffer) = (Sum::new(), vec![0; 1 << 20]);
    loop {
        let read = down.read(&mut buffer).expect("the file");
        if read == 0 {
            break;
        }
        sum_down.add(&buffer[..read]);
    }
    assert_eq!(sum_down.told(), sum);
    println!("1 GiB: up in {up:?}, down in {:?}", began.elapsed());

    // Parts, as a download that is gone on with asks for them: across two pieces, and the last of it.
    let last = SIZE - 5;
    let across = PIECE as u64 * 3 - 7;
    for (range, first, length) in [
        (format!("bytes={across}-{}", across + 13), across, 14),
        (format!("bytes={last}-"), last, 5),
        ("bytes=-5".to_owned(), last, 5),
    ] {
        let part = client.get(&content).bearer_auth(server.token()).header("range", &range).send().expect("an answer");
        assert_eq!(part.status().as_u16(), 206, "{range}");
        let told = part.headers()["content-range"].to_str().expect("text").to_owned();
        assert_eq!(told, format!("bytes {first}-{}/{SIZE}", first + length - 1));
        let expected: Vec<u8> = (first..first + length)
            .map(|at| (usize::try_from(at).expect("a place") / PIECE, usize::try_from(at).expect("a place") % PIECE))
            .scan((usize::MAX, Vec::new()), |(place, bytes), (wanted, offset)| {
                if *place != wanted {
                    (*place, *bytes) = (wanted, content_of.piece(wanted));
                }
                Some(bytes[offset])
            })
            .collect();
        assert_eq!(part.bytes().expect("bytes").as_ref(), expected, "{range}");
    }
    let beyond = client.get(&content).bearer_auth(server.token()).header("range", format!("bytes={SIZE}-"));
    assert_eq!(beyond.send().expect("an answer").status().as_u16(), 416);
    let most = memory(&server, "VmHWM");
    assert!(most.saturating_sub(before) < MEMORY_SWAY, "{before} bytes before, at most {most}");
    drop((server, cleared));
}

fn page(server: &Server, id: &str, cursor: &str) -> Value {
    let cursor = cursor.replace('%', "%25").replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    server.get(&format!("/api/v1/workspaces/{id}/tree?path=many&limit=5000&cursor={cursor}")).expect(200)
}

#[test]
fn a_hundred_thousand_files_are_listed_found_and_removed() {
    let home = home();
    let cleared = Cleared(&home);
    let server = home.start();
    let id = create(&server, "many", "base");
    let made = run(&server, &id, &["sh", "-c", "mkdir many && cd many && seq -f 'file-%06.0f' 100000 | xargs touch"]);
    assert_eq!(made["exit_code"], 0, "{made}");
    let before = memory(&server, "VmRSS");
    forget_the_most(&server);
    let (mut seen, mut pages, mut cursor, mut last) = (HashSet::new(), Vec::new(), String::new(), String::new());
    loop {
        let began = Instant::now();
        let told = page(&server, &id, &cursor);
        pages.push(began.elapsed());
        for entry in told["entries"].as_array().expect("entries") {
            let name = entry["name"].as_str().expect("a name").to_owned();
            assert!(name > last, "in order: {name} after {last}");
            assert!(seen.insert(name.clone()), "{name} twice");
            last = name;
        }
        match told["next_cursor"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(seen.len(), FILES);
    pages.sort();
    println!("{FILES} files in {} pages, each in at most {:?}", pages.len(), pages[pages.len() - 1]);

    let search = json!({"text": "file-077777", "kind": "names"});
    let found = server.post(&format!("/api/v1/workspaces/{id}/files/search"), &search);
    assert!(found.text.contains("many/file-077777"), "{}", found.text);
    let operate = |body: Value| server.post(&format!("/api/v1/workspaces/{id}/files/operations"), &body).expect(200);
    let trashed = operate(json!({"op": "trash", "path": "many"}));
    operate(json!({"op": "restore", "id": trashed["trash_id"]}));
    let gone = operate(json!({"op": "delete", "path": "many"}));
    assert_eq!(gone["count"], FILES + 1, "the files and their directory: {gone}");
    let most = memory(&server, "VmHWM");
    assert!(most.saturating_sub(before) < MEMORY_SWAY, "{before} bytes before, at most {most}");
    drop((server, cleared));
}
