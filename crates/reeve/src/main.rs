//! The `reeve` program: command line, configuration, boot order, lifecycle. Everything it does is done by the crates below
//! it; here is where they are put together and where people meet them.

mod boot;
mod bundle;
mod cli;
mod client;
mod config;
mod exit;
mod lifecycle;
mod logging;
mod names;
mod render;
mod telemetry;
mod term;

use std::process::ExitCode;

fn main() -> ExitCode {
    let args = names::expand(std::env::args_os().collect(), &cli::command());
    let mut term = term::Term::of_process(config::surroundings::variable);
    let cli = match cli::parse(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are data; anything else is a slip of the command line.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { exit::USAGE } else { exit::DONE });
        }
    };
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => {
            let code = runtime.block_on(cli::run(cli, term));
            // A thread that still reads standard input must not hold the program up.
            runtime.shutdown_background();
            code
        }
        Err(error) => {
            term.failure(&exit::Failure::could_not(format!("cannot start: {error}")));
            ExitCode::from(exit::COULD_NOT)
        }
    }
}
