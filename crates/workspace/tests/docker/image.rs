//! A small image for tests, made of this machine's own programs: a shell and what copies, packs and finds files, and
//! Python where a test brings a program. So a test needs neither a registry of images nor minutes.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use bollard::Docker;
use bollard::query_parameters::CreateImageOptions;
use futures_util::StreamExt as _;
use tar::{Builder, EntryType, Header};

use crate::program::runtime;

/// The image of the template `base`.
pub(crate) const NAME: &str = "reeve/base:1";
/// Packages whose programs are in the image.
const PACKAGES: [&str; 10] =
    ["bash", "dash", "coreutils", "findutils", "grep", "sed", "tar", "procps", "util-linux", "mount"];
/// Where programs of packages are.
const PROGRAM_DIRECTORIES: [&str; 4] = ["/bin/", "/usr/bin/", "/sbin/", "/usr/sbin/"];
const USERS: &str = "root:x:0:0:root:/root:/bin/sh\nreeve:x:1000:1000:reeve:/home/reeve:/bin/bash\n";
const GROUPS: &str = "root:x:0:\nreeve:x:1000:\n";

/// Directories of Python's library that no test needs, and that are large.
const PYTHON_WITHOUT: [&str; 8] =
    ["__pycache__", "config", "ensurepip", "idlelib", "lib2to3", "pydoc_data", "test", "unittest"];

/// What is in the image besides what workspaces need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum With {
    Nothing,
    Python,
}

/// Puts the image on an engine under the name that the template `base` uses.
pub(crate) async fn import(docker: &Docker, with: With) {
    static PACKED: [OnceLock<Vec<u8>>; 2] = [OnceLock::new(), OnceLock::new()];
    let packed = PACKED[usize::from(with == With::Python)].get_or_init(|| pack(with)).clone();
    let options = CreateImageOptions {
        from_src: Some("-".to_owned()),
        repo: Some(NAME.to_owned()),
        ..CreateImageOptions::default()
    };
    let mut importing = Box::pin(docker.create_image(Some(options), Some(bollard::body_full(packed.into())), None));
    while let Some(step) = importing.next().await {
        step.expect("the image is taken");
    }
}

fn pack(with: With) -> Vec<u8> {
    let mut programs = programs();
    if with == With::Python {
        programs.extend(python());
    }
    // The program inside may be linked against this machine's libraries.
    let linked = programs.iter().cloned().chain([runtime()]);
    let all = libraries(linked).into_iter().chain(programs);
    let files: BTreeMap<PathBuf, PathBuf> = all.map(|file| (inside(&file), file)).collect();
    let mut tar = Builder::new(Vec::new());
    for (name, target) in [("bin", "usr/bin"), ("sbin", "usr/sbin"), ("lib", "usr/lib"), ("lib64", "usr/lib64")] {
        let mut header = header(EntryType::Symlink, 0o777, 0, 0);
        tar.append_link(&mut header, name, target).expect("packed");
    }
    let of_user = [("workspace", 0o755, 1000), ("home/reeve", 0o755, 1000)];
    let of_root = ["opt", "run", "var", "dev", "proc", "sys"].map(|name| (name, 0o755, 0));
    for (name, mode, owner) in of_user.into_iter().chain(of_root).chain([("tmp", 0o1777, 0)]) {
        let mut header = header(EntryType::Directory, mode, 0, owner);
        tar.append_data(&mut header, name, std::io::empty()).expect("packed");
    }
    for (name, content) in [("etc/passwd", USERS), ("etc/group", GROUPS)] {
        let mut header = header(EntryType::Regular, 0o644, content.len(), 0);
        tar.append_data(&mut header, name, content.as_bytes()).expect("packed");
    }
    for (name, file) in files {
        let content = std::fs::read(&file).expect("a program of this machine");
        let mode = file.metadata().expect("a program").permissions().mode() & 0o777;
        let mut header = header(EntryType::Regular, mode, content.len(), 0);
        tar.append_data(&mut header, name.strip_prefix("/").expect("absolute"), content.as_slice()).expect("packed");
    }
    tar.into_inner().expect("packed")
}

fn header(kind: EntryType, mode: u32, size: usize, owner: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size as u64);
    header.set_uid(owner);
    header.set_gid(owner);
    header
}

/// Where a file is inside: its directory without links, its name as programs ask for it.
fn inside(file: &Path) -> PathBuf {
    let directory = file.parent().and_then(|parent| parent.canonicalize().ok()).expect("a directory");
    directory.join(file.file_name().expect("a name"))
}

fn programs() -> Vec<PathBuf> {
    let listed = said(Command::new("dpkg").arg("-L").args(PACKAGES));
    let in_place = |line: &&str| PROGRAM_DIRECTORIES.iter().any(|directory| line.starts_with(directory));
    let mut all: Vec<PathBuf> = listed.lines().filter(in_place).map(PathBuf::from).collect();
    all.push("/bin/sh".into());
    all.retain(|path| path.is_file());
    all
}

/// Python as this machine has it: the program and its library.
fn python() -> Vec<PathBuf> {
    let program = Path::new("/usr/bin/python3").canonicalize().expect("the tests' programs are in Python");
    let name = program.file_name().and_then(|name| name.to_str()).expect("a plain name").to_owned();
    let packages = [format!("lib{name}-minimal"), format!("lib{name}-stdlib")];
    let listed = said(Command::new("dpkg").arg("-L").args(packages));
    let unwanted = |path: &Path| {
        path.iter()
            .filter_map(|part| part.to_str())
            .any(|part| PYTHON_WITHOUT.iter().any(|name| part.starts_with(name)))
    };
    let library = listed.lines().filter(|line| line.starts_with("/usr/lib/python3")).map(PathBuf::from);
    let library = library.filter(|path| path.is_file() && !unwanted(path));
    library.chain([program, "/usr/bin/python3".into()]).collect()
}

/// The libraries that files are linked against.
fn libraries(files: impl Iterator<Item = PathBuf>) -> BTreeSet<PathBuf> {
    let linked = files.filter(|file| file.extension().is_none_or(|extension| extension != "py"));
    // Not everything is linked against something, and `ldd` says so with its code.
    let listed = Command::new("ldd").args(linked).output().expect("ldd runs").stdout;
    let listed = String::from_utf8_lossy(&listed).into_owned();
    listed.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).filter(|p| p.is_file()).collect()
}

fn said(command: &mut Command) -> String {
    let output = command.output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
