//! A session of a test's own in the database: it holds locks, forgets transactions, and looks.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use reeve_testkit::postgres::PostgresServer;

/// A `psql` that waits for statements; it ends with the test.
pub(crate) struct Console {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Console {
    pub(crate) fn open(postgres: &PostgresServer, application: &str) -> Self {
        let mut command = Command::new(postgres.client_program("psql"));
        command.args(["-X", "-A", "-t", "-q", "-w", "-v", "ON_ERROR_STOP=1", "-d", &postgres.superuser_dsn()]);
        command.env("PGAPPNAME", application).env_remove("PGOPTIONS");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("psql starts");
        let input = child.stdin.take().expect("its input");
        let output = BufReader::new(child.stdout.take().expect("its output"));
        Self { child, input, output }
    }

    /// Sends statements and does not wait for them.
    pub(crate) fn send(&mut self, sql: &str) {
        writeln!(self.input, "{sql};").expect("psql listens");
    }

    /// Runs statements; gives the lines that they print.
    pub(crate) fn say(&mut self, sql: &str) -> Vec<String> {
        const END: &str = "that was all";
        self.send(sql);
        self.send(&format!("select '{END}'"));
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            assert!(self.output.read_line(&mut line).expect("psql answers") > 0, "psql ended at `{sql}`");
            match line.trim_end() {
                END => return lines,
                other => lines.push(other.to_owned()),
            }
        }
    }

    pub(crate) fn count(&mut self, sql: &str) -> u32 {
        self.say(sql).first().and_then(|count| count.parse().ok()).expect("a number")
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
