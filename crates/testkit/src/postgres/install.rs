//! Where PostgreSQL is, as whom it runs, and the template cluster that every server is a copy of.
//!
//! `REEVE_TEST_POSTGRES_BIN` names the directory of another server's programs, which need not include those of clients:
//! `psql` and `pgbench` work with servers of any version.
#![expect(clippy::panic, reason = "a test that cannot have its server must fail with a sentence")]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};

use super::give_to;

const MISSING: &str = "these tests need a PostgreSQL server: install the package `postgresql` (Debian, Ubuntu) or \
                       `postgresql-server` (Fedora), so that initdb is in /usr/lib/postgresql/*/bin or in PATH";

/// The directory of the programs of the server to test with, instead of the newest that is installed.
const CHOSEN: &str = "REEVE_TEST_POSTGRES_BIN";

/// An installation of PostgreSQL.
#[derive(Debug, Clone)]
pub(super) struct Install {
    bin: PathBuf,
    /// The libraries that came with a server of no package.
    libraries: Option<PathBuf>,
    version: String,
    /// The account that the server runs as when the tests run as root, which PostgreSQL refuses.
    pub(super) owner: Option<(u32, u32)>,
}

impl Install {
    pub(super) fn find() -> Self {
        static FOUND: OnceLock<Install> = OnceLock::new();
        FOUND.get_or_init(Self::look).clone()
    }

    fn look() -> Self {
        let chosen = std::env::var_os(CHOSEN).filter(|bin| !bin.is_empty()).map(PathBuf::from);
        if let Some(bin) = &chosen
            && !bin.join("initdb").exists()
        {
            panic!("{CHOSEN} says `{}`, where there is no initdb; see scripts/postgres-versions", bin.display());
        }
        let libraries = chosen.as_ref().map(|bin| bin.join("../lib"));
        let Some(bin) = chosen.or_else(|| installed("initdb")) else { panic!("{MISSING}") };
        let version = match Command::new(bin.join("postgres")).arg("--version").output() {
            Ok(output) => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
            Err(error) => panic!("{MISSING} ({error})"),
        };
        let owner = rustix::process::geteuid().is_root().then(unprivileged_account);
        Self { bin, libraries, version, owner }
    }

    /// The major version, such as 15.
    pub(super) fn major(&self) -> u32 {
        let digits = self.version.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit);
        digits.collect::<String>().parse().unwrap_or_else(|_| panic!("what version is `{}`?", self.version))
    }

    /// A program for clients, such as `psql`: the installation's own, or that of another one.
    pub(super) fn client(&self, program: &str) -> PathBuf {
        match self.bin.join(program) {
            own if own.exists() => own,
            _ => installed(program).unwrap_or_else(|| panic!("there is no `{program}`; {MISSING}")).join(program),
        }
    }

    /// A program of the installation, run as the server's account and dying with this process.
    pub(super) fn command(&self, program: &str) -> Command {
        let path = self.bin.join(program);
        let mut command = if Path::new("/usr/bin/setpriv").exists() {
            let mut setpriv = Command::new("/usr/bin/setpriv");
            setpriv.args(["--pdeathsig", "KILL"]);
            if let Some((uid, gid)) = self.owner {
                setpriv.arg(format!("--reuid={uid}")).arg(format!("--regid={gid}")).arg("--clear-groups");
            }
            setpriv.arg("--").arg(path);
            setpriv
        } else if self.owner.is_some() {
            panic!("tests that run as root need `setpriv` (package util-linux) to start PostgreSQL as another user")
        } else {
            Command::new(path)
        };
        command.current_dir("/").env("LC_ALL", "C");
        if let Some(libraries) = &self.libraries {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        for name in ["PGDATA", "PGPORT", "PGHOST", "PGUSER", "PGDATABASE", "PGOPTIONS", "PGPASSWORD"] {
            command.env_remove(name);
        }
        command
    }

    /// Copies the template cluster, made by `initdb` once per installation and account.
    pub(super) fn copy_template(&self, to: &Path) {
        let mut copy = Command::new("cp");
        copy.args(["-a", "--reflink=auto"]).arg(self.template()).arg(to);
        run(copy, "cp");
    }

    fn template(&self) -> PathBuf {
        static MAKING: Mutex<()> = Mutex::new(());
        let _one_at_a_time = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
        let uid = self.owner.map_or_else(|| rustix::process::geteuid().as_raw(), |(uid, _)| uid);
        let version: String = self.version.chars().filter(char::is_ascii_alphanumeric).collect();
        let path = PathBuf::from(format!("/tmp/reeve-pg-template-{uid}-{version}"));
        if fs::symlink_metadata(&path).is_ok_and(|about| about.is_dir() && about.uid() == uid) {
            return path;
        }
        let fresh = super::process::own_directory(self).join("template");
        let mut initdb = self.command("initdb");
        initdb.arg("-D").arg(&fresh).args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]);
        run(initdb, "initdb");
        let parent = fresh.parent().map(Path::to_path_buf);
        // Whoever is first wins; the others find it there.
        if fs::rename(&fresh, &path).is_err() && !path.is_dir() {
            return fresh;
        }
        if let Some(parent) = parent {
            let _ = fs::remove_dir_all(parent);
        }
        path
    }

    pub(super) fn write_as_server(&self, path: &Path, content: &[u8]) {
        if let Err(error) = fs::write(path, content) {
            panic!("`{}` cannot be written: {error}", path.display());
        }
        give_to(path, self.owner, 0o600);
    }
}

/// Where a program of PostgreSQL is installed: the newest version that has it, or somewhere in `PATH`.
fn installed(program: &str) -> Option<PathBuf> {
    let versioned = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().filter_map(|entry| {
        let version: u32 = entry.file_name().to_str()?.parse().ok()?;
        Some((version, entry.path().join("bin")))
    });
    let newest = versioned.filter(|(_, bin)| bin.join(program).exists()).max().map(|(_, bin)| bin);
    newest.or_else(|| {
        std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).find(|dir| dir.join(program).exists())
    })
}

/// Runs a program to its end, or fails with what it said.
pub(super) fn run(mut command: Command, name: &str) {
    match command.output() {
        Ok(done) if done.status.success() => {}
        Ok(done) => panic!("{name} failed: {}", String::from_utf8_lossy(&done.stderr)),
        Err(error) => panic!("{name} cannot be run: {error}"),
    }
}

/// `postgres` if there is such an account, else `nobody`.
fn unprivileged_account() -> (u32, u32) {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let find = |wanted: &str| {
        passwd.lines().find_map(|line| {
            let mut fields = line.split(':');
            (fields.next() == Some(wanted)).then_some(())?;
            let (uid, gid) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
            Some((uid, gid))
        })
    };
    find("postgres").or_else(|| find("nobody")).unwrap_or((65534, 65534))
}
