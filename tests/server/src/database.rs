//! One database a test, and the sessions and programs that use it.

use std::process::Output;
use std::sync::{Arc, Mutex};

use postgres::{Client, Config, NoTls};

use crate::Cluster;
use crate::assertions::assert_cannot_bypass;

/// A database of one test, dropped with it.
#[derive(Debug)]
pub struct Database {
    cluster: Arc<Cluster>,
    name: String,
}

impl Database {
    /// A new database on the shared cluster, with the extension installed.
    #[expect(clippy::new_without_default, reason = "it creates a database")]
    pub fn new() -> Self {
        Cluster::shared().database()
    }

    /// A new database on the shared cluster without the extension.
    pub fn empty() -> Self {
        Cluster::shared().empty_database()
    }

    pub(crate) fn attach(cluster: Arc<Cluster>, name: String) -> Self {
        Self { cluster, name }
    }

    /// The database's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The cluster it stands in.
    pub fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    /// What the server has logged so far.
    pub fn server_log(&self) -> String {
        self.cluster.log()
    }

    /// The lines about deadlocks that PostgreSQL ended by an error in this database.
    pub fn deadlocks(&self) -> Vec<String> {
        let (log, name) = (self.server_log(), format!(" {} ", self.name));
        let ours = |line: &&str| line.contains("deadlock detected") && line.contains(&name);
        log.lines().filter(ours).map(str::to_owned).collect()
    }

    /// A session of the superuser: for fixtures and for attacks of the operator, never to show
    /// isolation, because no policy binds it.
    pub fn superuser(&self) -> Client {
        self.config("postgres")
            .connect(NoTls)
            .expect("the superuser can connect")
    }

    /// The server's major version.
    pub fn version(&self) -> i32 {
        let number = "SELECT current_setting('server_version_num')::int / 10000";
        self.superuser()
            .query_one(number, &[])
            .expect("every server knows its version")
            .get(0)
    }

    /// Whether the right to set a setting can be granted.
    pub fn grants_settings(&self) -> bool {
        self.version() >= 15
    }

    /// Whether there is MERGE.
    pub fn has_merge(&self) -> bool {
        self.version() >= 15
    }

    /// Whether `ON DELETE SET ...` can be of some columns of a key.
    pub fn sets_some_columns(&self) -> bool {
        self.version() >= 15
    }

    /// What makes a view run as its reader, or nothing where every view runs as its owner.
    pub fn invoker(&self) -> &'static str {
        if self.version() >= 15 {
            "WITH (security_invoker)"
        } else {
            ""
        }
    }

    /// Accepts that the server may be of before a fix of PostgreSQL, for a test that asks a gate about everything.
    pub fn accept_its_age(&self) {
        let accept = "SELECT tenant_guard.accept_finding(code, object, 'as old as its package')
            FROM (SELECT DISTINCT code, object FROM tenant_guard.check() WHERE code LIKE '58-%') AS f";
        let accepted = self.superuser().batch_execute(accept);
        accepted.expect("the superuser may accept");
    }

    /// The setting that sends statements to parallel workers although they are cheap.
    pub fn parallel_setting(&self) -> &'static str {
        if self.version() < 16 {
            "force_parallel_mode"
        } else {
            "debug_parallel_query"
        }
    }

    /// A number of rows as `EXPLAIN ANALYZE` prints it.
    pub fn explained_rows(&self, rows: u32) -> String {
        if self.version() < 18 {
            format!("{rows}")
        } else {
            format!("{rows}.00")
        }
    }

    /// Whether the server was built with ICU's collations. A test that needs them has nothing to
    /// show without.
    pub fn has_icu(&self) -> bool {
        self.is_true(
            "SELECT EXISTS (SELECT FROM pg_collation WHERE collprovider = 'i'
             AND collname <> 'unicode')",
        )
    }

    /// Whether the server was built with support for XML.
    pub fn has_xml(&self) -> bool {
        self.is_true("SELECT setting ~ 'with-libxml' FROM pg_config WHERE name = 'CONFIGURE'")
    }

    fn is_true(&self, question: &str) -> bool {
        let answer = self.superuser().query_one(question, &[]);
        answer.expect("the superuser may ask").get(0)
    }

    /// Creates an ordinary login role and returns its name, which is unique in the cluster.
    pub fn role(&self, label: &str) -> String {
        let role = format!("{}_{label}", self.name);
        self.superuser()
            .batch_execute(&format!(
                "CREATE ROLE {role} LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEROLE"
            ))
            .expect("the role is new");
        role
    }

    /// A session of a role that no attribute or membership lets past row security.
    ///
    /// # Panics
    ///
    /// When the role cannot connect or could bypass row security.
    pub fn connect_as(&self, role: &str) -> Client {
        self.connect_with_options(role, "")
    }

    /// The same with start-up options, such as `-c search_path=app`.
    pub fn connect_with_options(&self, role: &str, options: &str) -> Client {
        let mut client = self
            .config(role)
            .options(options)
            .connect(NoTls)
            .expect("the role can connect");
        assert_cannot_bypass(&mut client);
        client
    }

    /// The same with what the server says beside results.
    pub fn connect_with_notices(&self, role: &str) -> (Client, Notices) {
        let notices = Notices::default();
        let sink = notices.clone();
        let client = self
            .config(role)
            .notice_callback(move |notice| {
                let line = format!("{}: {}", notice.code().code(), notice.message());
                sink.0
                    .lock()
                    .expect("no holder of this lock panics")
                    .push(line);
            })
            .connect(NoTls)
            .expect("the role can connect");
        (client, notices)
    }

    /// How to reach this database as `role`, for what the functions above do not offer.
    pub fn config(&self, role: &str) -> Config {
        self.cluster.config(&self.name, role)
    }

    /// What `pg_dump` with these arguments prints, run by the superuser.
    pub fn pg_dump(&self, arguments: &[&str]) -> Vec<u8> {
        let output = self
            .cluster
            .program("pg_dump")
            .args(arguments)
            .arg(&self.name)
            .output();
        succeeded("pg_dump", output.expect("pg_dump is there")).stdout
    }

    /// Restores a plain dump through `psql --single-transaction`, stopping at the first error.
    pub fn restore(&self, dump: &[u8]) {
        let output = self.psql(&["--single-transaction", "-v", "ON_ERROR_STOP=1"], dump);
        succeeded("psql", output);
    }

    /// Restores an archive (`pg_dump --format=custom`) through `pg_restore`.
    pub fn pg_restore(&self, arguments: &[&str], archive: &[u8]) {
        let mut command = self.cluster.program("pg_restore");
        command
            .args(["--exit-on-error", "--dbname", &self.name])
            .args(arguments);
        succeeded("pg_restore", feed(command, archive));
    }

    /// Runs a script in `psql` as the superuser.
    pub fn psql(&self, arguments: &[&str], script: &[u8]) -> Output {
        let mut command = self.cluster.program("psql");
        command
            .args(["-X", "-q", "--dbname", &self.name])
            .args(arguments);
        feed(command, script)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // The whole cluster goes in the end, if it is not stopped already; this only bounds the disk
        // space of a long run.
        if std::thread::panicking() {
            return;
        }
        if let Ok(mut client) = self.cluster.config("postgres", "postgres").connect(NoTls) {
            let drop = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
            let _ = client.batch_execute(&drop);
        }
    }
}

/// What a server said beside results, each as `SQLSTATE: message`.
#[derive(Clone, Debug, Default)]
pub struct Notices(Arc<Mutex<Vec<String>>>);

impl Notices {
    /// The notices since the last call.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().expect("no holder of this lock panics"))
    }
}

/// Runs a program with `input` on its standard input.
///
/// # Panics
///
/// When the program is not there.
pub fn feed(mut command: std::process::Command, input: &[u8]) -> Output {
    use std::io::Write;
    use std::process::Stdio;

    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program is there");
    let mut stdin = child.stdin.take().expect("standard input is piped");
    std::thread::scope(|scope| {
        // A program that stops reading early says why on standard error.
        scope.spawn(move || stdin.write_all(input));
        child
            .wait_with_output()
            .expect("the program can be waited for")
    })
}

fn succeeded(program: &str, output: Output) -> Output {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} failed: {errors}");
    output
}
