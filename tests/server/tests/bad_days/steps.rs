//! The steps that faults are tried in.

use postgres::{Client, Error, GenericClient};
use tenant_guard_tests::{ACCOUNT_A, ACCOUNT_B, Database, lines, rows};

use crate::isolation::Shop;

/// One thing that somebody does. Each try has a number, so that it has things of its own.
pub(super) struct Step {
    pub(super) name: &'static str,
    /// The fault points it passes.
    pub(super) prefix: &'static str,
    /// Makes what it needs.
    pub(super) prepare: fn(&Shop, usize),
    /// A session in which this goes wrong; nothing where it is empty.
    pub(super) session: fn(&Shop, &str) -> Client,
    pub(super) run: fn(&Shop, &mut Client, usize) -> Result<(), Error>,
    /// Asserts that it was done, once.
    pub(super) check: fn(&Shop, usize),
    /// Whether a crash of the server leaves what it needs.
    pub(super) survives_crash: bool,
}

/// Contacts whose names are personal, and a table whose reads are recorded.
pub(super) fn shop(db: Database) -> Shop {
    let shop = Shop::of(db);
    shop.run(&format!(
        "CREATE TABLE shop.contact (id int PRIMARY KEY, account_id uuid, name text, n int DEFAULT 0);
         SELECT tenant_guard.annotate('shop.contact', '{{name}}');
         SELECT tenant_guard.protect('shop.contact');
         CREATE TABLE shop.seen (id int PRIMARY KEY, account_id uuid);
         INSERT INTO shop.seen VALUES (1, '{ACCOUNT_A}');
         SELECT tenant_guard.protect('shop.seen');
         SELECT tenant_guard.audit_reads('shop.seen')"
    ));
    for account in [ACCOUNT_A, ACCOUNT_B] {
        let id = if account == ACCOUNT_A { 1 } else { 2 };
        shop.within(account, |session| {
            let insert = format!("INSERT INTO shop.contact VALUES ({id}, '{account}', 'ann')");
            session.batch_execute(&insert).unwrap();
        });
    }
    let mut superuser = shop.db.superuser();
    assert_eq!(
        lines(&mut superuser, "SELECT block FROM tenant_guard.seal()"),
        ["1"]
    );
    add(&shop, 3);
    shop
}

/// Adds a contact of account A.
fn add(shop: &Shop, id: usize) {
    shop.within(ACCOUNT_A, |session| insert(session, id).unwrap());
}

pub(super) fn insert(session: &mut impl GenericClient, id: usize) -> Result<(), Error> {
    session.batch_execute(&format!(
        "INSERT INTO shop.contact VALUES ({id}, '{ACCOUNT_A}', 'ann {id}')"
    ))
}

/// A session in which the fault waits, of this role.
fn session_as(shop: &Shop, fault: &str, role: Option<&str>) -> Client {
    let mut client = shop.db.superuser();
    let settings =
        format!("LOAD 'tenant_guard'; SET lock_timeout = '20s'; SET fault_points.at = '{fault}'");
    client.batch_execute(&settings).unwrap();
    if let Some(role) = role {
        let become_role = format!("SET SESSION AUTHORIZATION {role}");
        client.batch_execute(&become_role).unwrap();
    }
    client
}

fn superuser(shop: &Shop, fault: &str) -> Client {
    session_as(shop, fault, None)
}

fn owner(shop: &Shop, fault: &str) -> Client {
    session_as(shop, fault, Some(&shop.owner))
}

fn app(shop: &Shop, fault: &str) -> Client {
    session_as(shop, fault, Some(&shop.app))
}

fn nothing(_: &Shop, _: usize) {}

/// The rows of a query that may fail.
fn ask(session: &mut impl GenericClient, query: &str) -> Result<Vec<String>, Error> {
    Ok(rows(&session.simple_query(query)?))
}

/// Asserts what a query of the superuser gives.
#[track_caller]
pub(super) fn expect(shop: &Shop, query: &str, expected: &[&str]) {
    assert_eq!(lines(&mut shop.db.superuser(), query), expected, "{query}");
}

pub(super) fn sign_in(
    shop: &Shop,
    session: &mut impl GenericClient,
    local: bool,
) -> Result<(), Error> {
    let token = shop.issuer.token(ACCOUNT_A);
    let authenticate = "SELECT tenant_guard.authenticate($1, is_local => $2)";
    session.execute(authenticate, &[&token, &local]).map(drop)
}

fn make_table(shop: &Shop, number: usize) {
    shop.run(&format!(
        "CREATE TABLE shop.t_{number} (id int PRIMARY KEY, account_id uuid DEFAULT '{ACCOUNT_B}', name text)
             PARTITION BY RANGE (id);
         CREATE TABLE shop.t_{number}_1 PARTITION OF shop.t_{number} FOR VALUES FROM (0) TO (10);
         GRANT TRUNCATE ON shop.t_{number} TO PUBLIC;
         INSERT INTO shop.t_{number} VALUES (1, '{ACCOUNT_A}', 'x')"
    ));
}

/// Asserts that a table is protected, or not, and that nothing drifted; and drops it.
fn check_table(shop: &Shop, number: usize, protected: bool) {
    let name = format!("shop.t_{number}");
    let policies =
        format!("SELECT count(*) > 0 FROM pg_policy WHERE polrelid = '{name}'::regclass");
    expect(shop, &policies, &[if protected { "t" } else { "f" }]);
    let drift = format!(
        "SELECT object, state, detail FROM tenant_guard.drift()
         WHERE object LIKE '{name}%' AND state = 'drift'"
    );
    assert!(lines(&mut shop.owner(), &drift).is_empty());
    shop.run(&format!("DROP TABLE {name}"));
}

pub(super) const STEPS: [Step; 12] = [
    Step {
        name: "authenticate",
        prefix: "authenticate.",
        prepare: nothing,
        session: app,
        run: |shop, session, _| {
            let bound = "SELECT tenant_guard.is_authenticated()";
            assert_eq!(ask(session, bound)?, ["f"]);
            let mut transaction = session.transaction()?;
            sign_in(shop, &mut transaction, true)?;
            assert_eq!(
                ask(&mut transaction, "SELECT tenant_guard.account_id()")?,
                [ACCOUNT_A]
            );
            transaction.commit()?;
            assert_eq!(ask(session, bound)?, ["f"]);
            Ok(())
        },
        check: nothing,
        survives_crash: true,
    },
    Step {
        name: "authenticate for the session",
        prefix: "authenticate.",
        prepare: nothing,
        session: |shop, fault| {
            let mut client = session_as(shop, fault, None);
            client
                .batch_execute(&format!(
                    "SET tenant_guard.allow_session_identity = on; SET SESSION AUTHORIZATION {}",
                    shop.app
                ))
                .unwrap();
            client
        },
        run: |shop, session, _| {
            let bound = "SELECT tenant_guard.is_authenticated()";
            assert_eq!(ask(session, bound)?, ["f"]);
            sign_in(shop, session, false)?;
            assert_eq!(ask(session, bound)?, ["t"]);
            Ok(())
        },
        check: nothing,
        survives_crash: true,
    },
    Step {
        name: "change a row",
        prefix: "capture.",
        prepare: nothing,
        session: app,
        run: |shop, session, number| {
            let mut transaction = session.transaction()?;
            sign_in(shop, &mut transaction, true)?;
            insert(&mut transaction, number)?;
            transaction.batch_execute(&format!(
                "UPDATE shop.contact SET n = n + 1 WHERE id = {number}"
            ))?;
            transaction.commit()
        },
        check: |shop, number| {
            let events = format!(
                "SELECT action, account_id FROM tenant_guard.audit_log
                 WHERE relation = 'shop.contact' AND row_key::jsonb ->> 'id' = '{number}'
                 ORDER BY xid, ordinal"
            );
            let [inserted, updated] =
                ["insert", "update"].map(|action| format!("{action}|{ACCOUNT_A}"));
            expect(shop, &events, &[&inserted, &updated]);
        },
        survives_crash: true,
    },
    Step {
        name: "seal",
        prefix: "seal.",
        prepare: |shop, number| add(shop, number),
        session: superuser,
        run: |_, session, _| session.batch_execute("SELECT * FROM tenant_guard.seal()"),
        check: |shop, _| {
            expect(
                shop,
                "SELECT unsealed_events FROM tenant_guard.ledger_status()",
                &["0"],
            );
            let gaps = "SELECT count(*) FILTER (WHERE block <> n) FROM (
                SELECT block, row_number() OVER (ORDER BY block) AS n FROM tenant_guard.ledger_block) AS b";
            expect(shop, gaps, &["0"]);
        },
        survives_crash: true,
    },
    Step {
        name: "verify",
        prefix: "verify.",
        prepare: nothing,
        session: superuser,
        run: |_, session, _| {
            let found = session.query("SELECT * FROM tenant_guard.verify_ledger()", &[])?;
            assert!(found.is_empty());
            Ok(())
        },
        check: nothing,
        survives_crash: true,
    },
    Step {
        name: "write reads",
        prefix: "reads.",
        prepare: |shop, number| {
            let mut session = shop.app();
            session
                .batch_execute(&format!("SET application_name = 'reader {number}'"))
                .unwrap();
            let mut transaction = session.transaction().unwrap();
            sign_in(shop, &mut transaction, true).unwrap();
            assert_eq!(lines(&mut transaction, "SELECT id FROM shop.seen"), ["1"]);
            transaction.commit().unwrap();
        },
        session: superuser,
        run: |_, session, _| session.batch_execute("SELECT tenant_guard.flush_reads()"),
        check: |shop, number| {
            let events = format!(
                "SELECT action, relation FROM tenant_guard.audit_log AS l
                 WHERE action = 'read' AND EXISTS (SELECT FROM tenant_guard.audit_context AS c
                     WHERE c.incarnation = l.incarnation AND c.xid = l.xid AND c.number = l.context
                         AND c.application_name = 'reader {number}')"
            );
            expect(shop, &events, &["read|shop.seen"]);
        },
        survives_crash: false,
    },
    Step {
        name: "erase",
        prefix: "erase.",
        prepare: |shop, number| add(shop, number),
        session: |shop, fault| {
            let mut client = superuser(shop, fault);
            client
                .batch_execute("SET application_name = 'eraser'")
                .unwrap();
            client
        },
        run: |_, session, number| {
            session.batch_execute(&format!(
                "SELECT tenant_guard.erase_personal('{ACCOUNT_A}', ARRAY(
                     SELECT event_id FROM tenant_guard.personal_events('{ACCOUNT_A}', 'shop.contact',
                         ARRAY['{{\"id\": {number}}}'])), 'Art. 17 GDPR')"
            ))
        },
        check: |shop, number| {
            let left = format!(
                "SELECT count(*), count(personal), count(personal_salt), count(personal_commitment)
                 FROM tenant_guard.audit_log
                 WHERE relation = 'shop.contact' AND row_key::jsonb ->> 'id' = '{number}'"
            );
            expect(shop, &left, &["1|0|0|1"]);
        },
        survives_crash: true,
    },
    Step {
        name: "protect",
        prefix: "protect.",
        prepare: make_table,
        session: owner,
        run: |_, session, number| {
            session.batch_execute(&format!("SELECT tenant_guard.protect('shop.t_{number}')"))
        },
        check: |shop, number| check_table(shop, number, true),
        survives_crash: true,
    },
    Step {
        name: "unprotect",
        prefix: "unprotect.",
        prepare: |shop, number| {
            make_table(shop, number);
            shop.run(&format!("SELECT tenant_guard.protect('shop.t_{number}')"));
        },
        session: owner,
        run: |_, session, number| {
            session.batch_execute(&format!("SELECT tenant_guard.unprotect('shop.t_{number}')"))
        },
        check: |shop, number| check_table(shop, number, false),
        survives_crash: true,
    },
    Step {
        name: "apply a manifest",
        prefix: "manifest.",
        prepare: make_table,
        session: owner,
        run: |_, session, number| {
            session.batch_execute(&format!(
                "SELECT * FROM tenant_guard.apply_manifest(jsonb_set(
                     tenant_guard.export_manifest(), '{{relations,shop.t_{number}}}', '{{}}'))"
            ))
        },
        check: |shop, number| check_table(shop, number, true),
        survives_crash: true,
    },
    Step {
        name: "make the ledger",
        prefix: "ledger.",
        prepare: nothing,
        session: superuser,
        run: |_, session, _| session.batch_execute("SELECT tenant_guard.init_ledger()"),
        check: |shop, _| {
            let tables = "SELECT count(to_regclass('tenant_guard.' || name)) FROM unnest(
                '{audit_log,audit_context,ledger_account,ledger_block,ledger_leaf,ledger_checkpoint}'::text[]) AS name";
            expect(shop, tables, &["6"]);
        },
        survives_crash: true,
    },
    Step {
        name: "take a checkpoint",
        prefix: "checkpoint.",
        prepare: nothing,
        session: superuser,
        run: |_, session, _| session.batch_execute("SELECT tenant_guard.checkpoint()"),
        check: nothing,
        survives_crash: true,
    },
];
