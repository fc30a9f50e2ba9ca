//! What each archetype lets whom do, and which relation can have which.

use postgres::Transaction;
use tenant_guard_tests::{ACCOUNT_A, ACCOUNT_B, Database, expect_error, lines};

use super::{Shop, dump};

/// The account's rows of every archetype, protected, and a chain of children two deep.
pub(super) fn every_archetype() -> Shop {
    Shop::with(&format!(
        "CREATE TABLE shop.country (code text PRIMARY KEY);
         CREATE TABLE shop.template (id int PRIMARY KEY, account_id uuid, body text);
         CREATE TABLE shop.listing (id int PRIMARY KEY, account_id uuid NOT NULL, title text);
         CREATE TABLE shop.secret (id int PRIMARY KEY);
         CREATE TABLE shop.thread (id int PRIMARY KEY, account_id uuid NOT NULL);
         CREATE TABLE shop.message (id int PRIMARY KEY, thread_id int REFERENCES shop.thread);
         CREATE TABLE shop.reaction (message_id int REFERENCES shop.message, emoji text);
         CREATE TABLE shop.note (id int, subject_type text, subject_id int, body text);
         INSERT INTO shop.country VALUES ('de'), ('fr');
         INSERT INTO shop.template VALUES (1, NULL, 'default'), (2, '{ACCOUNT_A}', 'of a'),
             (3, '{ACCOUNT_B}', 'of b');
         INSERT INTO shop.listing VALUES (1, '{ACCOUNT_A}', 'of a'), (2, '{ACCOUNT_B}', 'of b');
         INSERT INTO shop.secret VALUES (1);
         INSERT INTO shop.thread VALUES (1, '{ACCOUNT_A}'), (2, '{ACCOUNT_B}');
         INSERT INTO shop.message VALUES (10, 1), (20, 2), (30, NULL);
         INSERT INTO shop.reaction VALUES (10, 'a'), (20, 'b'), (30, 'n'), (NULL, 'o');
         INSERT INTO shop.note VALUES (1, 'thread', 1, 'a'), (2, 'thread', 2, 'b'),
             (3, 'message', 10, 'a'), (4, 'message', 20, 'b'), (5, 'thread', 10, 'x'),
             (6, 'planet', 1, 'x'), (7, NULL, 1, 'x');
         {PROTECT}"
    ))
}

const PROTECT: &str = "SELECT tenant_guard.protect('shop.country', archetype => 'reference');
    SELECT tenant_guard.protect('shop.template', archetype => 'shared_defaults');
    SELECT tenant_guard.protect('shop.listing', archetype => 'public_read');
    SELECT tenant_guard.protect('shop.secret', archetype => 'deny_all');
    SELECT tenant_guard.protect('shop.thread');
    SELECT tenant_guard.protect('shop.message', via => 'thread_id');
    SELECT tenant_guard.protect('shop.reaction', via => 'message_id');
    SELECT tenant_guard.protect('shop.note', via => 'subject_id', type_column => 'subject_type',
        parents => '{\"thread\": \"shop.thread\", \"message\": \"shop.message\"}');";

pub(super) const TABLES: [&str; 8] = [
    "country", "template", "listing", "secret", "thread", "message", "reaction", "note",
];

fn column(t: &mut Transaction<'_>, column: &str, table: &str) -> Vec<String> {
    lines(t, &format!("SELECT {column} FROM shop.{table} ORDER BY 1"))
}

#[test]
fn each_archetype_shows_what_it_says() {
    let shop = every_archetype();
    shop.within(ACCOUNT_A, |t| {
        assert_eq!(column(t, "code", "country"), ["de", "fr"]);
        assert_eq!(column(t, "body", "template"), ["default", "of a"]);
        assert_eq!(column(t, "title", "listing"), ["of a", "of b"]);
        assert!(column(t, "id", "secret").is_empty());
        assert_eq!(column(t, "id", "thread"), ["1"]);
        assert_eq!(column(t, "id", "message"), ["10"]);
        assert_eq!(column(t, "emoji", "reaction"), ["a"]);
        assert_eq!(column(t, "id", "note"), ["1", "3"]);
    });
    shop.within(ACCOUNT_B, |t| {
        assert_eq!(column(t, "body", "template"), ["default", "of b"]);
        assert_eq!(column(t, "id", "message"), ["20"]);
        assert_eq!(column(t, "emoji", "reaction"), ["b"]);
        assert_eq!(column(t, "id", "note"), ["2", "4"]);
    });
}

#[test]
fn without_identity_only_what_everybody_reads_is_read() {
    let shop = every_archetype();
    let mut session = shop.app();
    assert_eq!(
        lines(&mut session, "SELECT code FROM shop.country ORDER BY 1"),
        ["de", "fr"]
    );
    assert_eq!(
        lines(&mut session, "SELECT id FROM shop.listing ORDER BY 1"),
        ["1", "2"]
    );
    assert!(lines(&mut session, "SELECT id FROM shop.secret").is_empty());
    for table in ["template", "thread", "message", "reaction", "note"] {
        let read = session.batch_execute(&format!("SELECT FROM shop.{table}"));
        expect_error(read, "28000", "no identity is bound to this transaction");
    }
}

#[test]
fn defaults_stay_hidden_without_identity_where_that_is_no_error() {
    let shop = every_archetype();
    shop.db
        .superuser()
        .batch_execute(&format!(
            "ALTER DATABASE {} SET tenant_guard.on_missing_identity = 'empty'",
            shop.db.name()
        ))
        .unwrap();
    let mut session = shop.app();
    for table in ["template", "thread", "message", "reaction", "note"] {
        let read = format!("SELECT * FROM shop.{table}");
        assert!(lines(&mut session, &read).is_empty(), "{table}");
    }
}

#[test]
fn writing_what_one_may_only_read_is_refused_or_touches_nothing() {
    let shop = every_archetype();
    let refused = |statement: &str| {
        let mut session = shop.app();
        let mut t = session.transaction().unwrap();
        shop.issuer.sign_in(&mut t, ACCOUNT_A);
        let message = "new row violates row-level security policy";
        expect_error(t.batch_execute(statement), "42501", message);
    };
    refused("INSERT INTO shop.country VALUES ('it')");
    refused("INSERT INTO shop.template VALUES (9, NULL, 'default')");
    refused(&format!(
        "INSERT INTO shop.template VALUES (9, '{ACCOUNT_B}', 'theirs')"
    ));
    refused("UPDATE shop.template SET account_id = NULL WHERE id = 2");
    refused(&format!(
        "INSERT INTO shop.listing VALUES (9, '{ACCOUNT_B}', 'theirs')"
    ));
    refused(&format!(
        "UPDATE shop.listing SET account_id = '{ACCOUNT_B}' WHERE id = 1"
    ));
    refused("INSERT INTO shop.secret VALUES (9)");
    refused("INSERT INTO shop.message VALUES (40, 2)");
    refused("INSERT INTO shop.message VALUES (40, NULL)");
    refused("UPDATE shop.message SET thread_id = 2");
    refused("UPDATE shop.message SET thread_id = NULL");
    refused("INSERT INTO shop.reaction VALUES (20, 'mine')");
    refused("INSERT INTO shop.note VALUES (9, 'thread', 2, 'theirs')");
    refused("INSERT INTO shop.note VALUES (9, 'planet', 1, 'nobody')");
    refused("UPDATE shop.note SET subject_type = NULL WHERE id = 1");

    shop.within(ACCOUNT_A, |t| {
        for (statement, rows) in [
            ("UPDATE shop.country SET code = 'xx'", 0),
            ("DELETE FROM shop.country", 0),
            ("UPDATE shop.template SET body = 'x'", 1),
            ("DELETE FROM shop.template WHERE id = 1", 0),
            ("UPDATE shop.listing SET title = 'x'", 1),
            ("DELETE FROM shop.listing", 1),
            ("DELETE FROM shop.secret", 0),
            ("UPDATE shop.reaction SET emoji = 'x'", 1),
            ("DELETE FROM shop.reaction", 1),
            ("DELETE FROM shop.note", 2),
            ("INSERT INTO shop.message VALUES (11, 1)", 1),
            ("INSERT INTO shop.reaction VALUES (11, 'new')", 1),
            ("INSERT INTO shop.template (id, body) VALUES (12, 'new')", 1),
        ] {
            assert_eq!(t.execute(statement, &[]).unwrap(), rows, "{statement}");
        }
        let rows = lines(t, "SELECT FROM shop.template WHERE id = 1 FOR UPDATE");
        assert!(rows.is_empty());
    });
}

#[test]
fn child_of_another_accounts_parent_stays_hidden_when_the_parents_policies_are_gone() {
    let shop = every_archetype();
    shop.unguarded()
        .batch_execute("ALTER TABLE shop.thread DISABLE ROW LEVEL SECURITY")
        .unwrap();
    shop.within(ACCOUNT_A, |t| {
        assert_eq!(column(t, "id", "message"), ["10"]);
        assert_eq!(column(t, "emoji", "reaction"), ["a"]);
    });
}

#[test]
fn own_row_with_the_key_of_another_accounts_parent_opens_none_of_its_children() {
    let shop = Shop::with(&format!(
        "CREATE TABLE shop.thread (id int PRIMARY KEY, account_id uuid);
         CREATE TABLE shop.archived () INHERITS (shop.thread);
         CREATE TABLE shop.message (thread_id int REFERENCES shop.thread, body text);
         INSERT INTO shop.thread VALUES (1, '{ACCOUNT_A}'), (2, '{ACCOUNT_B}');
         INSERT INTO shop.message VALUES (1, 'mine'), (2, 'secret');
         SELECT tenant_guard.protect('shop.thread');
         SELECT tenant_guard.protect('shop.message', via => 'thread_id')"
    ));
    shop.within(ACCOUNT_A, |t| {
        t.batch_execute("INSERT INTO shop.archived (id) VALUES (2)")
            .unwrap();
        assert_eq!(column(t, "body", "message"), ["mine"]);
        let stolen = t
            .execute("UPDATE shop.message SET body = 'x'", &[])
            .unwrap();
        assert_eq!(stolen, 1);
    });
}

#[test]
fn parent_whose_key_may_double_until_commit_is_refused() {
    let shop = Shop::with(
        "CREATE TABLE shop.thread (id int PRIMARY KEY DEFERRABLE, account_id uuid);
         CREATE TABLE shop.message (thread_id int, body text);
         SELECT tenant_guard.protect('shop.thread')",
    );
    let protect = "SELECT tenant_guard.protect('shop.message', via => 'thread_id',
         parent => 'shop.thread')";
    expect_error(
        shop.owner().batch_execute(protect),
        "22023",
        "column \"thread_id\" of relation shop.message does not say which relation is the parent",
    );
}

#[test]
fn an_archetype_without_accounts_between_two_with_them_keeps_what_stood_before() {
    for between in ["deny_all", "reference"] {
        let shop = Shop::with(
            "CREATE TABLE shop.t (account_id uuid NOT NULL DEFAULT gen_random_uuid(), a int)",
        );
        let before = shop.dump();
        for archetype in ["account", between, "account"] {
            let protect =
                format!("SELECT tenant_guard.protect('shop.t', archetype => '{archetype}')");
            shop.owner().batch_execute(&protect).unwrap();
        }
        let unprotect = "SELECT tenant_guard.unprotect('shop.t')";
        shop.owner().batch_execute(unprotect).unwrap();
        assert_eq!(shop.dump(), before);
    }
}

#[test]
fn what_a_child_does_is_in_the_log_of_its_account() {
    let shop = every_archetype();
    shop.within(ACCOUNT_A, |t| {
        t.batch_execute(
            "INSERT INTO shop.message VALUES (11, 1);
             UPDATE shop.reaction SET emoji = 'x';
             DELETE FROM shop.note WHERE id = 1",
        )
        .unwrap();
    });
    let mut superuser = shop.db.superuser();
    superuser
        .batch_execute("INSERT INTO shop.country VALUES ('it')")
        .unwrap();
    let events = "SELECT relation, action, account_id FROM tenant_guard.audit_log
                  WHERE kind = 'row' ORDER BY xid, ordinal";
    assert_eq!(
        lines(&mut superuser, events),
        [
            format!("shop.message|insert|{ACCOUNT_A}"),
            format!("shop.reaction|update|{ACCOUNT_A}"),
            format!("shop.note|delete|{ACCOUNT_A}"),
            "shop.country|insert|".into(),
        ]
    );
    let seal = "SELECT events > 0 FROM tenant_guard.seal()";
    assert_eq!(lines(&mut superuser, seal), ["t"]);
    assert!(lines(&mut superuser, "SELECT * FROM tenant_guard.verify_ledger()").is_empty());
}

#[test]
fn sound_archetypes_give_no_finding_and_need_nothing_again() {
    let shop = every_archetype();
    // No foreign key can hold a row to parents of several relations.
    assert_eq!(
        shop.check("severity, code, object"),
        ["info|26-foreign-key-without-account|shop.note"]
    );
    let before = dump(&shop.db, &[]);
    shop.owner().batch_execute(PROTECT).unwrap();
    let again = "SELECT count(tenant_guard.protect(relation, account_column, roles, redact, audit,
                     archetype, via, parent, type_column, parents))
                 FROM tenant_guard.protected_relation";
    let mut superuser = shop.db.superuser();
    assert_eq!(lines(&mut superuser, again), ["8"]);
    assert_eq!(dump(&shop.db, &[]), before);
}

#[test]
fn printed_repair_is_the_protection_that_stood() {
    let shop = every_archetype();
    let mut superuser = shop.db.superuser();
    let before = shop.dump();
    for table in TABLES {
        shop.unguarded()
            .batch_execute(&format!("DROP POLICY tenant_guard_floor ON shop.{table}"))
            .unwrap();
    }
    let mut fixes = shop.check("fix");
    fixes.retain(|fix| !fix.is_empty());
    assert_eq!(fixes.len(), TABLES.len(), "{fixes:#?}");
    for fix in fixes {
        superuser.batch_execute(&fix).unwrap();
    }
    assert_eq!(shop.dump(), before);
}

#[test]
fn taking_protection_off_gives_back_the_dump_of_before() {
    let shop = every_archetype();
    let mut owner = shop.owner();
    let unprotect = |owner: &mut postgres::Client, tables: &mut dyn Iterator<Item = &&str>| {
        for table in tables {
            owner
                .batch_execute(&format!("SELECT tenant_guard.unprotect('shop.{table}')"))
                .unwrap();
        }
    };
    unprotect(&mut owner, &mut TABLES.iter().rev());
    let bare = shop.dump();
    assert!(!bare.contains("tenant_guard"), "{bare}");
    owner.batch_execute(PROTECT).unwrap();
    unprotect(&mut owner, &mut TABLES.iter().rev());
    assert_eq!(shop.dump(), bare);
}

#[test]
fn dropping_the_extension_closes_every_archetype() {
    let shop = every_archetype();
    let mut superuser = shop.unguarded();
    superuser
        .batch_execute("DROP EXTENSION tenant_guard CASCADE")
        .unwrap();
    let mut session = shop.app();
    for table in TABLES {
        let read = format!("SELECT count(*) FROM shop.{table}");
        assert_eq!(lines(&mut session, &read), ["0"], "{table}");
    }
}

#[test]
fn restored_dump_holds_every_archetype() {
    let shop = every_archetype();
    let copy = Database::empty();
    copy.restore(&shop.db.pg_dump(&[]));
    let catalog = "SELECT p.polrelid::regclass::text, p.polname,
                       pg_get_expr(p.polqual, p.polrelid)
                   FROM pg_policy p ORDER BY 1, 2";
    let registered = "SELECT r::text FROM tenant_guard.protected_relation r ORDER BY 1";
    for query in [catalog, registered] {
        let (mut was, mut is) = (shop.db.superuser(), copy.superuser());
        assert_eq!(lines(&mut is, query), lines(&mut was, query));
    }
}

#[test]
fn another_archetype_is_exactly_the_difference_and_reaches_the_children() {
    let shop = every_archetype();
    let mut owner = shop.owner();
    let plan = "SELECT statement FROM tenant_guard.protection_plan('shop.thread',
                    archetype => 'shared_defaults') ORDER BY step";
    let statements = lines(&mut owner, plan);
    assert!(
        statements
            .last()
            .unwrap()
            .contains("protect('shop.reaction'")
    );
    assert_eq!(
        statements[statements.len() - 2],
        "SELECT tenant_guard.protect('shop.note', roles => NULL, redact => '{}', audit => true, \
         archetype => 'child', via => 'subject_id', type_column => 'subject_type', \
         parents => '{\"thread\": \"shop.thread\", \"message\": \"shop.message\"}')",
        "{statements:#?}"
    );
    let before = shop.dump();
    for statement in &statements {
        owner.batch_execute(statement).unwrap();
    }
    let mut superuser = shop.db.superuser();
    superuser
        .batch_execute(
            "ALTER TABLE shop.thread ALTER account_id DROP NOT NULL;
             INSERT INTO shop.thread VALUES (3, NULL); INSERT INTO shop.message VALUES (33, 3);
             INSERT INTO shop.reaction VALUES (33, 's')",
        )
        .unwrap();
    shop.within(ACCOUNT_A, |t| {
        assert_eq!(column(t, "id", "thread"), ["1", "3"]);
        assert_eq!(column(t, "id", "message"), ["10", "33"]);
        assert_eq!(column(t, "emoji", "reaction"), ["a", "s"]);
        let message = "new row violates row-level security policy";
        let write = t.batch_execute("INSERT INTO shop.message VALUES (34, 3)");
        expect_error(write, "42501", message);
    });
    superuser
        .batch_execute("DELETE FROM shop.reaction WHERE message_id = 33;
                        DELETE FROM shop.message WHERE id = 33; DELETE FROM shop.thread WHERE id = 3")
        .unwrap();
    owner
        .batch_execute("SELECT tenant_guard.protect('shop.thread')")
        .unwrap();
    assert_eq!(shop.dump(), before);
}

#[test]
fn not_null_of_ours_goes_where_defaults_are_shared() {
    let shop = Shop::with(
        "CREATE TABLE shop.t (account_id uuid);
        CREATE TABLE shop.p (account_id uuid, d date) PARTITION BY RANGE (d);
        CREATE TABLE shop.p1 PARTITION OF shop.p FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');",
    );
    let before = shop.dump();
    let mut owner = shop.owner();
    owner
        .batch_execute(
            "SELECT tenant_guard.protect('shop.t'); SELECT tenant_guard.protect('shop.p');
             SELECT tenant_guard.protect('shop.t', archetype => 'shared_defaults');
             SELECT tenant_guard.protect('shop.p', archetype => 'shared_defaults');",
        )
        .unwrap();
    let nullable = "SELECT count(*) FROM pg_attribute
                    WHERE attrelid IN ('shop.t'::regclass, 'shop.p'::regclass, 'shop.p1'::regclass)
                        AND attname = 'account_id' AND NOT attnotnull";
    assert_eq!(lines(&mut owner, nullable), ["3"]);
    owner
        .batch_execute(
            "SELECT tenant_guard.unprotect('shop.t'); SELECT tenant_guard.unprotect('shop.p')",
        )
        .unwrap();
    assert_eq!(shop.dump(), before);
}

#[test]
fn parents_key_that_may_double_is_found_and_mended() {
    let shop = Shop::with(
        "CREATE TABLE shop.thread (id int PRIMARY KEY, account_id uuid);
         CREATE TABLE shop.message (thread_id int);
         SELECT tenant_guard.protect('shop.thread');
         SELECT tenant_guard.protect('shop.message', via => 'thread_id', parent => 'shop.thread');",
    );
    let found = || {
        shop.check("severity, code, object, fix")
            .into_iter()
            .filter(|f| f.contains("26-parent"))
    };
    assert_eq!(found().count(), 0);
    shop.owner()
        .batch_execute("ALTER TABLE shop.thread DROP CONSTRAINT thread_pkey")
        .unwrap();
    let fix = "ALTER TABLE shop.thread ADD UNIQUE (id);";
    assert_eq!(
        found().collect::<Vec<_>>(),
        [format!("error|26-parent-key-not-unique|shop.thread|{fix}")]
    );
    shop.owner().batch_execute(fix).unwrap();
    assert_eq!(found().count(), 0);
}

#[test]
fn partitions_of_a_child_are_children_too() {
    let shop = Shop::with(&format!(
        "CREATE TABLE shop.thread (id int PRIMARY KEY, account_id uuid NOT NULL);
         CREATE TABLE shop.message (thread_id int REFERENCES shop.thread, at date)
             PARTITION BY RANGE (at);
         CREATE TABLE shop.message_1 PARTITION OF shop.message
             FOR VALUES FROM ('2024-01-01') TO ('2024-02-01');
         INSERT INTO shop.thread VALUES (1, '{ACCOUNT_A}'), (2, '{ACCOUNT_B}');
         INSERT INTO shop.message VALUES (1, '2024-01-01'), (2, '2024-01-02');
         SELECT tenant_guard.protect('shop.thread');
         SELECT tenant_guard.protect('shop.message', via => 'thread_id')"
    ));
    shop.within(ACCOUNT_A, |t| {
        assert_eq!(column(t, "thread_id", "message"), ["1"]);
        assert_eq!(column(t, "thread_id", "message_1"), ["1"]);
    });
    assert!(shop.check("detail").is_empty());
}

/// What `protect` says of a call with these arguments, made by the owner.
fn refused(shop: &Shop, arguments: &str, sqlstate: &str, message: &str) {
    let before = dump(&shop.db, &[]);
    for call in ["protect", "protection_plan"] {
        let query = format!("SELECT tenant_guard.{call}({arguments})");
        expect_error(shop.owner().batch_execute(&query), sqlstate, message);
    }
    assert_eq!(dump(&shop.db, &[]), before);
}

#[test]
fn archetype_that_a_relation_cannot_have_is_refused() {
    let shop = Shop::with(
        "CREATE TABLE shop.bare (id int PRIMARY KEY);
         CREATE TABLE shop.thread (id int PRIMARY KEY, account_id uuid, up int REFERENCES shop.thread);
         CREATE TABLE shop.message (id int PRIMARY KEY, thread_id int REFERENCES shop.thread,
             other_id int REFERENCES shop.bare, loose uuid, kind text, a int, b int,
             FOREIGN KEY (a) REFERENCES shop.bare, CONSTRAINT second FOREIGN KEY (a)
             REFERENCES shop.thread);",
    );
    let cases = [
        (
            "'shop.bare', archetype => 'public'",
            "22023",
            "archetype \"public\" is not known",
        ),
        (
            "'shop.bare', archetype => 'shared_defaults'",
            "42703",
            "column \"account_id\" of relation shop.bare does not exist",
        ),
        (
            "'shop.bare', archetype => 'child'",
            "22023",
            "via does not fit: a child needs the column that holds its parent's key",
        ),
        (
            "'shop.thread', archetype => 'account', via => 'up'",
            "22023",
            "via does not fit: only a child has a parent",
        ),
        (
            "'shop.message', via => 'nothing'",
            "42703",
            "column \"nothing\" of relation shop.message does not exist",
        ),
        (
            "'shop.message', via => 'loose'",
            "22023",
            "column \"loose\" of relation shop.message does not say which relation is the parent",
        ),
        (
            "'shop.message', via => 'a'",
            "22023",
            "column \"a\" of relation shop.message does not say which relation is the parent",
        ),
        (
            "'shop.message', via => 'loose', parent => 'shop.thread'",
            "42804",
            "column \"loose\" of relation shop.message is of type uuid, but the key of shop.thread is \
          of type integer",
        ),
        (
            "'shop.message', via => 'thread_id'",
            "55000",
            "parent shop.thread of relation shop.message is not protected",
        ),
        (
            "'shop.thread', via => 'up'",
            "42P17",
            "relation shop.thread cannot be a child of shop.thread, which finds its account through it",
        ),
        (
            "'shop.message', via => 'a', parents => '{}'",
            "22023",
            "parents does not fit: type_column and parents come together and without parent",
        ),
        (
            "'shop.message', via => 'a', type_column => 'kind', parents => '[]'",
            "22023",
            "parents does not fit: it names a relation for each type",
        ),
        (
            "'shop.message', via => 'a', type_column => 'kind', parents => '{}'",
            "22023",
            "parents must not be empty",
        ),
        (
            "'shop.message', via => 'a', type_column => 'kind', parents => '{\"x\": \"shop.none\"}'",
            "42P01",
            "relation \"shop.none\" does not exist",
        ),
    ];
    for (arguments, sqlstate, message) in cases {
        refused(&shop, arguments, sqlstate, message);
    }
    shop.owner()
        .batch_execute(
            "SELECT tenant_guard.protect('shop.bare', archetype => 'reference');
             SELECT tenant_guard.protect('shop.thread');
             SELECT tenant_guard.protect('shop.message', via => 'thread_id')",
        )
        .unwrap();
    let cases = [
        (
            "'shop.message', via => 'other_id'",
            "55000",
            "rows of shop.bare, the parent of relation shop.message, belong to no account: it is \
          reference",
        ),
        (
            "'shop.message', via => 'a', type_column => 'sort', parents => '{\"x\": \"shop.thread\"}'",
            "42703",
            "column \"sort\" of relation shop.message does not exist",
        ),
        (
            "'shop.thread', archetype => 'deny_all'",
            "2BP01",
            "relation shop.message finds its account through shop.thread",
        ),
        (
            "'shop.thread', via => 'up', parent => 'shop.message'",
            "42P17",
            "relation shop.thread cannot be a child of shop.message, which finds its account through it",
        ),
    ];
    for (arguments, sqlstate, message) in cases {
        refused(&shop, arguments, sqlstate, message);
    }
    expect_error(
        shop.owner()
            .batch_execute("SELECT tenant_guard.unprotect('shop.thread')"),
        "2BP01",
        "relation shop.message finds its account through shop.thread",
    );
}

#[test]
fn null_accounts_are_counted_and_named_by_the_plan_too() {
    let shop = Shop::with(
        "CREATE TABLE shop.t (account_id uuid); INSERT INTO shop.t VALUES (NULL), (NULL)",
    );
    refused(
        &shop,
        "'shop.t'",
        "23502",
        "column \"account_id\" has null values: 2 in shop.t",
    );
    shop.owner()
        .batch_execute("SELECT tenant_guard.protect('shop.t', archetype => 'shared_defaults')")
        .unwrap();
    shop.within(ACCOUNT_A, |t| {
        assert_eq!(lines(t, "SELECT count(*) FROM shop.t"), ["2"]);
    });
    refused(
        &shop,
        "'shop.t'",
        "23502",
        "column \"account_id\" has null values: 2 in shop.t",
    );
}
