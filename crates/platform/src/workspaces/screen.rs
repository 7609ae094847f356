//! What a terminal shows, as text: the bytes that programs write are read as a terminal reads them, so that progress bars,
//! redrawn lines and editors come out as a person sees them.

use std::num::NonZeroU16;
use std::panic::AssertUnwindSafe;

/// Lines above the screen that are kept.
const SCROLLBACK: usize = 1000;
/// Sizes that are taken over from the terminal.
const COLS: (u16, u16) = (20, 300);
const ROWS: (u16, u16) = (5, 150);

/// A screen that nobody looks at.
pub(super) struct Screen {
    parser: vt100::Parser,
    cols: NonZeroU16,
    rows: NonZeroU16,
}

impl Screen {
    pub(super) fn new(cols: u16, rows: u16) -> Self {
        let within = |size: u16, (least, most)| NonZeroU16::new(size.clamp(least, most)).unwrap_or(NonZeroU16::MIN);
        let (cols, rows) = (within(cols, COLS), within(rows, ROWS));
        Self { parser: vt100::Parser::new(rows, cols, SCROLLBACK), cols, rows }
    }

    /// Shows what a program wrote. A program may write anything: should the parser not survive it, the screen is empty.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        if std::panic::catch_unwind(AssertUnwindSafe(|| self.parser.process(bytes))).is_err() {
            self.parser = vt100::Parser::new(self.rows, self.cols, SCROLLBACK);
        }
    }

    /// Forgets what is above the line that is being written. A program that has the whole screen keeps it.
    pub(super) fn forget(&mut self) {
        let screen = self.parser.screen();
        if screen.alternate_screen() {
            return;
        }
        let (row, col) = screen.cursor_position();
        let begun: String = screen.rows(0, col).nth(usize::from(row)).unwrap_or_default();
        let gap = usize::from(col).saturating_sub(begun.chars().count());
        self.parser = vt100::Parser::new(self.rows, self.cols, SCROLLBACK);
        self.take(format!("{begun}{}", " ".repeat(gap)).as_bytes());
    }

    /// Whether a program has the whole screen to itself.
    pub(super) fn is_full(&self) -> bool {
        self.parser.screen().alternate_screen()
    }

    /// All lines, oldest first, without what is empty at their ends and after the last.
    pub(super) fn lines(&mut self) -> Vec<String> {
        let mut lines = self.written();
        for line in &mut lines {
            line.truncate(line.trim_end().len());
        }
        while lines.last().is_some_and(String::is_empty) {
            lines.pop();
        }
        lines
    }

    fn written(&mut self) -> Vec<String> {
        let (cols, height) = (self.cols.get(), usize::from(self.rows.get()));
        let screen = self.parser.screen_mut();
        let above = screen.scrollback_len();
        let mut lines = Vec::with_capacity(above + height);
        let mut left = above;
        while left > 0 {
            screen.set_scrollback(left);
            let page = left.min(height);
            lines.extend(screen.rows(0, cols).take(page));
            left -= page;
        }
        screen.set_scrollback(0);
        lines.extend(screen.rows(0, cols));
        lines
    }

    /// Whether a text is shown, in one line or over the end of one.
    pub(super) fn shows(&mut self, text: &str) -> bool {
        let lines = self.written();
        lines.iter().any(|line| line.contains(text)) || lines.concat().contains(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(bytes: &[u8]) -> Vec<String> {
        let mut screen = Screen::new(40, 6);
        screen.take(bytes);
        screen.lines()
    }

    #[test]
    fn colours_titles_and_redrawn_lines_come_out_as_they_are_seen() {
        assert_eq!(shown(b"\x1b[1;31mred\x1b[0m\r\n\x1b]0;title\x07plain\r\n"), ["red", "plain"]);
        assert_eq!(shown(b"10%\r50%\r100%\x1b[K\r\ndone"), ["100%", "done"]);
        assert_eq!(shown(b"typo\x08\x08\x08\x08text\x1b[2Jx").last().map(|line| line.trim()), Some("x"));
        assert_eq!(shown("größe\r\n漢字".as_bytes()), ["größe", "漢字"]);
    }

    #[test]
    fn what_scrolled_away_is_there_in_order_and_bounded() {
        let many: String = (0..5000).map(|n| format!("line {n}\r\n")).collect();
        let lines = shown(many.as_bytes());
        assert!(lines.len() <= SCROLLBACK + 6, "{}", lines.len());
        let numbers: Vec<usize> = lines.iter().map(|line| line[5..].parse().unwrap()).collect();
        assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1) && numbers.last() == Some(&4999), "{numbers:?}");
    }

    #[test]
    fn what_was_before_is_forgotten_but_for_the_line_that_is_being_written() {
        let mut screen = Screen::new(40, 6);
        screen.take(b"old\r\n>>> ");
        screen.forget();
        screen.take(b"6*7\r\n42\r\n>>> ");
        assert_eq!(screen.lines(), [">>> 6*7", "42", ">>>"]);
        screen.take(b"\x1b[?1049h\x1b[Hin an editor");
        screen.forget();
        assert!(screen.is_full() && screen.lines() == ["in an editor"]);
        screen.take(b"\x1b[?1049l");
        assert!(!screen.is_full() && screen.shows("42"));
    }

    #[test]
    fn a_text_is_found_over_the_end_of_a_line() {
        let mut screen = Screen::new(20, 6);
        screen.take(b"0123456789012345678 finished");
        assert!(screen.shows("8 finished") && !screen.shows("9 finished"));
    }

    #[test]
    fn nothing_that_programs_write_brings_it_down() {
        let mut state = 7u64;
        let mut screen = Screen::new(1, 1);
        let pieces: [&[u8]; 12] = [
            b"\x1b[",
            b"\x1b[9999;9999H",
            b"\x1b[1;1r",
            b"\x1b[5M",
            b"\x1b[3L",
            b"\x1b[?1049h",
            b"\xff\xfe",
            b"\x1b[2000P",
            b"\x1b[2000@",
            b"\n",
            b"\x1b[?6h\x1b[2;3r",
            "漢".as_bytes(),
        ];
        for _ in 0..20_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let piece = pieces[usize::try_from(state >> 33).unwrap() % pieces.len()];
            screen.parser.process(piece);
        }
        assert!(screen.lines().len() <= SCROLLBACK + 5);
    }
}
