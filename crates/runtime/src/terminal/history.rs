//! The last of what a terminal has shown, by its position since the terminal was opened.

use std::collections::VecDeque;

/// A ring of the last bytes. Positions count from the first byte ever shown.
#[derive(Debug)]
pub(super) struct History {
    kept: VecDeque<u8>,
    bytes_max: usize,
    end: u64,
}

impl History {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { kept: VecDeque::new(), bytes_max, end: 0 }
    }

    /// Position one past the last byte.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Position of the first byte that is still known.
    pub(super) fn start(&self) -> u64 {
        self.end - length(self.kept.len())
    }

    /// Where somebody who comes now begins: at a line's start, when the beginning is lost.
    pub(super) fn beginning(&self) -> u64 {
        const LINE_BYTES_MAX: usize = 4096;
        let start = self.start();
        if start == 0 {
            return 0;
        }
        let newline = self.kept.iter().take(LINE_BYTES_MAX).position(|byte| *byte == b'\n');
        newline.map_or(start, |at| start + length(at) + 1)
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        let bytes_kept = bytes.get(bytes.len().saturating_sub(self.bytes_max)..).unwrap_or_default();
        let over = (self.kept.len() + bytes_kept.len()).saturating_sub(self.bytes_max);
        self.kept.drain(..over);
        self.make_room(bytes_kept.len());
        self.kept.extend(bytes_kept);
        self.end += length(bytes.len());
    }

    /// The deque would grow by doubling, beyond what is ever kept.
    fn make_room(&mut self, more: usize) {
        let needed = self.kept.len() + more;
        if needed > self.kept.capacity() {
            let wanted = needed.max(self.kept.capacity() * 2).min(self.bytes_max);
            self.kept.reserve_exact(wanted - self.kept.len());
        }
    }

    /// Up to `bytes_max` bytes from a position on. A position that is lost is moved to the first that is known.
    pub(super) fn read(&self, from: u64, bytes_max: usize) -> Vec<u8> {
        let skip = usize::try_from(from.saturating_sub(self.start())).unwrap_or(usize::MAX).min(self.kept.len());
        let until = skip.saturating_add(bytes_max).min(self.kept.len());
        let (front, back) = self.kept.as_slices();
        let mut bytes = Vec::with_capacity(until - skip);
        bytes.extend_from_slice(front.get(skip.min(front.len())..until.min(front.len())).unwrap_or_default());
        let (skip, until) = (skip.saturating_sub(front.len()), until.saturating_sub(front.len()));
        bytes.extend_from_slice(back.get(skip..until).unwrap_or_default());
        bytes
    }
}

fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_stay_when_the_beginning_is_lost() {
        let mut history = History::new(8);
        for piece in ["abc", "defg", "hijk"] {
            history.push(piece.as_bytes());
        }
        assert_eq!((history.start(), history.end()), (3, 11));
        assert_eq!(history.read(3, 100), b"defghijk");
        assert_eq!(history.read(9, 1), b"j");
        assert_eq!(history.read(0, 2), b"de");
        assert_eq!(history.read(11, 5), b"");
        history.push(b"0123456789");
        assert_eq!((history.read(0, 100).as_slice(), history.end()), (b"23456789".as_slice(), 21));
    }

    #[test]
    fn replay_begins_with_a_line() {
        let mut history = History::new(8);
        history.push(b"one\ntwo");
        assert_eq!(history.beginning(), 0);
        history.push(b"\nab\nc");
        assert_eq!(history.read(history.beginning(), 100), b"ab\nc");
    }

    #[test]
    fn it_never_takes_more_room_than_it_keeps() {
        let mut history = History::new(1 << 20);
        for _ in 0..300 {
            history.push(&[b'x'; 16_000]);
        }
        assert!(history.kept.capacity() <= (1 << 20) + 64, "{}", history.kept.capacity());
    }
}
