//! The terminal: data to standard output, everything else to standard error, colour and progress only where they help.

use std::future::Future;
use std::io::{IsTerminal as _, Write};
use std::time::{Duration, Instant};

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use crate::exit::Failure;
use crate::render::clean;

/// How wide text is where nobody says.
const WIDTH_DEFAULT: usize = 100;
/// The narrowest terminal that text is laid out for.
const WIDTH_MIN: usize = 40;
/// The widest line of running text; wider ones are hard to read.
const WIDTH_MAX: usize = 110;
/// Progress is shown after this long, so that quick commands stay quiet.
const PROGRESS_AFTER: Duration = Duration::from_millis(400);
const PROGRESS_EVERY: Duration = Duration::from_millis(120);
const SPINNER: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];

/// How a stretch of text is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Bad.
    Critical,
    /// Not good.
    Warning,
    /// Good.
    Good,
    /// By the way.
    Faint,
    /// The point.
    Strong,
    /// To be typed.
    Command,
}

impl Tone {
    fn style(self) -> Style {
        let colour = |colour: AnsiColor| Style::new().fg_color(Some(colour.into()));
        match self {
            Self::Critical => colour(AnsiColor::Red).bold(),
            Self::Warning => colour(AnsiColor::Yellow).bold(),
            Self::Good => colour(AnsiColor::Green),
            Self::Faint => Style::new().dimmed(),
            Self::Strong => Style::new().bold(),
            Self::Command => colour(AnsiColor::Cyan),
        }
    }
}

/// How text is laid out: with or without colour, and how wide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Look {
    /// Whether colour is wanted.
    pub(crate) colour: bool,
    /// The width of running text, in characters.
    pub(crate) width: usize,
    /// Where rows of tables are cut, in characters; a table for a file or a pipe stays whole.
    pub(crate) columns: Option<usize>,
}

impl Look {
    /// A stretch of text in a tone.
    pub(crate) fn paint(self, tone: Tone, text: &str) -> String {
        if !self.colour || text.is_empty() {
            return text.to_owned();
        }
        let style = tone.style();
        format!("{style}{text}{style:#}")
    }
}

/// Standard output and standard error.
pub(crate) struct Term {
    out: Box<dyn Write>,
    err: Box<dyn Write>,
    look: Look,
    err_colour: bool,
    out_is_terminal: bool,
    err_is_terminal: bool,
}

impl Term {
    /// The terminal of this process. `variable` looks up the environment.
    pub(crate) fn of_process(variable: impl Fn(&str) -> Option<String>) -> Self {
        let (out, err) = (std::io::stdout(), std::io::stderr());
        let (out_is_terminal, err_is_terminal) = (out.is_terminal(), err.is_terminal());
        // https://no-color.org: any value that is not empty counts.
        let plain = variable("NO_COLOR").is_some_and(|value| !value.is_empty())
            || variable("TERM").is_some_and(|value| value == "dumb");
        let columns = variable("COLUMNS").and_then(|text| text.parse().ok());
        let asked = rustix::termios::tcgetwinsize(&out).ok().map(|size| usize::from(size.ws_col)).filter(|&w| w > 0);
        let columns = columns.or(asked).unwrap_or(WIDTH_DEFAULT).max(WIDTH_MIN);
        Self {
            look: Look {
                colour: out_is_terminal && !plain,
                width: columns.min(WIDTH_MAX),
                columns: out_is_terminal.then_some(columns),
            },
            err_colour: err_is_terminal && !plain,
            out: Box::new(std::io::LineWriter::new(out)),
            err: Box::new(err),
            out_is_terminal,
            err_is_terminal,
        }
    }

    /// A terminal that says nothing: what stands in while another one is lent out.
    pub(crate) fn silent() -> Self {
        Self {
            out: Box::new(std::io::sink()),
            err: Box::new(std::io::sink()),
            look: Look { colour: false, width: WIDTH_DEFAULT, columns: None },
            err_colour: false,
            out_is_terminal: false,
            err_is_terminal: false,
        }
    }

    /// A terminal that writes elsewhere, without colour and progress.
    #[cfg(test)]
    pub(crate) fn into(out: impl Write + 'static, err: impl Write + 'static) -> Self {
        Self {
            out: Box::new(out),
            err: Box::new(err),
            look: Look { colour: false, width: 80, columns: None },
            err_colour: false,
            out_is_terminal: false,
            err_is_terminal: false,
        }
    }

    /// Whether a person reads standard output.
    pub(crate) fn is_terminal(&self) -> bool {
        self.out_is_terminal
    }

    /// How text for standard output is laid out.
    pub(crate) fn look(&self) -> Look {
        self.look
    }

    /// Writes data. A line end is added when there is none.
    pub(crate) fn print(&mut self, text: &str) -> Result<(), Failure> {
        self.out.write_all(text.as_bytes())?;
        if !text.ends_with('\n') {
            self.out.write_all(b"\n")?;
        }
        Ok(self.out.flush()?)
    }

    /// Writes a part of a text at once, without a line end of its own.
    pub(crate) fn print_part(&mut self, text: &str) -> Result<(), Failure> {
        self.out.write_all(text.as_bytes())?;
        Ok(self.out.flush()?)
    }

    /// Writes JSON as the server sent it; on a terminal, indented.
    pub(crate) fn print_json_text(&mut self, text: &str) -> Result<(), Failure> {
        let indented = self.out_is_terminal.then(|| serde_json::from_str::<serde_json::Value>(text).ok()).flatten();
        match indented.and_then(|value| serde_json::to_string_pretty(&value).ok()) {
            Some(pretty) => self.print(&pretty),
            None => self.print(text),
        }
    }

    /// Writes a value as JSON.
    pub(crate) fn print_json(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        let text =
            serde_json::to_string(value).map_err(|error| Failure::could_not(format!("cannot write JSON: {error}")))?;
        self.print_json_text(&text)
    }

    /// Writes what a program elsewhere has written, as it is; on a terminal, without what would steer the terminal.
    pub(crate) fn print_output(&mut self, text: &str) -> Result<(), Failure> {
        let shown = if self.out_is_terminal { clean(text) } else { text.to_owned() };
        self.out.write_all(shown.as_bytes())?;
        Ok(self.out.flush()?)
    }

    /// The same for what it has written to its standard error.
    pub(crate) fn print_errors(&mut self, text: &str) {
        let shown = if self.err_is_terminal { clean(text) } else { text.to_owned() };
        // Nothing is left to tell when standard error is gone.
        let _ = self.err.write_all(shown.as_bytes());
    }

    /// Says something that is not data.
    pub(crate) fn note(&mut self, text: &str) {
        // Nothing is left to tell when standard error is gone.
        let _ = writeln!(self.err, "{text}");
    }

    /// Says what went wrong and what to do.
    pub(crate) fn failure(&mut self, failure: &Failure) {
        if failure.message.is_empty() {
            return;
        }
        let look = Look { colour: self.err_colour, ..self.look };
        self.note(&format!("{} {}", look.paint(Tone::Critical, "error:"), failure.message));
        if !failure.hint.is_empty() {
            self.note(&format!("{} {}", look.paint(Tone::Strong, "hint:"), failure.hint));
        }
    }

    /// Says that something is allowed but should be known.
    pub(crate) fn warning(&mut self, text: &str) {
        let look = Look { colour: self.err_colour, ..self.look };
        self.note(&format!("{} {text}", look.paint(Tone::Warning, "warning:")));
    }

    /// Waits for something, showing what and for how long when a person watches.
    pub(crate) async fn progress<T>(&mut self, label: &str, work: impl Future<Output = T>) -> T {
        if !self.err_is_terminal {
            return work.await;
        }
        let begun = Instant::now();
        let mut tick = tokio::time::interval(PROGRESS_EVERY);
        let mut work = std::pin::pin!(work);
        let mut shown = 0;
        loop {
            tokio::select! {
                done = &mut work => {
                    if shown > 0 {
                        let _ = write!(self.err, "\r\x1b[K");
                        let _ = self.err.flush();
                    }
                    return done;
                }
                _ = tick.tick() => {
                    if begun.elapsed() >= PROGRESS_AFTER {
                        let frame = SPINNER.get(shown % SPINNER.len()).unwrap_or(&"·");
                        let _ = write!(self.err, "\r\x1b[K{frame} {label} … {}s", begun.elapsed().as_secs());
                        let _ = self.err.flush();
                        shown += 1;
                    }
                }
            }
        }
    }
}
