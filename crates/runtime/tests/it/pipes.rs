//! Programs with pipes: bytes both ways, errors beside them, and an end of all that was started.

use std::collections::BTreeMap;
use std::time::Duration;

use hyper::upgrade::Upgraded;
use hyper::{Method, StatusCode};
use hyper_util::rt::TokioIo;
use reeve_types::ProblemCode;
use reeve_types::workspace::processes::{OpenPipe, PIPE_WINDOW_BYTES, PipeExit, PipeWord};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::time::Instant;

use crate::running::{Running, SOON, resident, until};

#[derive(Debug)]
enum Frame {
    Bytes(Vec<u8>),
    Word(PipeWord),
    Errors(Vec<u8>),
}

/// A connection to a program.
struct Talk {
    read: ReadHalf<TokioIo<Upgraded>>,
    write: WriteHalf<TokioIo<Upgraded>>,
}

/// What came of a program.
#[derive(Debug, Default)]
struct Heard {
    out: Vec<u8>,
    errors: Vec<u8>,
    lost: u64,
    taken: u64,
}

fn bash(script: &str) -> OpenPipe {
    OpenPipe { argv: ["bash", "-c", script].map(str::to_owned).to_vec(), ..OpenPipe::default() }
}

impl Talk {
    /// Connects and says what to start.
    async fn ask(runtime: &Running, what: &OpenPipe) -> (Self, PipeWord) {
        let mut request = runtime.request(Method::GET, "/v1/pipes", "");
        request.headers_mut().insert("connection", "Upgrade".parse().expect("a value"));
        request.headers_mut().insert("upgrade", "reeve-pipe".parse().expect("a value"));
        let response = runtime.send(request).await;
        assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
        let upgraded = hyper::upgrade::on(response).await.expect("an upgrade");
        let (read, write) = tokio::io::split(TokioIo::new(upgraded));
        let mut talk = Self { read, write };
        talk.frame(1, &serde_json::to_vec(what).expect("JSON")).await;
        match talk.next().await {
            Some(Frame::Word(word)) => (talk, word),
            other => panic!("{other:?}"),
        }
    }

    async fn open(runtime: &Running, what: &OpenPipe) -> Self {
        let (talk, word) = Self::ask(runtime, what).await;
        assert_eq!(word, PipeWord::Started);
        talk
    }

    async fn frame(&mut self, kind: u8, payload: &[u8]) {
        send(&mut self.write, kind, payload).await;
    }

    async fn next(&mut self) -> Option<Frame> {
        next(&mut self.read).await
    }

    /// Listens to the end.
    async fn finish(mut self) -> (Heard, PipeExit) {
        let mut heard = Heard::default();
        loop {
            if let Some(exit) = heard.take(self.next().await.expect("more")) {
                assert!(self.next().await.is_none(), "nothing follows the end");
                return (heard, exit);
            }
        }
    }

    /// Listens until the program has written something.
    async fn until_said(&mut self, words: &str) -> Heard {
        let mut heard = Heard::default();
        while !String::from_utf8_lossy(&heard.out).contains(words) {
            assert!(heard.take(self.next().await.expect("more")).is_none(), "it ended: {heard:?}");
        }
        heard
    }
}

async fn send(write: &mut WriteHalf<TokioIo<Upgraded>>, kind: u8, payload: &[u8]) {
    let mut frame = vec![kind];
    frame.extend(u32::try_from(payload.len()).expect("a length").to_be_bytes());
    frame.extend(payload);
    write.write_all(&frame).await.expect("written");
    write.flush().await.expect("written");
}

async fn next(read: &mut ReadHalf<TokioIo<Upgraded>>) -> Option<Frame> {
    tokio::time::timeout(SOON * 3, async {
        let kind = read.read_u8().await.ok()?;
        let length = read.read_u32().await.expect("a length");
        assert!(length <= 64 * 1024, "frames are small");
        let mut payload = vec![0; length as usize];
        read.read_exact(&mut payload).await.expect("a payload");
        Some(match kind {
            0 => Frame::Bytes(payload),
            1 => Frame::Word(serde_json::from_slice(&payload).expect("a word")),
            2 => Frame::Errors(payload),
            other => panic!("a frame of kind {other}"),
        })
    })
    .await
    .expect("a frame in time")
}

impl Heard {
    fn take(&mut self, frame: Frame) -> Option<PipeExit> {
        match frame {
            Frame::Bytes(bytes) => self.out.extend(bytes),
            Frame::Errors(bytes) => self.errors.extend(bytes),
            Frame::Word(PipeWord::Taken { bytes }) => self.taken += u64::from(bytes),
            Frame::Word(PipeWord::ErrorsLost { bytes }) => self.lost += bytes,
            Frame::Word(PipeWord::Exit(exit)) => return Some(exit),
            Frame::Word(word) => panic!("{word:?}"),
        }
        None
    }
}

#[tokio::test]
async fn ten_megabytes_of_any_bytes_come_back_as_they_went() {
    let runtime = Running::start().await;
    let what = OpenPipe { argv: vec!["cat".to_owned()], ..OpenPipe::default() };
    let Talk { mut read, mut write } = Talk::open(&runtime, &what).await;
    let sent: Vec<u8> = (0..10_000_000u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let (free, mut window) = tokio::sync::mpsc::unbounded_channel();
    let all = sent.clone();
    let sending = tokio::spawn(async move {
        let mut room = u64::from(PIPE_WINDOW_BYTES);
        for piece in all.chunks(20_000) {
            while room < piece.len() as u64 {
                room += window.recv().await.expect("room");
            }
            room -= piece.len() as u64;
            send(&mut write, 0, piece).await;
        }
        send(&mut write, 0, &[]).await;
        write
    });
    let mut heard = Heard::default();
    let exit = loop {
        let before = heard.taken;
        if let Some(exit) = heard.take(next(&mut read).await.expect("more")) {
            break exit;
        }
        let _sent_all = free.send(heard.taken - before);
    };
    assert!(heard.out == sent, "{} bytes of {}", heard.out.len(), sent.len());
    assert_eq!((exit.exit_code, exit.signal), (0, None));
    assert_eq!((heard.taken, heard.lost), (10_000_000, 0));
    drop(sending.await.expect("no panic"));
    assert!(resident(runtime.pid()) < 40 << 20);
    runtime.until_childless().await;
}

#[tokio::test]
async fn a_program_has_its_directory_and_environment_and_the_runtime_keeps_its_own() {
    let runtime = Running::start().await;
    runtime.write("a dir/x", "");
    let what = OpenPipe {
        cwd: "a dir".parse().expect("a path"),
        env: BTreeMap::from([("GREETING".to_owned(), "hello $USER".to_owned())]),
        ..bash(
            "printf '%s|' \"$GREETING\" \"$PWD\"; env | grep -c ^REEVE_; echo oh >&2; tty; ps -o pgid= $$; echo $$; exit 7",
        )
    };
    assert!(!format!("{what:?}").contains("hello"), "what is in the environment is nobody's business");
    let (heard, exit) = Talk::open(&runtime, &what).await.finish().await;
    let out = String::from_utf8(heard.out).expect("text");
    assert!(out.starts_with(&format!("hello $USER|{}/a dir|0\nnot a tty\n", runtime.root().display())), "{out}");
    let numbers: Vec<&str> = out.lines().rev().take(2).map(str::trim).collect();
    assert_eq!(numbers[0], numbers[1], "it leads its own group");
    assert_eq!((heard.errors.as_slice(), exit.exit_code), (b"oh\n".as_slice(), 7));
    let (_, exit) = Talk::open(&runtime, &bash("kill -TERM $$")).await.finish().await;
    assert_eq!((exit.exit_code, exit.signal.as_deref()), (143, Some("SIGTERM")));
}

#[tokio::test]
async fn a_flood_of_errors_holds_nothing_up_and_its_end_is_kept() {
    let runtime = Running::start().await;
    let script = "head -c 50000000 /dev/zero | tr '\\0' e >&2; echo last words >&2; echo done; cat >/dev/null";
    let mut talk = Talk::open(&runtime, &bash(script)).await;
    let said = talk.until_said("done\n").await;
    talk.frame(0, &[]).await;
    let (rest, exit) = talk.finish().await;
    assert_eq!(exit.exit_code, 0);
    let errors = [said.errors, rest.errors].concat();
    assert_eq!(errors.len() as u64 + said.lost + rest.lost, 50_000_000 + "last words\n".len() as u64);
    assert!(errors.ends_with(b"last words\n"));
    assert!(resident(runtime.pid()) < 40 << 20);
}

#[tokio::test]
async fn errors_can_be_written_though_nobody_reads_anything() {
    let runtime = Running::start().await;
    let script = "head -c 3000000 /dev/zero & head -c 1000000 /dev/zero | tr '\\0' e >&2; echo > over; wait; exit 3";
    let talk = Talk::open(&runtime, &bash(script)).await;
    until("the errors are written", || async { runtime.root().join("over").exists() }).await;
    until("the output is held back", || async { runtime.waits("head") }).await;
    assert!(resident(runtime.pid()) < 40 << 20);
    let (heard, exit) = talk.finish().await;
    assert_eq!((heard.out.len(), exit.exit_code), (3_000_000, 3));
    assert!(heard.lost > 0, "more was written than is kept");
    assert_eq!(heard.errors.len() as u64 + heard.lost, 1_000_000);
}

#[tokio::test]
async fn closing_the_connection_gives_a_program_time_to_end_by_itself() {
    let runtime = Running::start().await;
    let mut talk = Talk::open(&runtime, &bash("echo up; cat >/dev/null; echo saved > saved")).await;
    talk.until_said("up").await;
    drop(talk);
    until("it has written things down", || async { runtime.root().join("saved").exists() }).await;
    runtime.until_childless().await;
}

#[tokio::test]
async fn closing_the_connection_ends_all_that_was_started_first_asking_then_not() {
    let runtime = Running::start().await;
    let script = "setsid sh -c 'trap \"\" TERM HUP; while :; do sleep 100; done' & trap 'echo asked > asked' TERM; \
                  setsid sleep 1000 & echo up; while :; do sleep 0.1; done";
    let mut talk = Talk::open(&runtime, &bash(script)).await;
    talk.until_said("up").await;
    let began = Instant::now();
    drop(talk);
    until("it was asked", || async { runtime.root().join("asked").exists() }).await;
    assert!(began.elapsed() >= Duration::from_secs(2), "{:?}", began.elapsed());
    runtime.until_childless().await;
    assert!(began.elapsed() >= Duration::from_secs(4), "{:?}", began.elapsed());
    until("it is forgotten", || async { runtime.get("/v1/stats").await["executions"] == 0 }).await;
}

#[tokio::test]
async fn what_an_ended_program_leaves_behind_is_ended() {
    let runtime = Running::start().await;
    let (heard, exit) = Talk::open(&runtime, &bash("setsid sleep 1000 & echo bye")).await.finish().await;
    assert_eq!((heard.out.as_slice(), exit.exit_code), (b"bye\n".as_slice(), 0));
    runtime.until_childless().await;
}

#[tokio::test]
async fn what_cannot_be_started_is_told() {
    let runtime = Running::start().await;
    let program =
        |argv: &[&str]| OpenPipe { argv: argv.iter().map(|word| (*word).to_owned()).collect(), ..OpenPipe::default() };
    let nowhere = OpenPipe { cwd: "no/such".parse().expect("a path"), ..program(&["true"]) };
    for (what, expected) in [
        (program(&["no-such-agent"]), ProblemCode::NotFound),
        (program(&[]), ProblemCode::BadRequest),
        (program(&["echo", "a\0b"]), ProblemCode::BadRequest),
        (nowhere, ProblemCode::NotFound),
    ] {
        let (_talk, word) = Talk::ask(&runtime, &what).await;
        let PipeWord::Refused { error } = word else { panic!("{word:?}") };
        assert_eq!(error.code, expected, "{error}");
    }
    assert_eq!(runtime.get("/v1/stats").await["executions"], 0);
}

#[tokio::test]
async fn whoever_sends_more_than_the_window_is_cut_off() {
    let runtime = Running::start().await;
    let Talk { mut read, mut write } = Talk::open(&runtime, &bash("sleep 1000")).await;
    let flood = tokio::spawn(async move {
        let piece = [&[0u8, 0, 0, 0x80, 0][..], &[7u8; 0x8000]].concat();
        while write.write_all(&piece).await.is_ok() {}
    });
    while next(&mut read).await.is_some() {}
    flood.await.expect("no panic");
    runtime.until_childless().await;
}

#[tokio::test]
async fn there_are_so_many_and_no_more_and_they_end_with_the_runtime() {
    let runtime = Running::start().await;
    let mut talks = Vec::new();
    for _ in 0..16 {
        talks.push(Talk::open(&runtime, &bash("echo up; sleep 1000")).await);
    }
    let (_talk, word) = Talk::ask(&runtime, &bash("true")).await;
    assert!(matches!(word, PipeWord::Refused { error } if error.code == ProblemCode::RateLimited));
    for talk in &mut talks {
        talk.until_said("up").await;
    }
    let took = runtime.terminate().await;
    assert!(took < Duration::from_secs(4), "{took:?}");
}
