//! Throwaway clusters, made and removed by `tools/cluster.sh`.

use std::fs::DirBuilder;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};

use postgres::{Client, Config, NoTls};

use crate::Database;

/// The database with the extension installed that the tests' databases are copied from.
const TEMPLATE: &str = "tenant_guard_template";

/// What every cluster of tests is set to; a test may set it again, for its database or its cluster.
const SETTINGS: [&str; 3] = [
    "fsync=off",
    // Compiling a statement takes longer than running it on tables as small as these.
    "jit=off",
    // Tests seal when they say so.
    "tenant_guard.seal_interval=0",
];

/// One PostgreSQL server on a private data directory and a private socket. It lives as long as
/// this value, and no longer than the test process, however that ends.
#[derive(Debug)]
pub struct Cluster {
    name: String,
    directory: PathBuf,
    port: u16,
    holder: Child,
    /// The server goes when this end of the pipe closes: at drop, or when the process is gone.
    lifeline: Option<ChildStdin>,
    template: OnceLock<()>,
    databases: AtomicU32,
}

impl Cluster {
    /// Starts a cluster of the test's own, with the given `setting=value` lines added.
    ///
    /// # Panics
    ///
    /// When the server does not start, most often because `tools/build.sh` has not run.
    pub fn start(settings: &[&str]) -> Arc<Self> {
        Self::hold("hold", &[], settings)
    }

    /// Starts a cluster on a base backup, as a `standby`, a `recovery` to a point in time, or with
    /// the signal `none` as what it was.
    pub fn of_backup(backup: &Path, signal: &str, settings: &[&str]) -> Arc<Self> {
        let backup = backup.to_str().expect("our own paths are UTF-8");
        Self::hold("hold_backup", &[backup, signal], settings)
    }

    /// Starts what `pg_upgrade` makes of a cluster, which is stopped for good.
    pub fn upgrade_of(old: &Self) -> Arc<Self> {
        Self::hold("hold_upgrade", &[&old.name], &[])
    }

    /// The same with the programs of another major version, or nothing where this checkout has not built the
    /// extension for it.
    pub fn upgrade_to(version: &str, old: &Self) -> Option<Arc<Self>> {
        let mut script = Self::script(Some(version));
        let status = script.arg("bindir").stderr(Stdio::null()).output();
        if !status.is_ok_and(|output| output.status.success()) {
            return None;
        }
        let script = Self::script(Some(version));
        Some(Self::hold_by(script, "hold_upgrade", &[&old.name], &[]))
    }

    /// `tools/cluster.sh`, of a version other than that of this run.
    fn script(version: Option<&str>) -> Command {
        let mut command = Command::new(tool("cluster.sh"));
        if let Some(version) = version {
            command.env("PG", version).env_remove("PG_CONFIG");
        }
        command
    }

    fn hold(command: &str, source: &[&str], settings: &[&str]) -> Arc<Self> {
        Self::hold_by(Self::script(None), command, source, settings)
    }

    fn hold_by(
        mut script: Command,
        command: &str,
        source: &[&str],
        settings: &[&str],
    ) -> Arc<Self> {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let name = format!("test_{}_{number}", std::process::id());
        let mut ports = settings
            .iter()
            .filter_map(|line| line.strip_prefix("port="));
        let port = ports.next_back().map(|port| port.parse().expect("a port"));
        let mut holder = script
            .args([command, &name])
            .args(source)
            .args(SETTINGS)
            .args(settings)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("tools/cluster.sh is executable");
        let lifeline = holder.stdin.take();
        let mut directory = String::new();
        let stdout = holder.stdout.take().expect("standard output is piped");
        BufReader::new(stdout)
            .read_line(&mut directory)
            .expect("tools/cluster.sh prints text");
        assert!(
            !directory.is_empty(),
            "the cluster does not start; tools/cluster.sh says why"
        );
        let directory = PathBuf::from(directory.trim_end());
        assert_lets_no_host_in(&directory);
        Arc::new(Self {
            name,
            directory,
            port: port.unwrap_or(5432),
            holder,
            lifeline,
            template: OnceLock::new(),
            databases: AtomicU32::new(0),
        })
    }

    /// The cluster that all tests of this process share, started by the first that asks.
    pub fn shared() -> Arc<Self> {
        static SHARED: LazyLock<Arc<Cluster>> = LazyLock::new(|| Cluster::start(&[]));
        Arc::clone(&SHARED)
    }

    /// A new database with the extension installed.
    pub fn database(self: &Arc<Self>) -> Database {
        self.template.get_or_init(|| self.make_template());
        self.create_database(&format!("TEMPLATE {TEMPLATE}"))
    }

    /// A new database without the extension, as a dump is restored into.
    pub fn empty_database(self: &Arc<Self>) -> Database {
        self.create_database("TEMPLATE template0")
    }

    /// A copy made by `CREATE DATABASE ... TEMPLATE` of a database nobody is connected to.
    pub fn copy_of(self: &Arc<Self>, original: &Database) -> Database {
        self.create_database(&format!("TEMPLATE {}", original.name()))
    }

    /// Stops the server; its data stays, for [`Self::restart`].
    pub fn stop(&self) {
        let status = Command::new(tool("cluster.sh"))
            .args(["stop", &self.name])
            .status();
        assert!(
            status.expect("tools/cluster.sh is executable").success(),
            "stop failed"
        );
    }

    /// Stops the server and starts it again on the same data.
    pub fn restart(&self) {
        self.restart_with(&[]);
    }

    /// The same, with settings (`name=value`) on its command line.
    pub fn restart_with(&self, settings: &[&str]) {
        let status = Command::new(tool("cluster.sh"))
            .args(["restart", &self.name])
            .args(settings)
            .status();
        assert!(
            status.expect("tools/cluster.sh is executable").success(),
            "restart failed"
        );
    }

    /// Kills the server's first process, which leaves the others no time to say anything.
    pub fn kill(&self) {
        let file = self.directory.join("data/postmaster.pid");
        let text = std::fs::read_to_string(file).expect("the server runs");
        let pid = text.lines().next().expect("its process stands first");
        let status = Command::new("kill").args(["-9", pid]).status();
        assert!(status.expect("kill is there").success());
    }

    /// Starts a server that was killed again. The processes it left end by themselves, and the new
    /// one must wait for them.
    pub fn restart_after_kill(&self) {
        for _ in 0..100 {
            let status = Command::new(tool("cluster.sh"))
                .args(["restart", &self.name])
                .stderr(Stdio::null())
                .status();
            if status.expect("tools/cluster.sh is executable").success() {
                return;
            }
        }
        panic!("the server does not start again");
    }

    /// A base backup of the running server; where it stands.
    pub fn backup(&self, label: &str) -> PathBuf {
        let output = Command::new(tool("cluster.sh"))
            .args(["backup", &self.name, label])
            .output()
            .expect("tools/cluster.sh is executable");
        assert!(output.status.success(), "there is no backup");
        PathBuf::from(String::from_utf8_lossy(&output.stdout).trim_end())
    }

    /// A database that a backup or an upgrade brought along.
    pub fn attach(self: &Arc<Self>, name: &str) -> Database {
        Database::attach(Arc::clone(self), name.to_owned())
    }

    /// Adds lines to the server's configuration file, for the next restart or reload.
    pub fn configure(&self, lines: &str) {
        let path = self.directory.join("data/postgresql.conf");
        let file = std::fs::OpenOptions::new().append(true).open(path);
        file.and_then(|mut file| file.write_all(lines.as_bytes()))
            .expect("the server has a configuration");
    }

    /// Starts PgBouncer before this server, with these settings of its `[pgbouncer]` section, for
    /// these roles. Returns the directory of its socket; the port is 6432.
    ///
    /// # Panics
    ///
    /// When it does not start, most often because `tools/setup.sh test` has not run.
    pub fn pool(&self, roles: &[&str], settings: &str) -> PathBuf {
        let mut command = Command::new(tool("cluster.sh"))
            .args(["pool", &self.name])
            .args(roles)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("tools/cluster.sh is executable");
        let mut input = command.stdin.take().expect("standard input is piped");
        // A script that failed before it read has said so on standard error.
        let _ = input.write_all(settings.as_bytes());
        drop(input);
        let output = command.wait_with_output().expect("the script is our child");
        assert!(output.status.success(), "the pooler does not start");
        PathBuf::from(String::from_utf8_lossy(&output.stdout).trim_end())
    }

    /// Mounts a disk of this size for what may fill it, which goes with the cluster; where it stands. None
    /// where this machine lets nobody mount and `TENANT_GUARD_NO_MOUNT=1` says that this is known.
    ///
    /// # Panics
    ///
    /// When nothing can be mounted and the variable is not set: a test that did nothing would pass.
    pub fn mount_disk(&self, megabytes: u32) -> Option<PathBuf> {
        if std::env::var_os("TENANT_GUARD_NO_MOUNT").is_some_and(|value| value == "1") {
            return None;
        }
        let output = Command::new(tool("cluster.sh"))
            .args(["disk", &self.name, &megabytes.to_string()])
            .output()
            .expect("tools/cluster.sh is executable");
        assert!(
            output.status.success(),
            "no disk can be mounted, so this test shows nothing; TENANT_GUARD_NO_MOUNT=1 does without it: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Some(PathBuf::from(
            String::from_utf8_lossy(&output.stdout).trim_end(),
        ))
    }

    /// Everything the server has logged so far.
    pub fn log(&self) -> String {
        let bytes = std::fs::read(self.directory.join("log")).expect("the server has a log");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The directory of the server's socket, its log and, under `data`, its data.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// A new directory that nobody else can have made, planted or read; it goes with the cluster.
    pub fn private_directory(&self) -> PathBuf {
        let random: [u8; 16] = crate::issuer::random();
        let name = format!("private_{:032x}", u128::from_ne_bytes(random));
        let path = self.directory.join(name);
        let made = DirBuilder::new().mode(0o700).create(&path);
        made.expect("the cluster's directory is ours and the name is new");
        path
    }

    /// How to reach `database` as `role`.
    pub fn config(&self, database: &str, role: &str) -> Config {
        let mut config = Config::new();
        config
            .host_path(&self.directory)
            .port(self.port)
            .dbname(database)
            .user(role);
        config
    }

    /// One of PostgreSQL's programs (`pg_dump`, `psql`, ...), connecting here as the superuser.
    pub fn program(&self, program: &str) -> Command {
        static BIN: LazyLock<PathBuf> = LazyLock::new(|| {
            let output = Command::new(tool("cluster.sh")).arg("bindir").output();
            let text = output.expect("tools/cluster.sh is executable").stdout;
            PathBuf::from(String::from_utf8_lossy(&text).trim_end())
        });
        let mut command = Command::new(BIN.join(program));
        command
            .env("PGHOST", &self.directory)
            .env("PGPORT", self.port.to_string())
            .env("PGUSER", "postgres");
        command
    }

    /// A session of the superuser in the maintenance database.
    pub(crate) fn maintenance(&self) -> Client {
        self.config("postgres", "postgres")
            .connect(NoTls)
            .expect("the cluster accepts sessions")
    }

    fn create_database(self: &Arc<Self>, options: &str) -> Database {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.maintenance()
            .batch_execute(&format!("CREATE DATABASE {name} {options}"))
            .expect("a database can be created");
        Database::attach(Arc::clone(self), name)
    }

    fn make_template(&self) {
        self.maintenance()
            .batch_execute(&format!("CREATE DATABASE {TEMPLATE}"))
            .expect("a database can be created");
        let mut client = self
            .config(TEMPLATE, "postgres")
            .connect(NoTls)
            .expect("the database was just made");
        client
            .batch_execute("CREATE EXTENSION tenant_guard")
            .expect("the extension installs");
        // As it is in databases made since PostgreSQL 15.
        client
            .batch_execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
            .expect("the superuser owns the schema");
        if let Ok(file) = std::env::var("TENANT_GUARD_SABOTAGE_SQL") {
            let script = std::fs::read_to_string(&file).expect("the sabotage script is readable");
            client
                .batch_execute(&script)
                .expect("the sabotage script runs");
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.lifeline.take());
        // A holder that fails has said so on standard error; a drop must not panic over it.
        let _ = self.holder.wait();
    }
}

/// A server that a test has listen is a superuser's for everybody whom its pg_hba.conf lets in.
fn assert_lets_no_host_in(directory: &Path) {
    let text = std::fs::read_to_string(directory.join("data/pg_hba.conf"));
    let text = text.expect("every server has a pg_hba.conf");
    for line in text.lines() {
        let words: Vec<_> = line.split_ascii_whitespace().collect();
        assert!(
            matches!(words[..], ["local", ..] | ["host", .., "reject"]),
            "pg_hba.conf lets somebody in: {line}"
        );
    }
}

/// A script of the repository's `tools` directory.
fn tool(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tools")
        .join(name)
}
