//! The head and the tail of what a program writes; the middle is counted and left out.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use reeve_types::workspace::processes::{EXECUTION_OUTPUT_BYTES_MAX, ExecEvent, OutputStream};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::sync::mpsc;

use crate::activity::Activity;

/// Bytes read at once.
const PIECE_BYTES: usize = 16 * 1024;

/// How much of a stream is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Amount {
    /// Head and tail, [`EXECUTION_OUTPUT_BYTES_MAX`] together.
    Bounded,
    /// Everything, at the speed of whoever reads it.
    Everything,
}

/// Where output goes.
pub(crate) struct Pump {
    /// Which stream it is.
    pub(crate) stream: OutputStream,
    /// How much of it is told.
    pub(crate) amount: Amount,
    /// Whom it is told.
    pub(crate) events: mpsc::Sender<ExecEvent>,
    /// Where it is noted that something was written.
    pub(crate) activity: Arc<Activity>,
}

/// Passes on what is written to a pipe until nobody can write to it any more. Tells whether something was left out.
pub(crate) async fn pass_on(mut pipe: pipe::Receiver, to: Pump) -> bool {
    let Pump { stream, amount, events, activity } = to;
    let mut kept = HeadAndTail::new(amount);
    let mut piece = vec![0u8; PIECE_BYTES];
    loop {
        let read = match pipe.read(&mut piece).await {
            Ok(0) => break,
            Ok(read) => piece.get(..read).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        activity.output();
        let now = kept.take(read);
        if !now.is_empty() && events.send(ExecEvent::Output { stream, data: now.to_vec() }).await.is_err() {
            return true;
        }
    }
    let left_out = kept.left_out;
    for data in kept.rest() {
        if events.send(ExecEvent::Output { stream, data }).await.is_err() {
            return true;
        }
    }
    left_out > 0
}

struct HeadAndTail {
    head_left: usize,
    tail: VecDeque<u8>,
    tail_max: usize,
    left_out: u64,
}

impl HeadAndTail {
    fn new(amount: Amount) -> Self {
        let head_left = match amount {
            Amount::Bounded => EXECUTION_OUTPUT_BYTES_MAX / 2,
            Amount::Everything => usize::MAX,
        };
        Self { head_left, tail: VecDeque::new(), tail_max: EXECUTION_OUTPUT_BYTES_MAX / 2, left_out: 0 }
    }

    /// Takes bytes in; gives back those that belong to the head.
    fn take<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let (head, tail) = bytes.split_at(bytes.len().min(self.head_left));
        if self.head_left != usize::MAX {
            self.head_left -= head.len();
        }
        let over = (self.tail.len() + tail.len()).saturating_sub(self.tail_max);
        self.left_out += u64::try_from(over).unwrap_or(u64::MAX);
        let of_old = over.min(self.tail.len());
        self.tail.drain(..of_old);
        self.tail.extend(tail.get(over - of_old..).unwrap_or_default());
        head
    }

    /// What follows the head: a word about what is missing, and the tail.
    fn rest(self) -> Vec<Vec<u8>> {
        let mut pieces = Vec::new();
        if self.left_out > 0 {
            pieces.push(format!("\n[… {} bytes left out …]\n", self.left_out).into_bytes());
        }
        let (front, back) = self.tail.as_slices();
        let tail = front.chunks(PIECE_BYTES).chain(back.chunks(PIECE_BYTES));
        pieces.extend(tail.map(<[u8]>::to_vec));
        pieces
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_is_left_out_and_counted() {
        let mut kept = HeadAndTail { head_left: 4, tail: VecDeque::new(), tail_max: 3, left_out: 0 };
        let mut told = Vec::new();
        for piece in ["ab", "cdef", "ghij"] {
            told.extend_from_slice(kept.take(piece.as_bytes()));
        }
        told.extend(kept.rest().concat());
        assert_eq!(String::from_utf8(told).expect("text"), "abcd\n[… 3 bytes left out …]\nhij");
    }

    #[test]
    fn what_fits_is_told_whole() {
        let mut kept = HeadAndTail { head_left: 4, tail: VecDeque::new(), tail_max: 3, left_out: 0 };
        let mut told = kept.take(b"abcdefg").to_vec();
        told.extend(kept.rest().concat());
        assert_eq!(told, b"abcdefg");
    }
}
