//! What a connection string may lean on besides itself: environment variables, the home directory, who we are.

use std::fmt;
use std::path::{Path, PathBuf};

type Variables = Box<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// The world around a connection string, given from outside so that resolving one is a function of its arguments.
pub struct Surroundings {
    env: Variables,
    /// The home directory, where `.pgpass`, `.pg_service.conf` and `.postgresql/` are looked for.
    pub home: Option<PathBuf>,
    /// The name of the operating system user: libpq's default role.
    pub os_user: Option<String>,
    /// Effective user id; key files must belong to it or to root.
    pub uid: u32,
    /// Directories looked at for a server's socket when no host is given, in this order.
    pub socket_dirs: Vec<PathBuf>,
    /// Directory of the system-wide `pg_service.conf`, unless `PGSYSCONFDIR` says otherwise.
    pub sysconf_dir: PathBuf,
}

impl Surroundings {
    /// Surroundings with the given environment, and nothing else known.
    pub fn new(env: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        Self {
            env: Box::new(env),
            home: None,
            os_user: None,
            uid: 0,
            socket_dirs: vec![PathBuf::from("/var/run/postgresql"), PathBuf::from("/tmp")],
            sysconf_dir: PathBuf::from("/etc/postgresql-common"),
        }
    }

    /// Surroundings in which there is no environment variable, home directory or user: only the string counts.
    pub fn empty() -> Self {
        Self::new(|_| None)
    }

    /// The surroundings of this process.
    pub fn of_process() -> Self {
        let uid = rustix::process::geteuid().as_raw();
        let account = account(uid);
        let mut found = Self::new(|name| std::env::var(name).ok());
        found.home = std::env::var_os("HOME")
            .map(PathBuf::from)
            .filter(|home| !home.as_os_str().is_empty())
            .or_else(|| account.as_ref().map(|(_, home)| home.clone()));
        found.os_user = account.map(|(name, _)| name).or_else(|| std::env::var("USER").ok());
        found.uid = uid;
        found
    }

    /// An environment variable; an empty one counts as absent.
    pub fn var(&self, name: &str) -> Option<String> {
        (self.env)(name).filter(|value| !value.is_empty())
    }

    /// A path below the home directory.
    pub fn in_home(&self, relative: impl AsRef<Path>) -> Option<PathBuf> {
        self.home.as_ref().map(|home| home.join(relative))
    }
}

impl fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The environment may hold passwords.
        f.debug_struct("Surroundings").field("home", &self.home).field("os_user", &self.os_user).finish_non_exhaustive()
    }
}

/// Name and home directory of a user id, from the passwd file.
fn account(uid: u32) -> Option<(String, PathBuf)> {
    let passwd = std::fs::read_to_string("/etc/passwd").ok()?;
    passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        match fields.as_slice() {
            [name, _, id, _, _, home, ..] if id.parse() == Ok(uid) => Some(((*name).to_owned(), PathBuf::from(*home))),
            _ => None,
        }
    })
}
