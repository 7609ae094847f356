//! The program inside, as it was built for the tests.

use std::path::PathBuf;

/// Where it is; it is built when it is missing.
pub(crate) fn runtime() -> PathBuf {
    let beside = reeve_workspace::namespace::runtime_beside_this_program;
    beside().unwrap_or_else(|| {
        let built = std::process::Command::new(env!("CARGO")).args(["build", "-q", "-p", "reeve-runtime"]).status();
        assert!(built.expect("cargo runs").success(), "reeve-runtime does not build");
        beside().expect("reeve-runtime beside the tests")
    })
}
