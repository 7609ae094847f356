//! What the parts of one conversation have in common: how much input is on its way, which errors wait to be told, and
//! what has ended.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use reeve_types::workspace::processes::{PIPE_ERRORS_BYTES, PIPE_WINDOW_BYTES, PipeWord};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::pipe;
use tokio::sync::{Notify, mpsc};

use super::frames::{Frame, Reader, Writer};
use crate::activity::Activity;

/// Bytes read at once.
const PIECE_BYTES: usize = 32 * 1024;

#[derive(Default)]
pub(super) struct Flow {
    /// Input that has come and was not taken by the program.
    waiting: AtomicU32,
    /// Input that was taken and not told yet.
    taken: AtomicU32,
    errors: Mutex<Errors>,
    /// Something waits to be told.
    news: Notify,
    /// Nothing can be written by the program any more.
    pub(super) output_ended: Notify,
    ended_outputs: AtomicU32,
    /// Nothing is left of the program: once all is told, telling ends.
    over: AtomicBool,
}

/// Standard error that waits to be told.
#[derive(Default)]
struct Errors {
    kept: VecDeque<u8>,
    lost: u64,
}

impl Flow {
    /// Takes frames in until the connection is closed or breaks its rules.
    pub(super) async fn hear(&self, mut reader: Reader, input: mpsc::UnboundedSender<Bytes>) {
        let mut input = Some(input);
        while let Ok(Frame::Bytes(bytes)) = reader.next().await {
            if bytes.is_empty() {
                input = None;
                continue;
            }
            let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            let waiting = self.waiting.fetch_add(length, Ordering::Relaxed).saturating_add(length);
            if waiting > PIPE_WINDOW_BYTES {
                return;
            }
            match &input {
                Some(input) if input.send(bytes).is_ok() => {}
                _ => self.take(length),
            }
        }
    }

    /// Hands input to the program until there is no more. A program that does not read all it is given is no failure.
    pub(super) async fn feed(&self, mut stdin: pipe::Sender, mut input: mpsc::UnboundedReceiver<Bytes>) {
        while let Some(bytes) = input.recv().await {
            let _not_read = stdin.write_all(&bytes).await;
            self.take(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        }
    }

    fn take(&self, bytes: u32) {
        self.waiting.fetch_sub(bytes, Ordering::Relaxed);
        self.taken.fetch_add(bytes, Ordering::Relaxed);
        self.news.notify_one();
    }

    /// Keeps the last of standard error, however fast it comes.
    pub(super) async fn collect(&self, mut stderr: pipe::Receiver, activity: &Activity) {
        let mut piece = vec![0u8; PIECE_BYTES];
        while let Some(read) = read_some(&mut stderr, &mut piece).await {
            activity.output();
            self.errors().keep(piece.get(..read).unwrap_or_default());
            self.news.notify_one();
            // Others have their turn between two pieces of a flood.
            tokio::task::yield_now().await;
        }
        self.an_output_ended();
    }

    /// Tells what the program writes, and how much it has taken, until all is over. Nothing when the connection is gone.
    pub(super) async fn tell(
        &self,
        mut writer: Writer,
        mut stdout: pipe::Receiver,
        activity: &Activity,
    ) -> Option<Writer> {
        let mut piece = vec![0u8; PIECE_BYTES];
        let mut open = true;
        loop {
            let over = self.over.load(Ordering::Relaxed);
            let outputs_ended = self.ended_outputs.load(Ordering::Relaxed) == 2;
            self.tell_news(&mut writer).await.ok()?;
            if over && outputs_ended {
                return Some(writer);
            }
            tokio::select! {
                () = self.news.notified() => {}
                read = read_some(&mut stdout, &mut piece), if open => match read {
                    Some(read) => {
                        activity.output();
                        writer.bytes(piece.get(..read).unwrap_or_default()).await.ok()?;
                    }
                    None => {
                        open = false;
                        self.an_output_ended();
                    }
                },
            }
        }
    }

    async fn tell_news(&self, writer: &mut Writer) -> io::Result<()> {
        let taken = self.taken.swap(0, Ordering::Relaxed);
        if taken > 0 {
            writer.word(&PipeWord::Taken { bytes: taken }).await?;
        }
        let (kept, lost) = self.errors().release();
        if lost > 0 {
            writer.word(&PipeWord::ErrorsLost { bytes: lost }).await?;
        }
        if kept.is_empty() { Ok(()) } else { writer.errors(&kept).await }
    }

    fn an_output_ended(&self) {
        if self.ended_outputs.fetch_add(1, Ordering::Relaxed) == 1 {
            self.output_ended.notify_one();
        }
        self.news.notify_one();
    }

    /// Nothing is left of the program.
    pub(super) fn over(&self) {
        self.over.store(true, Ordering::Relaxed);
        self.news.notify_one();
    }

    fn errors(&self) -> MutexGuard<'_, Errors> {
        self.errors.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Errors {
    fn keep(&mut self, bytes: &[u8]) {
        let over = (self.kept.len() + bytes.len()).saturating_sub(PIPE_ERRORS_BYTES);
        self.lost += u64::try_from(over).unwrap_or(u64::MAX);
        let of_old = over.min(self.kept.len());
        self.kept.drain(..of_old);
        self.kept.extend(bytes.get(over - of_old..).unwrap_or_default());
    }

    fn release(&mut self) -> (Vec<u8>, u64) {
        (std::mem::take(&mut self.kept).into(), std::mem::take(&mut self.lost))
    }
}

/// Nothing once nobody can write any more.
async fn read_some(pipe: &mut pipe::Receiver, piece: &mut [u8]) -> Option<usize> {
    loop {
        match pipe.read(piece).await {
            Ok(0) => return None,
            Ok(read) => return Some(read),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
}
