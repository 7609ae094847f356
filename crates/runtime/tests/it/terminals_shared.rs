//! Somebody who looks at a terminal.

use std::time::Duration;

use hyper::upgrade::Upgraded;
use hyper::{Method, StatusCode};
use hyper_util::rt::TokioIo;
use reeve_types::workspace::processes::{TerminalInput, TerminalOutput};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};

use crate::running::{Running, SOON};

/// Opens a terminal and answers its id.
pub(crate) async fn open(runtime: &Running, wanted: Value) -> String {
    let (status, opened) = runtime.post("/v1/terminals", wanted).await;
    assert_eq!(status, StatusCode::CREATED, "{opened}");
    opened["id"].as_str().expect("an id").to_owned()
}

/// One who looks.
pub(crate) struct Viewer {
    read: ReadHalf<TokioIo<Upgraded>>,
    write: WriteHalf<TokioIo<Upgraded>>,
    unacknowledged: usize,
    pub(crate) ready: TerminalOutput,
}

enum Frame {
    Bytes(Vec<u8>),
    Word(TerminalOutput),
}

impl Viewer {
    pub(crate) async fn attach(runtime: &Running, id: &str) -> Self {
        Self::try_attach(runtime, id).await.expect("the terminal is there")
    }

    pub(crate) async fn try_attach(runtime: &Running, id: &str) -> Option<Self> {
        let mut request = runtime.request(Method::GET, &format!("/v1/terminals/{id}/attach"), "");
        request.headers_mut().insert("connection", "Upgrade".parse().expect("a value"));
        request.headers_mut().insert("upgrade", "reeve-terminal".parse().expect("a value"));
        let response = runtime.send(request).await;
        if response.status() == StatusCode::NOT_FOUND {
            return None;
        }
        assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
        let upgraded = hyper::upgrade::on(response).await.expect("an upgrade");
        let (read, write) = tokio::io::split(TokioIo::new(upgraded));
        let mut viewer = Self { read, write, unacknowledged: 0, ready: TerminalOutput::Pong { t: 0 } };
        viewer.ready = viewer.word().await;
        Some(viewer)
    }

    pub(crate) async fn type_in(&mut self, text: &str) {
        for piece in text.as_bytes().chunks(1 << 20) {
            self.frame(0, piece).await;
        }
    }

    pub(crate) async fn control(&mut self, control: &TerminalInput) {
        self.frame(1, &serde_json::to_vec(control).expect("JSON")).await;
    }

    /// Says that everything was shown that has come.
    pub(crate) async fn acknowledge(&mut self) {
        let bytes = u64::try_from(std::mem::take(&mut self.unacknowledged)).expect("a length");
        self.control(&TerminalInput::Ack { bytes }).await;
    }

    pub(crate) async fn raw(&mut self, bytes: &[u8]) {
        self.write.write_all(bytes).await.expect("written");
        self.write.flush().await.expect("written");
    }

    async fn frame(&mut self, kind: u8, payload: &[u8]) {
        let mut frame = vec![kind];
        frame.extend(u32::try_from(payload.len()).expect("a length").to_be_bytes());
        frame.extend(payload);
        self.raw(&frame).await;
    }

    async fn next(&mut self) -> Option<Frame> {
        let kind = self.read.read_u8().await.ok()?;
        let length = self.read.read_u32().await.expect("a length");
        assert!(length <= 64 * 1024, "frames are small");
        let mut payload = vec![0; length as usize];
        self.read.read_exact(&mut payload).await.expect("a payload");
        Some(match kind {
            0 => {
                self.unacknowledged += payload.len();
                Frame::Bytes(payload)
            }
            1 => Frame::Word(serde_json::from_slice(&payload).expect("control")),
            other => panic!("a frame of kind {other}"),
        })
    }

    async fn next_soon(&mut self) -> Frame {
        tokio::time::timeout(SOON, self.next()).await.expect("a frame in time").expect("a frame")
    }

    /// The next control; bytes before it are skipped.
    pub(crate) async fn word(&mut self) -> TerminalOutput {
        loop {
            if let Frame::Word(word) = self.next_soon().await {
                return word;
            }
        }
    }

    /// The next bytes.
    pub(crate) async fn bytes(&mut self) -> Vec<u8> {
        match self.next_soon().await {
            Frame::Bytes(bytes) => bytes,
            Frame::Word(word) => panic!("{word:?}"),
        }
    }

    /// The next bytes, if any come within a time.
    pub(crate) async fn bytes_within(&mut self, within: Duration) -> Option<Vec<u8>> {
        match tokio::time::timeout(within, self.next()).await.ok()?? {
            Frame::Bytes(bytes) => Some(bytes),
            Frame::Word(word) => panic!("{word:?}"),
        }
    }

    /// Reads and forgets.
    pub(crate) async fn skip(&mut self, bytes: usize) {
        let mut seen = 0;
        while seen < bytes {
            seen += self.bytes().await.len();
        }
    }

    /// Reads until words are on the screen; answers everything since the last call.
    pub(crate) async fn until(&mut self, words: &str) -> String {
        let mut screen = Vec::new();
        let mut searched = 0usize;
        loop {
            match self.next_soon().await {
                Frame::Bytes(bytes) => screen.extend(bytes),
                Frame::Word(TerminalOutput::Error { code, .. }) if code == "input_lost" => {}
                Frame::Word(word) => panic!("{word:?} before {words:?}: {}", String::from_utf8_lossy(&screen)),
            }
            let from = searched.saturating_sub(words.len());
            if String::from_utf8_lossy(&screen[from..]).contains(words) {
                return String::from_utf8_lossy(&screen).into_owned();
            }
            searched = screen.len();
        }
    }

    /// The exit code; nothing may follow it.
    pub(crate) async fn until_exit(&mut self) -> i32 {
        loop {
            if let TerminalOutput::Exit { code } = self.word().await {
                self.until_closed().await;
                return code;
            }
        }
    }

    pub(crate) async fn until_closed(&mut self) {
        while let Some(frame) = tokio::time::timeout(SOON, self.next()).await.expect("its end in time") {
            assert!(matches!(frame, Frame::Bytes(_)));
        }
    }
}
