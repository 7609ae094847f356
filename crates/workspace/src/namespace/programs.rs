//! Programs of this machine that the driver needs.

use std::path::{Path, PathBuf};

/// Where system programs are; the server's own `PATH` is not asked, because its order is anybody's.
const DIRECTORIES: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// A program by its name.
pub(super) fn find(name: &str) -> Option<PathBuf> {
    DIRECTORIES.iter().map(|directory| Path::new(directory).join(name)).find(|path| path.is_file())
}
