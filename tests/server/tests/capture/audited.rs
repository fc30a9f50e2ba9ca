//! `audit` and `unaudit`: tables without an account, lists of columns, and what leaves no event.

use tenant_guard_core::keyed_hash::KeyedHash;
use tenant_guard_tests::{Database, expect_error, lines};

use super::{database, log, run};

const ROWS: &str = "action, row_key, data, redacted, hashed";

/// A table of plans that the superuser audits as `options` say.
fn plans(options: &str) -> (Database, postgres::Client) {
    let db = database();
    let mut client = db.superuser();
    run(
        &mut client,
        &format!(
            "CREATE TABLE plan (id int PRIMARY KEY, name text, price numeric, secret text,
                 seen timestamp, note text);
             SELECT tenant_guard.audit('plan'{options})"
        ),
    );
    (db, client)
}

fn rows(client: &mut postgres::Client) -> Vec<String> {
    lines(
        client,
        &format!(
            "SELECT {ROWS} FROM tenant_guard.audit_event WHERE kind = 'row'
             ORDER BY xid, command_id, ordinal"
        ),
    )
}

#[test]
fn table_without_an_account_is_audited_until_it_no_longer_is() {
    let (_db, mut client) = plans("");
    run(
        &mut client,
        "INSERT INTO plan (id, name) VALUES (1, 'basic');
         SELECT tenant_guard.unaudit('plan');
         INSERT INTO plan (id) VALUES (2)",
    );
    let options = r#"{"empty":true,"exclude":[],"hash":[],"include":null,"redact":[],"skip_unchanged":false,"truncate_rows":false}"#;
    assert_eq!(
        log(&mut client, "kind, action, account_id, relation, data"),
        [
            format!("system|audit||public.plan|{options}"),
            concat!(
                r#"row|insert||public.plan|{"id":1,"name":"basic","price":null,"#,
                r#""secret":null,"seen":null,"note":null}"#
            )
            .to_owned(),
            "system|unaudit||public.plan|<null>".to_owned(),
        ]
    );
    let triggers = "SELECT count(*) FROM pg_trigger WHERE tgrelid = 'plan'::regclass";
    assert_eq!(lines(&mut client, triggers), ["0"]);
}

#[test]
fn lists_say_what_of_each_column_is_logged() {
    let (_db, mut client) = plans(
        ", include => '{id,name,price}', exclude => '{seen}', redact => '{secret}', hash => '{note}'",
    );
    run(
        &mut client,
        "INSERT INTO plan VALUES (1, 'basic', 1.50, 'hush', now(), 'same');
         UPDATE plan SET name = 'plus', secret = 'hush!', seen = NULL, note = 'other';
         UPDATE plan SET note = 'same', secret = NULL;
         UPDATE plan SET note = NULL;
         DELETE FROM plan",
    );
    let found = rows(&mut client);
    let hash = |text: &str| {
        let from = text
            .find("hmac-sha256:")
            .unwrap_or_else(|| panic!("no hash in {text}"));
        text[from..from + 12 + 64].to_owned()
    };
    let (same, other) = (hash(&found[0]), hash(found[1].split("new").nth(1).unwrap()));
    assert_ne!(same, other);
    assert_eq!(
        found,
        [
            format!(
                r#"insert|{{"id":1}}|{{"id":1,"name":"basic","price":1.50,"note":"{same}"}}|{{secret}}|{{note}}"#
            ),
            format!(
                r#"update|{{"id":1}}|{{"old":{{"name":"basic","note":"{same}"}},"new":{{"name":"plus","note":"{other}"}}}}|{{secret}}|{{note}}"#
            ),
            format!(
                r#"update|{{"id":1}}|{{"old":{{"note":"{other}"}},"new":{{"note":"{same}"}}}}|{{secret}}|{{note}}"#
            ),
            format!(
                r#"update|{{"id":1}}|{{"old":{{"note":"{same}"}},"new":{{"note":null}}}}|<null>|{{note}}"#
            ),
            r#"delete|{"id":1}|{"id":1,"name":"plus","price":1.50,"note":null}|{secret}|{note}"#
                .to_owned(),
        ]
    );
    // The hash is the one documented, under the key that only the owner of the extension reads.
    let key: Vec<u8> = client
        .query_one("SELECT key FROM tenant_guard.capture_key", &[])
        .unwrap()
        .get(0);
    let mut documented = Vec::new();
    let key = KeyedHash::new(&key.try_into().unwrap());
    key.push(&mut documented, ("public.plan", "note"), b"\"same\"");
    assert_eq!(
        String::from_utf8(documented).unwrap(),
        format!("\"{same}\"")
    );
    run(&mut client, "SELECT tenant_guard.seal()");
    assert_eq!(
        lines(&mut client, "SELECT * FROM tenant_guard.verify_ledger()"),
        [""; 0]
    );
}

#[test]
fn key_of_hashed_columns_is_read_by_no_role_and_cannot_be_replaced_in_silence() {
    let (db, mut client) = plans(", hash => '{note}'");
    for role in ["tenant_guard_admin", "tenant_guard_auditor"] {
        run(&mut client, &format!("SET ROLE {role}"));
        expect_error(
            client.batch_execute("SELECT * FROM tenant_guard.capture_key"),
            "42501",
            "permission denied for table capture_key",
        );
        run(&mut client, "RESET ROLE");
    }
    let mut other = db.superuser();
    run(&mut other, "INSERT INTO plan (id, note) VALUES (1, 'x')");
    run(&mut client, "DELETE FROM tenant_guard.capture_key");
    expect_error(
        other.batch_execute("INSERT INTO plan (id, note) VALUES (2, 'x')"),
        "55000",
        "the key for hashed columns is missing",
    );
}

#[test]
fn column_that_was_renamed_or_dropped_refuses_the_change_whatever_list_it_was_in() {
    for list in ["include => '{id,note}'", "exclude", "redact", "hash"] {
        let list = if list.contains("=>") {
            list.to_owned()
        } else {
            format!("{list} => '{{note}}'")
        };
        for change in ["RENAME note TO remark", "DROP note"] {
            let (_db, mut client) = plans(&format!(", {list}"));
            run(&mut client, "INSERT INTO plan (id) VALUES (1)");
            run(&mut client, &format!("ALTER TABLE plan {change}"));
            expect_error(
                client.batch_execute("INSERT INTO plan (id) VALUES (2)"),
                "55000",
                "capture trigger of \"plan\" does not fit column \"note\"",
            );
            run(
                &mut client,
                "SELECT tenant_guard.audit('plan'); INSERT INTO plan (id) VALUES (2)",
            );
        }
    }
}

#[test]
fn type_that_changes_changes_the_image() {
    let (_db, mut client) = plans(", include => '{id,name}', hash => '{price}'");
    run(
        &mut client,
        "INSERT INTO plan (id, name, price) VALUES (1, '7', 7);
         ALTER TABLE plan ALTER name TYPE int USING name::int, ALTER price TYPE text;
         INSERT INTO plan (id, name, price) VALUES (2, 7, '7')",
    );
    let found = "SELECT data::jsonb - 'price', data::jsonb ->> 'price'
             = (SELECT data::jsonb ->> 'price' FROM tenant_guard.audit_log
                WHERE kind = 'row' ORDER BY xid LIMIT 1)
         FROM tenant_guard.audit_log WHERE kind = 'row' ORDER BY xid";
    assert_eq!(
        lines(&mut client, found),
        [r#"{"id": 1, "name": "7"}|t"#, r#"{"id": 2, "name": 7}|f"#]
    );
}

#[test]
fn update_of_nothing_captured_leaves_no_event_where_asked() {
    let (_db, mut client) =
        plans(", exclude => '{seen}', redact => '{secret}', skip_unchanged => true");
    run(
        &mut client,
        "INSERT INTO plan (id, name) VALUES (1, 'basic');
         UPDATE plan SET name = 'basic';
         UPDATE plan SET seen = now();
         UPDATE plan SET secret = 'x';
         UPDATE plan SET secret = 'x';
         INSERT INTO plan VALUES (1) ON CONFLICT (id) DO UPDATE SET name = plan.name;
         UPDATE plan SET name = 'plus'",
    );
    assert_eq!(
        rows(&mut client)[1..],
        [
            r#"update|{"id":1}|{"old":{},"new":{}}|{secret}|<null>"#,
            r#"update|{"id":1}|{"old":{"name":"basic"},"new":{"name":"plus"}}|<null>|<null>"#,
        ]
    );
}

#[test]
fn truncate_leaves_an_event_for_each_row_where_asked() {
    let (db, mut client) = plans(", redact => '{secret}', truncate_rows => true");
    let owner = db.role("owner");
    run(
        &mut client,
        &format!(
            "INSERT INTO plan (id, name) SELECT n, 'p' || n FROM generate_series(1, 3) AS n;
             DELETE FROM plan WHERE id = 2;
             ALTER TABLE plan OWNER TO {owner};
             ALTER TABLE plan ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY"
        ),
    );
    let mut session = db.connect_as(&owner);
    assert_eq!(lines(&mut session, "SELECT count(*) FROM plan"), ["0"]);
    // Rows of the truncating transaction itself are among them.
    run(
        &mut session,
        "BEGIN; ALTER TABLE plan NO FORCE ROW LEVEL SECURITY;
         INSERT INTO plan (id, name) VALUES (4, 'p4');
         ALTER TABLE plan FORCE ROW LEVEL SECURITY; TRUNCATE plan; COMMIT",
    );
    let row = |id: i32| {
        format!(
            r#"truncate|{{"id":{id}}}|{{"id":{id},"name":"p{id}","price":null,"seen":null,"note":null}}|{{secret}}|<null>"#
        )
    };
    let last = "truncate|<null>|<null>|<null>|<null>".to_owned();
    assert_eq!(rows(&mut client)[5..], [row(1), row(3), row(4), last]);
    assert_eq!(lines(&mut client, "SELECT count(*) FROM plan"), ["0"]);
}

#[test]
fn truncated_rows_belong_to_their_accounts_and_name_their_partition() {
    let db = database();
    let mut client = db.superuser();
    run(
        &mut client,
        "CREATE TABLE part (id int, account_id text NOT NULL, PRIMARY KEY (id)) PARTITION BY LIST (id);
         CREATE TABLE part_1 PARTITION OF part FOR VALUES IN (1);
         SELECT tenant_guard.protect('part');
         SELECT tenant_guard.audit('part', truncate_rows => true);
         CREATE TABLE part_2 PARTITION OF part FOR VALUES IN (2);
         INSERT INTO part VALUES (1, 'a'), (2, 'b');
         TRUNCATE part",
    );
    let events = "SELECT account_id, relation, leaf_relation, row_key
         FROM tenant_guard.audit_log WHERE action = 'truncate' ORDER BY xid, ordinal";
    assert_eq!(
        lines(&mut client, events),
        [
            "|public.part|<null>|<null>",
            r#"a|public.part|public.part_1|{"id":1}"#,
            "|public.part|public.part_1|<null>",
            r#"b|public.part|public.part_2|{"id":2}"#,
            "|public.part|public.part_2|<null>",
        ]
    );
}

#[test]
fn partitions_of_an_audited_table_are_audited_as_they_come() {
    let db = database();
    let mut client = db.superuser();
    let maker = db.role("maker");
    run(
        &mut client,
        &format!(
            "CREATE TABLE part (id int PRIMARY KEY, note text) PARTITION BY LIST (id);
             SELECT tenant_guard.audit('part', redact => '{{note}}');
             ALTER TABLE part OWNER TO {maker};
             GRANT CREATE ON SCHEMA public TO {maker}"
        ),
    );
    let mut session = db.connect_as(&maker);
    run(
        &mut session,
        "CREATE TABLE part_1 PARTITION OF part FOR VALUES IN (1);
         CREATE TABLE part_2 (id int PRIMARY KEY, note text);
         ALTER TABLE part ATTACH PARTITION part_2 FOR VALUES IN (2);
         INSERT INTO part VALUES (1, 'x'), (2, 'y');
         TRUNCATE part_2",
    );
    assert_eq!(
        lines(
            &mut client,
            "SELECT action, relation, leaf_relation, data, redacted FROM tenant_guard.audit_log
             WHERE kind = 'row' ORDER BY xid, ordinal"
        ),
        [
            r#"insert|public.part|public.part_1|{"id":1}|{note}"#,
            r#"insert|public.part|public.part_2|{"id":2}|{note}"#,
            "truncate|public.part|public.part_2|<null>|<null>",
        ]
    );
    expect_error(
        session.batch_execute("DROP TRIGGER tenant_guard_capture_truncate ON part_1"),
        "42501",
        "cannot drop trigger \"tenant_guard_capture_truncate\" of audited relation public.part_1",
    );
}

#[test]
fn table_audited_by_itself_is_not_attached_to_an_audited_one() {
    let db = database();
    let mut client = db.superuser();
    run(
        &mut client,
        "CREATE TABLE part (id int PRIMARY KEY, note text) PARTITION BY LIST (id);
         CREATE TABLE own (id int PRIMARY KEY, note text);
         SELECT tenant_guard.audit('part');
         SELECT tenant_guard.audit('own', redact => '{note}')",
    );
    let attach = "ALTER TABLE part ATTACH PARTITION own FOR VALUES IN (1)";
    expect_error(
        client.batch_execute(attach),
        "42710",
        "trigger \"tenant_guard_capture\" for relation \"own\" already exists",
    );
    run(&mut client, "SELECT tenant_guard.unaudit('own')");
    run(&mut client, attach);
    run(&mut client, "INSERT INTO part VALUES (1, 'x')");
    assert_eq!(rows_of(&mut client), [r#"public.own|{"id":1,"note":"x"}"#]);
}

/// Where changed rows were, and what was logged of them.
fn rows_of(client: &mut postgres::Client) -> Vec<String> {
    lines(
        client,
        "SELECT coalesce(leaf_relation, relation), data FROM tenant_guard.audit_log
         WHERE kind = 'row' ORDER BY xid, ordinal",
    )
}

#[test]
fn arguments_that_cannot_be_are_refused() {
    let (_db, mut client) = plans("");
    for (arguments, code, message) in [
        ("NULL", "22004", "relation must not be null"),
        (
            "'plan', include => '{nope}'",
            "42703",
            "column \"nope\" of relation public.plan does not exist",
        ),
        (
            "'plan', exclude => '{nope}'",
            "42703",
            "column \"nope\" of relation public.plan does not exist",
        ),
        (
            "'plan', hash => '{nope}'",
            "42703",
            "column \"nope\" of relation public.plan does not exist",
        ),
        (
            "'plan', redact => '{id}'",
            "22023",
            "column \"id\" of relation public.plan cannot be redacted",
        ),
        (
            "'plan', hash => '{id}'",
            "22023",
            "column \"id\" of relation public.plan cannot be redacted",
        ),
        (
            "'plan', redact => '{note}', hash => '{note}'",
            "22023",
            "column \"note\" is in two lists",
        ),
        (
            "'plan', include => '{note}', exclude => '{note}'",
            "22023",
            "column \"note\" is in two lists",
        ),
        (
            "'plan', hash => '{NULL}'",
            "22004",
            "an element of hash must not be null",
        ),
        (
            "'pg_class'",
            "42809",
            "pg_catalog.pg_class is a system catalog or a table of tenant_guard",
        ),
        (
            "'tenant_guard.audit_log'",
            "42809",
            "tenant_guard.audit_log is a system catalog or a table of tenant_guard",
        ),
    ] {
        let call = format!("SELECT tenant_guard.audit({arguments})");
        expect_error(client.batch_execute(&call), code, message);
    }
    run(
        &mut client,
        "CREATE TABLE part (id int) PARTITION BY LIST (id); CREATE TABLE leaf PARTITION OF part DEFAULT",
    );
    expect_error(
        client.batch_execute("SELECT tenant_guard.audit('leaf')"),
        "42809",
        "public.leaf is a partition or child of public.part",
    );
    expect_error(
        client.batch_execute("SELECT tenant_guard.unaudit('part')"),
        "55000",
        "relation public.part is not audited by itself",
    );
}

#[test]
fn only_an_admin_who_owns_the_table_decides_what_is_captured() {
    let (db, mut client) = plans("");
    let (owner, admin) = (db.role("owner"), db.role("admin"));
    run(
        &mut client,
        &format!("ALTER TABLE plan OWNER TO {owner}; GRANT tenant_guard_admin TO {admin}"),
    );
    for call in ["audit('plan', redact => '{note}')", "unaudit('plan')"] {
        let call = format!("SELECT tenant_guard.{call}");
        expect_error(
            db.connect_as(&owner).batch_execute(&call),
            "42501",
            "permission denied for function",
        );
        expect_error(
            db.connect_as(&admin).batch_execute(&call),
            "42501",
            "must be owner of relation public.plan",
        );
    }
    run(&mut client, &format!("GRANT tenant_guard_admin TO {owner}"));
    run(
        &mut db.connect_as(&owner),
        "SELECT tenant_guard.unaudit('plan')",
    );
}

#[test]
fn triggers_of_an_audited_table_are_not_taken_off_beside_unaudit() {
    let (db, mut client) = plans("");
    let owner = db.role("owner");
    run(
        &mut client,
        &format!("ALTER TABLE plan OWNER TO {owner}; GRANT tenant_guard_admin TO {owner}"),
    );
    let mut session = db.connect_as(&owner);
    let name = "tenant_guard_capture";
    for (statement, what) in [
        (
            format!("DROP TRIGGER {name} ON plan"),
            format!("drop trigger \"{name}\""),
        ),
        (
            format!("ALTER TABLE plan DISABLE TRIGGER {name}"),
            format!("disable trigger \"{name}\""),
        ),
        (
            "ALTER TABLE plan DISABLE TRIGGER ALL".into(),
            "disable the triggers".into(),
        ),
        (
            format!("ALTER TABLE plan ENABLE TRIGGER {name}"),
            format!("change the firing of trigger \"{name}\""),
        ),
        (
            format!("ALTER TRIGGER {name} ON plan RENAME TO other"),
            format!("rename trigger \"{name}\""),
        ),
        (
            format!(
                "CREATE OR REPLACE TRIGGER {name} AFTER INSERT ON plan FOR EACH ROW
                 EXECUTE FUNCTION tenant_guard.capture('', '{{}}')"
            ),
            format!("replace trigger \"{name}\""),
        ),
    ] {
        expect_error(
            session.batch_execute(&statement),
            "42501",
            &format!("cannot {what} of audited relation public.plan"),
        );
    }
    run(
        &mut session,
        "CREATE POLICY tenant_guard_floor ON plan; DROP POLICY tenant_guard_floor ON plan;
         ALTER TABLE plan DISABLE ROW LEVEL SECURITY; SELECT tenant_guard.unaudit('plan')",
    );
}

#[test]
fn rule_of_a_protected_table_adds_to_what_protect_asked_for() {
    let db = database();
    let mut client = db.superuser();
    run(
        &mut client,
        "CREATE TABLE note (id int PRIMARY KEY, account_id text, a text, b text, c text);
         SELECT tenant_guard.protect('note', redact => '{a}');
         SELECT tenant_guard.audit('note', redact => '{b}', hash => '{a}');
         INSERT INTO note VALUES (1, 'x', 'a', 'b', 'c');
         SELECT tenant_guard.protect('note', redact => '{a}');
         INSERT INTO note VALUES (2, 'x', 'a', 'b', 'c');
         SELECT tenant_guard.unaudit('note');
         INSERT INTO note VALUES (3, 'x', 'a', 'b', 'c');
         SELECT tenant_guard.audit('note', exclude => '{b,c}');
         SELECT tenant_guard.unprotect('note');
         INSERT INTO note VALUES (4, 'x', 'a', 'b', 'c');
         SELECT tenant_guard.unaudit('note');
         INSERT INTO note VALUES (5, 'x', 'a', 'b', 'c')",
    );
    assert_eq!(
        lines(
            &mut client,
            "SELECT account_id, data, redacted, hashed FROM tenant_guard.audit_log
             WHERE kind = 'row' ORDER BY xid, ordinal"
        ),
        [
            r#"x|{"id":1,"account_id":"x","c":"c"}|{a,b}|<null>"#,
            r#"x|{"id":2,"account_id":"x","c":"c"}|{a,b}|<null>"#,
            r#"x|{"id":3,"account_id":"x","b":"b","c":"c"}|{a}|<null>"#,
            r#"|{"id":4,"account_id":"x","a":"a"}|<null>|<null>"#,
        ]
    );
    run(
        &mut client,
        "SELECT tenant_guard.protect('note', audit => false);
         SELECT tenant_guard.audit('note')",
    );
    run(&mut client, "INSERT INTO note VALUES (6, 'y')");
    expect_error(
        client.batch_execute("DROP TRIGGER tenant_guard_capture ON note"),
        "42501",
        "cannot drop trigger \"tenant_guard_capture\" of protected relation public.note",
    );
    let last = "SELECT account_id FROM tenant_guard.audit_log WHERE kind = 'row'
         ORDER BY xid DESC LIMIT 1";
    assert_eq!(lines(&mut client, last), ["y"]);
}

#[test]
fn column_generated_from_a_hashed_one_is_hashed() {
    let db = database();
    let mut client = db.superuser();
    run(
        &mut client,
        "CREATE TABLE person (id int PRIMARY KEY, email text,
             low text GENERATED ALWAYS AS (lower(email)) STORED);
         SELECT tenant_guard.audit('person', hash => '{email}');
         INSERT INTO person VALUES (1, 'Ann@example.org')",
    );
    let found = "SELECT data !~* 'ann@', hashed FROM tenant_guard.audit_log WHERE kind = 'row'";
    assert_eq!(lines(&mut client, found), ["t|{email,low}"]);
}

#[test]
fn merge_conflict_copy_and_deferred_triggers_each_give_their_events() {
    let (db, mut client) = plans(", include => '{id,name}', skip_unchanged => true");
    let merge = if db.has_merge() {
        "MERGE INTO plan AS p USING (VALUES (1, 'c'), (2, 'd')) AS v (id, name) ON p.id = v.id
             WHEN MATCHED THEN UPDATE SET name = v.name
             WHEN NOT MATCHED THEN INSERT (id, name) VALUES (v.id, v.name)"
    } else {
        "UPDATE plan SET name = 'c' WHERE id = 1; INSERT INTO plan (id, name) VALUES (2, 'd')"
    };
    let script = format!(
        "CREATE FUNCTION later() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN UPDATE plan SET name = name || '!' WHERE id = NEW.id; RETURN NULL; END $$;
         CREATE CONSTRAINT TRIGGER later AFTER INSERT ON plan DEFERRABLE INITIALLY DEFERRED
             FOR EACH ROW EXECUTE FUNCTION later();
         BEGIN;
         INSERT INTO plan (id, name) VALUES (1, 'a');
         INSERT INTO plan (id, name) VALUES (1, 'b') ON CONFLICT (id) DO UPDATE SET name = 'b';
         {merge};
         COMMIT"
    );
    run(&mut client, &script);
    let mut copy = client.copy_in("COPY plan (id, name) FROM STDIN").unwrap();
    std::io::Write::write_all(&mut copy, b"3\te\n").unwrap();
    copy.finish().unwrap();
    let found = rows(&mut client);
    let data: Vec<&str> = found
        .iter()
        .map(|row| row.split('|').nth(2).unwrap())
        .collect();
    assert_eq!(
        data,
        [
            r#"{"id":1,"name":"a"}"#,
            r#"{"old":{"name":"a"},"new":{"name":"b"}}"#,
            r#"{"old":{"name":"b"},"new":{"name":"c"}}"#,
            r#"{"id":2,"name":"d"}"#,
            r#"{"old":{"name":"c"},"new":{"name":"c!"}}"#,
            r#"{"old":{"name":"d"},"new":{"name":"d!"}}"#,
            r#"{"id":3,"name":"e"}"#,
            r#"{"old":{"name":"e"},"new":{"name":"e!"}}"#,
        ]
    );
}

#[test]
fn row_of_1600_columns_and_of_megabytes_is_whole() {
    let db = database();
    let mut client = db.superuser();
    run(
        &mut client,
        "DO $$ BEGIN
             EXECUTE (SELECT format('CREATE TABLE wide (%s)', string_agg(format('c%s int', n), ','))
                      FROM generate_series(1, 1600) AS n);
             PERFORM tenant_guard.audit('wide', hash => '{c7}', exclude => '{c9}');
             EXECUTE (SELECT format('INSERT INTO wide VALUES (%s)', string_agg(n::text, ','))
                      FROM generate_series(1, 1600) AS n);
         END $$;
         UPDATE wide SET c1600 = 0;
         CREATE TABLE large (id int PRIMARY KEY, body text);
         SELECT tenant_guard.audit('large', hash => '{}');
         INSERT INTO large SELECT 1, string_agg(md5(n::text), '') FROM generate_series(1, 100000) AS n;
         UPDATE large SET body = body || '.'",
    );
    let wide = "SELECT action, (SELECT count(*) FROM jsonb_object_keys(
                 CASE action WHEN 'insert' THEN data::jsonb ELSE data::jsonb -> 'new' END)), hashed
         FROM tenant_guard.audit_log WHERE relation = 'public.wide' AND kind = 'row' ORDER BY xid";
    assert_eq!(
        lines(&mut client, wide),
        ["insert|1599|{c7}", "update|1|<null>"]
    );
    let large = "SELECT l.action, data::jsonb ->> 'body' = left(t.body, -1),
             data::jsonb -> 'new' ->> 'body' = t.body
         FROM tenant_guard.audit_log AS l, large AS t
         WHERE relation = 'public.large' AND kind = 'row' ORDER BY xid";
    assert_eq!(
        lines(&mut client, large),
        ["insert|t|<null>", "update|<null>|t"]
    );
    run(&mut client, "SELECT tenant_guard.seal()");
    assert_eq!(
        lines(&mut client, "SELECT * FROM tenant_guard.verify_ledger()"),
        [""; 0]
    );
}

#[test]
fn rules_and_key_outlive_a_dump() {
    let (db, mut client) = plans(", hash => '{note}', truncate_rows => true");
    run(&mut client, "INSERT INTO plan (id, note) VALUES (1, 'x')");
    let copy = Database::empty();
    copy.restore(&db.pg_dump(&[]));
    let mut restored = copy.superuser();
    run(
        &mut restored,
        "SELECT tenant_guard.audit('plan', hash => '{note}', truncate_rows => true);
         INSERT INTO plan (id, note) VALUES (2, 'x'); TRUNCATE plan",
    );
    let hashes = "SELECT count(DISTINCT data::jsonb ->> 'note'), count(*)
         FROM tenant_guard.audit_log WHERE hashed IS NOT NULL";
    assert_eq!(lines(&mut restored, hashes), ["1|4"]);
}
