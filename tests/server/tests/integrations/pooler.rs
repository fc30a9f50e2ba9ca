//! Through PgBouncer in transaction mode: few server sessions, many clients of several accounts.
//! What one transaction leaves behind in a server session must never reach the next one.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use postgres::error::SqlState;
use postgres::types::Type;
use postgres::{Client, Config, Error, NoTls, Transaction};
use tenant_guard_tests::{Cluster, Database, Issuer, expect_error, lines};

use super::block;

const ACCOUNTS: usize = 8;
const CLIENTS: usize = 64;
const SERVERS: usize = 4;

#[test]
fn transactions_through_a_pooler_see_their_own_account_for_five_seconds() {
    share_servers_for(Duration::from_secs(5));
}

#[test]
#[ignore = "runs for a minute"]
fn transactions_through_a_pooler_see_their_own_account_for_a_minute() {
    share_servers_for(Duration::from_secs(60));
}

/// What one client saw and did.
#[derive(Default)]
struct Tally {
    /// How often each kind of transaction ran.
    kinds: [u32; KINDS.len()],
    /// Rows it committed.
    written: u64,
    /// The server processes it was given.
    servers: HashSet<i32>,
}

/// One client, for as long as the test runs.
struct Visitor {
    number: usize,
    issuer: Arc<Issuer>,
    account: String,
    other: String,
    tally: Tally,
}

type Kind = fn(&mut Visitor, &mut Client) -> Result<(), Error>;

const KINDS: [Kind; 7] = [
    Visitor::commits,
    Visitor::rolls_back,
    Visitor::rolls_back_to_a_savepoint,
    Visitor::signs_in_within_a_savepoint,
    Visitor::forgets_to_sign_in,
    Visitor::forgets_the_transaction,
    Visitor::tries_a_second_account,
];

fn share_servers_for(length: Duration) {
    let cluster = Cluster::start(&[]);
    let db = cluster.database();
    let app = db.role("app");
    db.superuser()
        .batch_execute(&format!(
            "CREATE TABLE note (
                 account_id text NOT NULL, id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
                 body text);
             GRANT SELECT, INSERT ON note TO {app};
             SELECT tenant_guard.protect('note')"
        ))
        .expect("the table can be protected");
    let issuer = Issuer::eddsa("https://issuer.example");
    issuer.register(&mut db.superuser());

    let issuer = Arc::new(issuer);
    let settings = format!(
        "{}\ndefault_pool_size = {SERVERS}",
        block("PgBouncer", "ini")
    );
    let config = pooled(&db, &app, &cluster.pool(&[&app], &settings));
    let deadline = Instant::now() + length;
    let visitors: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let (config, issuer) = (config.clone(), Arc::clone(&issuer));
            std::thread::spawn(move || Visitor::new(issuer, number).visit(&config, deadline))
        })
        .collect();
    let visitors: Vec<Visitor> = visitors
        .into_iter()
        .map(|thread| thread.join().expect("the client saw only what it should"))
        .collect();

    assert_servers_were_shared(&visitors);
    assert_everything_ran(&visitors);
    assert_written(&db, &visitors);
}

/// The way to `db` through the pooler.
pub(super) fn pooled(db: &Database, role: &str, directory: &Path) -> Config {
    let mut config = Config::new();
    config
        .host_path(directory)
        .port(6432)
        .dbname(db.name())
        .user(role);
    config
}

fn assert_servers_were_shared(visitors: &[Visitor]) {
    let mut accounts: HashMap<i32, HashSet<&str>> = HashMap::new();
    for visitor in visitors {
        for server in &visitor.tally.servers {
            accounts
                .entry(*server)
                .or_default()
                .insert(&visitor.account);
        }
    }
    assert!(accounts.len() <= SERVERS, "servers: {accounts:?}");
    for (server, served) in &accounts {
        assert!(served.len() > 1, "server {server} served only {served:?}");
    }
}

fn assert_everything_ran(visitors: &[Visitor]) {
    for kind in 0..KINDS.len() {
        let times: u32 = visitors.iter().map(|v| v.tally.kinds[kind]).sum();
        assert!(times > 0, "transactions of kind {kind} never ran");
    }
}

/// What was committed is there, once, and so are its events.
fn assert_written(db: &Database, visitors: &[Visitor]) {
    let mut expected: HashMap<&str, u64> = HashMap::new();
    for visitor in visitors {
        *expected.entry(&visitor.account).or_default() += visitor.tally.written;
    }
    let mut expected: Vec<String> = expected
        .into_iter()
        .map(|(account, rows)| format!("{account}|{rows}"))
        .collect();
    expected.sort();
    let mut superuser = db.superuser();
    for relation in [
        "note WHERE body = account_id",
        "tenant_guard.audit_log WHERE action = 'insert' AND relation = 'public.note'",
    ] {
        let count = format!("SELECT account_id, count(*) FROM {relation} GROUP BY 1 ORDER BY 1");
        assert_eq!(lines(&mut superuser, &count), expected, "{relation}");
    }
}

impl Visitor {
    fn new(issuer: Arc<Issuer>, number: usize) -> Self {
        let account = |number: usize| format!("account-{}", number % ACCOUNTS);
        Self {
            number,
            issuer,
            account: account(number),
            other: account(number + 1),
            tally: Tally::default(),
        }
    }

    fn visit(mut self, config: &Config, deadline: Instant) -> Self {
        let mut client = config.connect(NoTls).expect("the pooler lets the role in");
        // Each client begins with another kind, so that neighbours on a server differ.
        let mut kind = self.number;
        while Instant::now() < deadline {
            kind = (kind + 1) % KINDS.len();
            KINDS[kind](&mut self, &mut client).unwrap_or_else(|error| panic!("{error:?}"));
            self.tally.kinds[kind] += 1;
        }
        self
    }

    /// Signs in with a token of this transaction alone, and returns the session it names. The
    /// statement has no name: a name would stay in the server session, where other clients meet it.
    fn sign_in(&self, transaction: &mut Transaction<'_>, account: &str) -> Result<String, Error> {
        static SESSIONS: AtomicU32 = AtomicU32::new(0);
        let session = format!("session-{}", SESSIONS.fetch_add(1, Ordering::Relaxed));
        let mut claims = self.issuer.claims(account);
        claims["sid"] = session.clone().into();
        let token = self.issuer.sign(&claims);
        let authenticate = "SELECT tenant_guard.authenticate($1)";
        transaction.query_typed(authenticate, &[(&token, Type::TEXT)])?;
        Ok(session)
    }

    /// Reads as the application would, by the primary key and by naming somebody else's account.
    fn read(&mut self, transaction: &mut Transaction<'_>, session: &str) -> Result<(), Error> {
        let identity = "SELECT tenant_guard.account_id_text(), tenant_guard.session_id()";
        assert_eq!(
            lines(transaction, identity),
            [format!("{}|{session}", self.account)]
        );
        let newest = "SELECT account_id, body FROM note ORDER BY id DESC LIMIT 50";
        for row in transaction.query_typed(newest, &[])? {
            assert_eq!(row.get::<_, &str>(0), self.account);
            assert_eq!(row.get::<_, &str>(1), self.account);
        }
        let foreign = format!(
            "SELECT FROM note WHERE account_id = '{}' LIMIT 1",
            self.other
        );
        assert!(transaction.query_typed(&foreign, &[])?.is_empty());
        let server = transaction.query_typed_one("SELECT pg_backend_pid()", &[])?;
        self.tally.servers.insert(server.get(0));
        Ok(())
    }

    fn write(&self, transaction: &mut Transaction<'_>) -> Result<(), Error> {
        let insert = "INSERT INTO note (body) VALUES ($1)";
        transaction.execute_typed(insert, &[(&self.account, Type::TEXT)])?;
        Ok(())
    }

    fn commits(&mut self, client: &mut Client) -> Result<(), Error> {
        let mut transaction = client.transaction()?;
        let session = self.sign_in(&mut transaction, &self.account)?;
        self.write(&mut transaction)?;
        self.read(&mut transaction, &session)?;
        transaction.commit()?;
        self.tally.written += 1;
        Ok(())
    }

    fn rolls_back(&mut self, client: &mut Client) -> Result<(), Error> {
        let mut transaction = client.transaction()?;
        let session = self.sign_in(&mut transaction, &self.account)?;
        self.write(&mut transaction)?;
        self.read(&mut transaction, &session)?;
        transaction.rollback()
    }

    fn rolls_back_to_a_savepoint(&mut self, client: &mut Client) -> Result<(), Error> {
        let mut transaction = client.transaction()?;
        let session = self.sign_in(&mut transaction, &self.account)?;
        self.write(&mut transaction)?;
        let mut savepoint = transaction.transaction()?;
        self.write(&mut savepoint)?;
        savepoint.rollback()?;
        self.read(&mut transaction, &session)?;
        transaction.commit()?;
        self.tally.written += 1;
        Ok(())
    }

    fn signs_in_within_a_savepoint(&mut self, client: &mut Client) -> Result<(), Error> {
        let mut transaction = client.transaction()?;
        let mut savepoint = transaction.transaction()?;
        let session = self.sign_in(&mut savepoint, &self.account)?;
        self.read(&mut savepoint, &session)?;
        savepoint.rollback()?;
        assert_eq!(bound(&mut transaction)?, None);
        expect_refusal(&mut transaction);
        transaction.rollback()
    }

    fn forgets_to_sign_in(&mut self, client: &mut Client) -> Result<(), Error> {
        let mut transaction = client.transaction()?;
        assert_eq!(bound(&mut transaction)?, None);
        expect_refusal(&mut transaction);
        transaction.rollback()
    }

    fn forgets_the_transaction(&mut self, client: &mut Client) -> Result<(), Error> {
        let read = client.query_typed("SELECT FROM note LIMIT 1", &[]);
        expect_error(read, "28000", "no identity is bound to this transaction");
        Ok(())
    }

    fn tries_a_second_account(&mut self, client: &mut Client) -> Result<(), Error> {
        let mut transaction = client.transaction()?;
        self.sign_in(&mut transaction, &self.account)?;
        let second = self.sign_in(&mut transaction, &self.other);
        let refused = second.expect_err("one transaction has one account");
        assert_eq!(
            refused.code(),
            Some(&SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE)
        );
        transaction.rollback()
    }
}

/// Whose identity the transaction has, if it has one.
fn bound(transaction: &mut Transaction<'_>) -> Result<Option<String>, Error> {
    let row = transaction.query_typed_one(
        "SELECT CASE WHEN tenant_guard.is_authenticated()
                     THEN tenant_guard.account_id_text() END",
        &[],
    )?;
    Ok(row.get(0))
}

fn expect_refusal(transaction: &mut Transaction<'_>) {
    let read = transaction.query_typed("SELECT FROM note LIMIT 1", &[]);
    expect_error(read, "28000", "no identity is bound to this transaction");
}
