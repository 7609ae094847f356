//! `reeve-runtime`: the small program that runs inside a workspace.
//!
//! `serve` is the runtime itself. The other commands are steps between it, or a driver, and another program: `confine`
//! for drivers, `supervise` and `tty` for the runtime's own use. `forward` is a door to models and
//! tools, for programs that reach no network, and `mcp` leads programs to it that call tools over standard streams.

use std::env::ArgsOs;
use std::io::Write as _;
use std::process::ExitCode;

use reeve_runtime::{carry, confine, forward, serve, supervise};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let _name = arguments.next();
    let command = arguments.next().unwrap_or_else(|| "serve".into());
    run(&command.to_string_lossy(), arguments)
}

fn run(command: &str, arguments: ArgsOs) -> ExitCode {
    match command {
        "serve" => serve::serve().map_or_else(|error| complain(&error.to_string(), 1), |()| ExitCode::SUCCESS),
        "supervise" => supervise::supervise().map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS),
        "tty" => {
            let (error, program) = supervise::take_terminal(arguments);
            complain(&format!("`{}` cannot be started: {error}", program.to_string_lossy()), 127)
        }
        "confine" => {
            let error = confine::confine(arguments);
            complain(&error.to_string(), error.exit_code())
        }
        "forward" => forward::forward().map_or_else(|error| complain(&error.to_string(), 1), |()| ExitCode::SUCCESS),
        "mcp" => carry::carry().map_or_else(|error| complain(&error.to_string(), 1), |()| ExitCode::SUCCESS),
        "--version" => {
            let told = writeln!(std::io::stdout(), "reeve-runtime {}", env!("CARGO_PKG_VERSION"));
            told.map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
        }
        other => complain(&format!("`{other}` is no command: use serve, confine, forward, mcp or --version"), 2),
    }
}

fn complain(message: &str, code: u8) -> ExitCode {
    let _gone = writeln!(std::io::stderr(), "reeve-runtime: {message}");
    ExitCode::from(code)
}
