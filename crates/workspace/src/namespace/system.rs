//! What every workspace sees of this machine, read-only: its programs and libraries, a few files of `/etc`, and the
//! program inside.

use std::ffi::OsString;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::mount::MountFlags;

use super::layout::Layout;

/// What every workspace sees as `/etc`, in the place that workspaces are reached in.
pub(super) const ETC: &str = "etc";
/// Programs that every workspace sees, copied or mounted there, beside it.
pub(super) const PROGRAMS: &str = "bin";
/// Where the program inside is seen.
pub(super) const RUNTIME_INSIDE: &str = "/opt/reeve/reeve-runtime";
/// Directories that are links into `/usr` on most systems, and directories of their own on others.
const BESIDE_USR: [&str; 7] = ["/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/libexec"];
/// What programs need of `/etc`. Nothing in here is secret or tells who uses this machine.
const FROM_ETC: [&str; 16] = [
    "alternatives",
    "bash.bashrc",
    "ca-certificates",
    "ca-certificates.conf",
    "inputrc",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "magic",
    "mime.types",
    "pki/tls/certs",
    "protocols",
    "services",
    "ssl/certs",
    "terminfo",
];
/// What is written anew, because this machine's own would tell or mislead.
const WRITTEN: [(&str, &str); 8] = [
    (
        "passwd",
        "root:x:0:0:root:/root:/usr/sbin/nologin\nreeve:x:1000:1000:reeve:/home/reeve:/bin/bash\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    ),
    ("group", "root:x:0:\ntty:x:5:\nreeve:x:1000:\nnogroup:x:65534:\n"),
    ("hosts", "127.0.0.1\tlocalhost workspace\n::1\tlocalhost ip6-localhost\n"),
    ("hostname", "workspace\n"),
    ("nsswitch.conf", "passwd: files\ngroup: files\nshadow: files\nhosts: files\nservices: files\nprotocols: files\n"),
    ("resolv.conf", "# A workspace resolves no names; its proxy does.\n"),
    ("ssl/openssl.cnf", ""),
    (
        "profile",
        "export PATH HOME LANG TERM\nPS1='\\w \\$ '\n[ -n \"$BASH_VERSION\" ] && [ -r /etc/bash.bashrc ] && . /etc/bash.bashrc\n",
    ),
];

/// A directory of this machine that workspaces may use although it is not below `/usr`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toolchain {
    /// Where it is on this machine.
    pub from: PathBuf,
    /// Where workspaces see it: a directory below `/opt`.
    pub inside: PathBuf,
    /// The directory in it whose programs are found by name; with `None` they are named by their paths.
    pub programs: Option<PathBuf>,
}

/// Toolchains that the owner of a home directory has installed: Rust by rustup.
pub fn find_toolchains(home: &Path) -> Vec<Toolchain> {
    let toolchains = home.join(".rustup/toolchains");
    let settings = std::fs::read_to_string(home.join(".rustup/settings.toml")).unwrap_or_default();
    let default = toml::from_str::<toml::Table>(&settings)
        .ok()
        .and_then(|table| table.get("default_toolchain")?.as_str().map(|name| toolchains.join(name)));
    let first = || {
        let mut all: Vec<_> =
            std::fs::read_dir(&toolchains).into_iter().flatten().flatten().map(|e| e.path()).collect();
        all.sort();
        all.into_iter().next()
    };
    let rust = default.filter(|path| path.is_dir()).or_else(first).filter(|path| path.join("bin/cargo").is_file());
    let seen = |from: PathBuf| Toolchain { from, inside: "/opt/rust".into(), programs: Some("bin".into()) };
    rust.into_iter().map(seen).collect()
}

/// The shared view of the system, ready to be mounted.
#[derive(Debug, Clone)]
pub(super) struct System {
    arguments: Vec<OsString>,
    path: String,
}

impl System {
    /// Writes what is written anew, and finds the rest.
    pub(super) fn prepare(layout: &Layout, runtime: &Path, toolchains: &[Toolchain]) -> io::Result<Self> {
        let mut arguments: Vec<OsString> = words(["--ro-bind", "/usr", "/usr"]);
        for directory in BESIDE_USR {
            match std::fs::symlink_metadata(directory) {
                Ok(meta) if meta.is_symlink() => {
                    arguments.push("--symlink".into());
                    arguments.push(std::fs::read_link(directory)?.into());
                    arguments.push(directory.into());
                }
                Ok(_) => arguments.extend(words(["--ro-bind", directory, directory])),
                Err(_) => {}
            }
        }
        let etc = layout.reach.join(ETC);
        prepare_etc(&etc)?;
        bind(&mut arguments, &etc, "/etc");
        bind(&mut arguments, &reachable_program(layout, runtime)?, RUNTIME_INSIDE);
        let mut path = String::from("/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin");
        for toolchain in toolchains {
            bind(&mut arguments, &reachable_directory(layout, &toolchain.from)?, &toolchain.inside);
            if let Some(programs) = &toolchain.programs {
                path = format!("{}:{path}", toolchain.inside.join(programs).display());
            }
        }
        Ok(Self { arguments, path })
    }

    /// Arguments for bubblewrap.
    pub(super) fn arguments(&self) -> &[OsString] {
        &self.arguments
    }

    /// Where programs are found by name.
    pub(super) fn path(&self) -> &str {
        &self.path
    }
}

/// One directory that workspaces see as `/etc`: every mount makes each start slower. It is brought up to date when the
/// server starts; workspaces that run see that.
fn prepare_etc(etc: &Path) -> io::Result<()> {
    std::fs::set_permissions(etc, PermissionsExt::from_mode(0o755))?;
    for name in FROM_ETC {
        let (from, to) = (Path::new("/etc").join(name), etc.join(name));
        make_above(etc, &to)?;
        // What is not there, or not for everybody's eyes, is not needed.
        match std::fs::metadata(&from) {
            Ok(meta) if meta.is_dir() => copy_anew(&from, &to)?,
            Ok(meta) if meta.mode() & 0o004 != 0 => write_readable(&to, &std::fs::read(&from)?, 0o644)?,
            _ => {}
        }
    }
    for (name, content) in WRITTEN {
        let to = etc.join(name);
        make_above(etc, &to)?;
        write_readable(&to, content.as_bytes(), 0o644)?;
    }
    Ok(())
}

fn make_above(etc: &Path, to: &Path) -> io::Result<()> {
    let below: Vec<&Path> = to.ancestors().skip(1).take_while(|above| *above != etc).collect();
    for directory in below.into_iter().rev() {
        std::fs::create_dir_all(directory)?;
        std::fs::set_permissions(directory, PermissionsExt::from_mode(0o755))?;
    }
    Ok(())
}

fn copy_anew(from: &Path, to: &Path) -> io::Result<()> {
    let draft = to.with_extension(format!("draft-{:08x}", rand::random::<u32>()));
    std::fs::create_dir(&draft)?;
    super::copying::copy_tree(from, &draft, None)?;
    super::removing::remove(to)?;
    std::fs::rename(&draft, to)
}

fn bind(arguments: &mut Vec<OsString>, from: &Path, to: impl AsRef<Path>) {
    arguments.push("--ro-bind".into());
    arguments.push(from.into());
    arguments.push(to.as_ref().into());
}

fn words<const N: usize>(words: [&str; N]) -> Vec<OsString> {
    words.into_iter().map(OsString::from).collect()
}

fn write_readable(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    if std::fs::read(path).is_ok_and(|there| there == content) {
        return Ok(());
    }
    let draft = path.with_extension(format!("draft-{:08x}", rand::random::<u32>()));
    std::fs::write(&draft, content)?;
    std::fs::set_permissions(&draft, PermissionsExt::from_mode(mode))?;
    std::fs::rename(&draft, path)
}

/// The program inside where every workspace's user can read it: where it is, or a copy.
fn reachable_program(layout: &Layout, program: &Path) -> io::Result<PathBuf> {
    // A program that is not there yet is told when something is to be started, and by `reeve doctor`.
    if !layout.as_root || is_walkable(program) || !program.is_file() {
        return Ok(program.to_path_buf());
    }
    let meta = std::fs::metadata(program)?;
    let name = format!("reeve-runtime-{:x}-{:x}", meta.len(), meta.mtime_nsec() ^ meta.mtime());
    let copy = layout.reach.join(PROGRAMS).join(name);
    if !copy.exists() {
        write_readable(&copy, &std::fs::read(program)?, 0o755)?;
    }
    Ok(copy)
}

/// A directory where every workspace's user can walk to it: where it is, or mounted where they can.
fn reachable_directory(layout: &Layout, directory: &Path) -> io::Result<PathBuf> {
    if !layout.as_root || is_walkable(directory) {
        return Ok(directory.to_path_buf());
    }
    let name = directory.as_os_str().to_string_lossy().replace(['/', ' '], "_");
    let target = layout.reach.join(PROGRAMS).join(name);
    std::fs::create_dir_all(&target)?;
    if !super::disk::is_mount(&target) {
        rustix::mount::mount_bind(directory, &target)?;
    }
    // Whoever tidies up below `/run` by hand must not empty the machine's own directory through it.
    let read_only = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV;
    if let Err(error) = rustix::mount::mount_remount(&target, read_only, c"") {
        super::disk::unmount(&target)?;
        return Err(error.into());
    }
    Ok(target)
}

/// Whether others may walk from the root to it.
fn is_walkable(path: &Path) -> bool {
    let Ok(path) = path.canonicalize() else { return false };
    path.ancestors().skip(1).all(|above| std::fs::metadata(above).is_ok_and(|meta| meta.mode() & 0o001 != 0))
        && std::fs::metadata(&path).is_ok_and(|meta| meta.mode() & 0o005 == 0o005)
}

/// Takes away what was mounted and written for all workspaces together, and the place itself.
pub(super) fn take_down(reach: &Path) {
    let stays = |path: &Path, error: io::Error| {
        tracing::warn!(path = %path.display(), %error, "what workspaces saw of this machine stays");
    };
    let (programs, etc) = (reach.join(PROGRAMS), reach.join(ETC));
    for entry in std::fs::read_dir(&programs).into_iter().flatten().flatten() {
        take_away(&entry.path()).unwrap_or_else(|error| stays(&entry.path(), error));
    }
    super::removing::remove(&etc).unwrap_or_else(|error| stays(&etc, error));
    // Directories are removed when they are empty, never with what is in them: it might be somebody's toolchain.
    for entry in std::fs::read_dir(reach).into_iter().flatten().flatten() {
        let _kept = std::fs::remove_dir(entry.path().join("inside"));
        let _kept = std::fs::remove_dir(entry.path());
    }
    if let Ok(mut left) = std::fs::read_dir(reach)
        && left.all(|entry| entry.is_ok_and(|entry| entry.file_name() == super::claims::CLAIM))
    {
        let _kept = std::fs::remove_file(reach.join(super::claims::CLAIM));
        let _kept = std::fs::remove_dir(reach);
    }
}

fn take_away(path: &Path) -> io::Result<()> {
    super::disk::unmount(path)?;
    if path.is_dir() { std::fs::remove_dir(path) } else { std::fs::remove_file(path) }
}
