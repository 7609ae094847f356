//! A throw-away PostgreSQL: a cluster in a temporary directory, on a Unix socket and a free port of 127.0.0.1.
//!
//! The role `postgres` is a superuser and needs no password; every other role logs in with its password (SCRAM).
//! Durability is off. Dropping the server stops it and removes its directory; when a test is killed, the kernel kills
//! the server with it, and the next start sweeps up what it left behind. Without PostgreSQL a test fails and says what
//! to install: a skipped test proves nothing. Tests run against the newest PostgreSQL that is installed, or against the
//! one whose programs are in the directory that `REEVE_TEST_POSTGRES_BIN` names (see `scripts/postgres-versions`).
#![expect(clippy::panic, reason = "a test that cannot have its server must fail with a sentence")]

mod install;
mod process;

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use install::Install;
pub use process::Frozen;
use process::Postmaster;

/// How a server is stopped, by the names of `pg_ctl`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopMode {
    /// Waits for sessions to end by themselves.
    Smart,
    /// Ends sessions and shuts down cleanly.
    Fast,
    /// As after a crash: the next start recovers.
    Immediate,
}

/// What a server will be like.
#[derive(Debug, Clone, Default)]
pub struct Builder {
    settings: Vec<(String, String)>,
    hba: Vec<String>,
    files: Vec<(String, Vec<u8>)>,
}

impl Builder {
    /// Sets a line of `postgresql.conf`; a later one wins. The value is quoted for you.
    pub fn setting(mut self, name: &str, value: impl ToString) -> Self {
        self.settings.push((name.to_owned(), value.to_string()));
        self
    }

    /// Puts a line in front of the others of `pg_hba.conf`; several keep their order.
    pub fn hba(mut self, line: &str) -> Self {
        self.hba.push(line.to_owned());
        self
    }

    /// Puts a file into the data directory with mode 0600, such as a certificate.
    pub fn file(mut self, name: &str, content: impl Into<Vec<u8>>) -> Self {
        self.files.push((name.to_owned(), content.into()));
        self
    }

    /// Starts the server and waits until it accepts connections.
    pub fn start(self) -> PostgresServer {
        let install = Install::find();
        let root = process::own_directory(&install);
        install.copy_template(&root.join("data"));
        let mut server = PostgresServer { install, root, postmaster: None, port: 0, config: self, standby: false };
        server.launch();
        server
    }
}

/// A running (or stopped) server.
#[derive(Debug)]
pub struct PostgresServer {
    install: Install,
    /// Holds the data directory, the socket and the log.
    root: PathBuf,
    postmaster: Option<Postmaster>,
    port: u16,
    config: Builder,
    standby: bool,
}

impl PostgresServer {
    /// A server with nothing special about it.
    pub fn start() -> Self {
        Builder::default().start()
    }

    /// A server to be described.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The directory of the Unix socket.
    pub fn socket_dir(&self) -> &Path {
        &self.root
    }

    /// The data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.root.join("data")
    }

    /// Where a program for clients is, such as `pgbench`.
    pub fn client_program(&self, name: &str) -> PathBuf {
        self.install.client(name)
    }

    /// The major version of the server: 15 for 15.18.
    pub fn major_version(&self) -> u32 {
        self.install.major()
    }

    /// The process id of the postmaster, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.postmaster.as_ref().map(Postmaster::pid)
    }

    /// A connection string over TCP.
    pub fn dsn(&self, user: &str, dbname: &str) -> String {
        format!("host=127.0.0.1 port={} user={user} dbname={dbname}", self.port)
    }

    /// A connection string over the Unix socket.
    pub fn socket_dsn(&self, user: &str, dbname: &str) -> String {
        format!("host={} port={} user={user} dbname={dbname}", self.root.display(), self.port)
    }

    /// The connection string of the superuser over TCP.
    pub fn superuser_dsn(&self) -> String {
        self.dsn("postgres", "postgres")
    }

    /// Runs SQL as superuser in database `postgres` and gives what `psql -At` prints. Panics with the server's words.
    pub fn psql(&self, sql: &str) -> String {
        self.psql_in("postgres", sql)
    }

    /// The same in another database.
    pub fn psql_in(&self, dbname: &str, sql: &str) -> String {
        self.psql_session(dbname, &[sql])
    }

    /// Runs commands one after the other in one session; a command is SQL, or a backslash command of `psql`.
    fn psql_session(&self, dbname: &str, commands: &[&str]) -> String {
        let dsn = self.socket_dsn("postgres", dbname);
        let mut psql = std::process::Command::new(self.install.client("psql"));
        psql.args(["-X", "-A", "-t", "-q", "-w", "-v", "ON_ERROR_STOP=1", "-d", &dsn]).env_remove("PGOPTIONS");
        for command in commands {
            psql.args(["-c", command]);
        }
        match psql.output() {
            Ok(done) if done.status.success() => String::from_utf8_lossy(&done.stdout).trim_end().to_owned(),
            Ok(done) => panic!("psql failed on `{}`: {}", commands.join("; "), String::from_utf8_lossy(&done.stderr)),
            Err(error) => panic!("psql cannot be run: {error}"),
        }
    }

    /// Everything that the server has logged so far.
    pub fn log(&self) -> String {
        fs::read(self.log_file()).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// The file that the server logs to.
    pub fn log_file(&self) -> PathBuf {
        self.root.join("log")
    }

    /// Puts a file into the data directory with mode 0600, owned by the server's user.
    pub fn put_file(&self, name: &str, content: &[u8]) {
        self.install.write_as_server(&self.data_dir().join(name), content);
    }

    /// Stops the server and waits until it has ended.
    pub fn stop(&mut self, mode: StopMode) {
        if let Some(postmaster) = self.postmaster.take() {
            postmaster.stop(mode);
        }
    }

    /// Starts a stopped server on the same port.
    pub fn start_again(&mut self) {
        if self.postmaster.is_none() {
            self.launch();
        }
    }

    /// Stops (fast) and starts on the same port.
    pub fn restart(&mut self) {
        self.stop(StopMode::Fast);
        self.launch();
    }

    /// Tells the server to shut down and does not wait: it is "shutting down" while sessions are still open.
    pub fn begin_stop(&self, mode: StopMode) {
        if let Some(postmaster) = &self.postmaster {
            postmaster.signal_stop(mode);
        }
    }

    /// Makes the server read its configuration files again.
    pub fn reload(&self) {
        self.psql("SELECT pg_reload_conf()");
    }

    /// Freezes one session's process, as storage that does not return would.
    pub fn freeze_session(&self, pid: i32) -> Frozen {
        Frozen::new(pid)
    }

    /// Freezes the postmaster: it accepts connections (the kernel does) and never answers.
    pub fn freeze(&self) {
        if let Some(postmaster) = &self.postmaster {
            postmaster.signal(rustix::process::Signal::STOP);
        }
    }

    /// Ends [`PostgresServer::freeze`].
    pub fn thaw(&self) {
        if let Some(postmaster) = &self.postmaster {
            postmaster.signal(rustix::process::Signal::CONT);
        }
    }

    /// A streaming replica of this server, with the same settings unless told otherwise.
    pub fn standby(&self) -> Self {
        self.standby_with(self.config.clone())
    }

    /// A streaming replica with settings of its own.
    pub fn standby_with(&self, config: Builder) -> Self {
        let install = self.install.clone();
        let root = process::own_directory(&install);
        let data = root.join("data");
        self.back_up_into(&data);
        let mut standby = Self { install, root, postmaster: None, port: 0, config, standby: true };
        standby.launch();
        standby
    }

    /// A copy of the running server that can become its standby. `pg_basebackup` would do it, but only for servers
    /// that are not newer than itself, and the servers of some packages come without it.
    fn back_up_into(&self, data: &Path) {
        let (begin, end) = match self.install.major() {
            ..15 => ("pg_start_backup('standby', true, false)", "pg_stop_backup(false, false)"),
            15.. => ("pg_backup_start('standby', true)", "pg_backup_stop(false)"),
        };
        // A server at work removes files under the hands of whoever copies them; replay knows what to make of it.
        let copy = format!("\\! cp -a {} {} 2>/dev/null", self.data_dir().display(), data.display());
        // All that was written until the copy was complete must be replayed before it is consistent.
        let copy_wal =
            format!("\\! cp -a {}/pg_wal/. {}/pg_wal/ 2>/dev/null", self.data_dir().display(), data.display());
        let label = self.psql_session(
            "postgres",
            &[&format!("SELECT left({begin}::text, 0)"), &copy, &format!("SELECT labelfile FROM {end}"), &copy_wal],
        );
        self.install.write_as_server(&data.join("backup_label"), format!("{}\n", label.trim()).as_bytes());
        for stale in ["postmaster.pid", "postmaster.opts"] {
            let _ = fs::remove_file(data.join(stale));
        }
        for slot in fs::read_dir(data.join("pg_replslot")).into_iter().flatten().flatten() {
            let _ = fs::remove_dir_all(slot.path());
        }
        let conninfo = self.socket_dsn("postgres", "postgres").replace(" dbname=postgres", "");
        let auto = fs::read_to_string(data.join("postgresql.auto.conf")).unwrap_or_default();
        self.install.write_as_server(
            &data.join("postgresql.auto.conf"),
            format!("{auto}primary_conninfo = '{conninfo}'\n").as_bytes(),
        );
    }

    /// Waits until a standby has replayed all that this server has written.
    pub fn wait_for(&self, standby: &Self) {
        // Where the next record goes: with asynchronous commits the newest ones may not have been written out yet.
        let written = self.psql("SELECT pg_current_wal_insert_lsn()");
        process::wait_until(Duration::from_secs(30), "the standby to catch up", || {
            standby.psql(&format!("SELECT pg_last_wal_replay_lsn() >= '{written}'::pg_lsn")) == "t"
        });
    }

    fn launch(&mut self) {
        // Another test may take the port between choosing it and binding it.
        for _ in 0..8 {
            let port = if self.port == 0 { process::free_port() } else { self.port };
            self.configure(port);
            match Postmaster::start(&self.install, &self.root) {
                Ok(postmaster) => {
                    self.postmaster = Some(postmaster);
                    self.port = port;
                    return;
                }
                Err(log) if self.port == 0 && log.contains("could not bind") => continue,
                Err(log) => panic!("PostgreSQL did not start; its log says:\n{log}"),
            }
        }
        panic!("no free port was found for PostgreSQL");
    }

    fn configure(&self, port: u16) {
        let mut settings = vec![
            ("listen_addresses", "127.0.0.1".to_owned()),
            ("port", port.to_string()),
            ("unix_socket_directories", self.root.display().to_string()),
            ("fsync", "off".to_owned()),
            ("synchronous_commit", "off".to_owned()),
            ("full_page_writes", "off".to_owned()),
            ("shared_buffers", "16MB".to_owned()),
            ("max_connections", "30".to_owned()),
            ("max_wal_senders", "4".to_owned()),
            ("max_wal_size", "128MB".to_owned()),
            ("min_wal_size", "32MB".to_owned()),
            ("password_encryption", "scram-sha-256".to_owned()),
            ("lc_messages", "C".to_owned()),
            ("log_line_prefix", "%m [%p] %q%u@%d ".to_owned()),
            ("logging_collector", "off".to_owned()),
        ];
        settings.extend(self.config.settings.iter().map(|(name, value)| (name.as_str(), value.clone())));
        let conf: String =
            settings.iter().map(|(name, value)| format!("{name} = '{}'\n", value.replace('\'', "''"))).collect();
        self.put_file("postgresql.conf", conf.as_bytes());
        let mut hba: String = self.config.hba.iter().map(|line| format!("{line}\n")).collect();
        hba.push_str(
            "local all,replication postgres trust\n\
             host all,replication postgres 127.0.0.1/32 trust\n\
             local all all scram-sha-256\n\
             host all,replication all 127.0.0.1/32 scram-sha-256\n",
        );
        self.put_file("pg_hba.conf", hba.as_bytes());
        for (name, content) in &self.config.files {
            self.put_file(name, content);
        }
        let signal = self.data_dir().join("standby.signal");
        if self.standby && !signal.exists() {
            self.put_file("standby.signal", b"");
        }
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        self.stop(StopMode::Immediate);
        let _ = fs::remove_dir_all(&self.root);
    }
}

/// Makes a file or directory the server's own.
fn give_to(path: &Path, owner: Option<(u32, u32)>, mode: u32) {
    let done = fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .and_then(|()| owner.map_or(Ok(()), |(uid, gid)| chown(path, Some(uid), Some(gid))));
    if let Err(error) = done {
        panic!("`{}` cannot be given to the server's user: {error}", path.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_answers_restarts_and_leaves_nothing() {
        let mut server = PostgresServer::builder().setting("work_mem", "7MB").start();
        assert_eq!(server.psql("SHOW work_mem"), "7MB");
        let (port, root) = (server.port(), server.root.clone());
        server.restart();
        assert_eq!(server.port(), port);
        assert_eq!(server.psql("SELECT 1"), "1");
        assert!(server.log().contains("database system is ready to accept connections"));
        let pid = server.pid().expect("it runs");
        drop(server);
        assert!(!root.exists());
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }

    #[test]
    fn a_standby_follows_its_primary() {
        let primary = PostgresServer::start();
        let standby = primary.standby();
        primary.psql("CREATE TABLE t AS SELECT 42 AS x");
        primary.wait_for(&standby);
        assert_eq!(standby.psql("SELECT x, pg_is_in_recovery() FROM t"), "42|t");
    }

    #[test]
    fn servers_start_side_by_side() {
        let ports: Vec<u16> = std::thread::scope(|scope| {
            let starts: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        let server = PostgresServer::start();
                        assert_eq!(server.psql("SELECT 1"), "1");
                        server.port()
                    })
                })
                .collect();
            starts.into_iter().map(|start| start.join().expect("the server started")).collect()
        });
        assert_eq!(ports.len(), 4);
    }
}
