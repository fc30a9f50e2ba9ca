//! COPY FROM into protected relations: what an INSERT of the row could, and what it could not.

use std::io::Write;

use postgres::Transaction;
use tenant_guard_tests::{ACCOUNT_A, ACCOUNT_B, expect_error, lines};

use super::Shop;

/// Sends lines as the data of a COPY; the rows stored.
fn copy(t: &mut Transaction<'_>, statement: &str, data: &str) -> Result<u64, postgres::Error> {
    let mut writer = t.copy_in(statement)?;
    writer.write_all(data.as_bytes()).unwrap();
    writer.finish()
}

/// Copies in a transaction of account A, and expects it to be refused at this line.
#[track_caller]
fn refused(shop: &Shop, statement: &str, data: &str, message: &str, place: &str) {
    let mut session = shop.app();
    let mut t = session.transaction().unwrap();
    shop.issuer.sign_in(&mut t, ACCOUNT_A);
    let result = copy(&mut t, statement, data);
    let context = result
        .as_ref()
        .err()
        .and_then(|error| error.as_db_error()?.where_().map(str::to_owned));
    expect_error(result, "42501", message);
    let context = context.unwrap_or_default();
    assert!(context.contains(place), "{context}");
    drop(t);
    let all = format!(
        "SELECT count(*) FROM ({}) AS c",
        "SELECT FROM shop.contact WHERE id > 3"
    );
    assert_eq!(lines(&mut shop.db.superuser(), &all), ["0"]);
}

const NOT_YOURS: &str = "new row violates row-level security policy for table \"contact\"";

#[test]
fn rows_of_the_account_are_loaded_and_captured() {
    let shop = Shop::contacts();
    shop.within(ACCOUNT_A, |t| {
        let with_account = "COPY shop.contact FROM STDIN";
        let data = format!("4\t{ACCOUNT_A}\tann\n5\t{ACCOUNT_A}\t\\N\n");
        assert_eq!(copy(t, with_account, &data).unwrap(), 2);
        let by_default = "COPY shop.contact (id, name) FROM STDIN WITH (FORMAT csv)";
        assert_eq!(copy(t, by_default, "6,cy\n7,dee\n").unwrap(), 2);
        let filtered = "COPY shop.contact (id, name) FROM STDIN WHERE id <> 8";
        assert_eq!(copy(t, filtered, "8\teve\n9\tfay\n").unwrap(), 1);
        assert_eq!(lines(t, "SELECT count(*) FROM shop.contact"), ["7"]);
    });
    let captured = format!(
        "SELECT count(*) FROM tenant_guard.audit_log
         WHERE action = 'insert' AND account_id = '{ACCOUNT_A}'"
    );
    assert_eq!(lines(&mut shop.db.superuser(), &captured), ["5"]);
}

#[test]
fn row_of_another_account_is_refused_with_its_line() {
    let shop = Shop::contacts();
    let data = format!("4\t{ACCOUNT_A}\tann\n5\t{ACCOUNT_A}\tabe\n6\t{ACCOUNT_B}\tbob\n");
    refused(
        &shop,
        "COPY shop.contact FROM STDIN",
        &data,
        NOT_YOURS,
        "COPY contact, line 3",
    );
    let without = "4\t\\N\tann\n";
    refused(
        &shop,
        "COPY shop.contact FROM STDIN",
        without,
        NOT_YOURS,
        "COPY contact, line 1",
    );
}

#[test]
fn row_that_a_trigger_moves_to_another_account_is_refused_with_its_line() {
    let shop = Shop::contacts();
    shop.owner()
        .batch_execute(&format!(
            "CREATE FUNCTION shop.move() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 IF new.name = 'mallory' THEN new.account_id := '{ACCOUNT_B}'; END IF;
                 RETURN new; END $$;
             CREATE TRIGGER move BEFORE INSERT ON shop.contact
                 FOR EACH ROW EXECUTE FUNCTION shop.move()"
        ))
        .unwrap();
    let statement = "COPY shop.contact (id, name) FROM STDIN";
    refused(
        &shop,
        statement,
        "4\tann\n5\tmallory\n",
        NOT_YOURS,
        "COPY contact, line 2",
    );
    shop.within(ACCOUNT_A, |t| {
        let filtered = "COPY shop.contact (id, name) FROM STDIN WHERE name <> 'mallory'";
        assert_eq!(copy(t, filtered, "4\tann\n5\tmallory\n").unwrap(), 1);
    });
}

#[test]
fn rows_that_triggers_see_are_one_insert_and_a_failure_leaves_none() {
    let shop = Shop::contacts();
    shop.run(
        "CREATE TABLE shop.noted (what text); GRANT INSERT ON shop.noted TO PUBLIC;
         CREATE FUNCTION shop.note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             INSERT INTO shop.noted VALUES (TG_ARGV[0] || ' ' || TG_WHEN); RETURN new; END $$;
         CREATE FUNCTION shop.fill() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             IF new.name = 'skip' THEN RETURN NULL; END IF;
             new.seen := (SELECT count(*) FROM shop.contact); new.id := new.id * 10; RETURN new; END $$;
         CREATE SEQUENCE shop.labels; GRANT USAGE ON SEQUENCE shop.labels TO PUBLIC;
         ALTER TABLE shop.contact ADD seen int, ADD twice int GENERATED ALWAYS AS (id * 2) STORED,
             ADD label text DEFAULT 'l' || nextval('shop.labels');
         CREATE TRIGGER a BEFORE INSERT ON shop.contact FOR EACH STATEMENT EXECUTE FUNCTION shop.note('all');
         CREATE TRIGGER b AFTER INSERT ON shop.contact FOR EACH STATEMENT EXECUTE FUNCTION shop.note('all');
         CREATE TRIGGER c AFTER INSERT ON shop.contact FOR EACH ROW EXECUTE FUNCTION shop.note('row');
         CREATE TRIGGER d BEFORE INSERT ON shop.contact FOR EACH ROW EXECUTE FUNCTION shop.fill()",
    );
    let statement = "COPY shop.contact (id, name) FROM STDIN WHERE name <> 'none'";
    shop.within(ACCOUNT_A, |t| {
        let data = "4\tann\n5\tskip\n6\tnone\n7\tned\n";
        assert_eq!(copy(t, statement, data).unwrap(), 2);
        let rows = "SELECT id, name, seen, twice, label FROM shop.contact WHERE id > 3 ORDER BY id";
        // What a row's trigger reads includes the rows before it, as in COPY. Three labels went to the rows
        // that were there, two to those that are left out.
        assert_eq!(lines(t, rows), ["40|ann|2|80|l4", "70|ned|3|140|l7"]);
    });
    let noted = "SELECT what, count(*) FROM shop.noted GROUP BY 1 ORDER BY 1";
    let once = ["all AFTER|1", "all BEFORE|1", "row AFTER|2"];
    assert_eq!(lines(&mut shop.db.superuser(), noted), once);
    let mut session = shop.app();
    let mut t = session.transaction().unwrap();
    shop.issuer.sign_in(&mut t, ACCOUNT_A);
    let many: String = (100..1000).map(|id| format!("{id}\tx\n")).collect();
    let twice = copy(&mut t, statement, &format!("{many}100\tx\n"));
    let context = twice
        .as_ref()
        .err()
        .and_then(|error| error.as_db_error()?.where_().map(str::to_owned));
    expect_error(twice, "23505", "contact_pkey");
    let line = "COPY contact, line 901: \"100\tx\"";
    assert_eq!(context.as_deref(), Some(line));
    drop(t);
    assert_eq!(lines(&mut shop.db.superuser(), noted), once);
}

#[test]
fn rows_under_a_rule_become_an_insert_each() {
    let shop = Shop::contacts();
    shop.run(
        "CREATE TABLE shop.told (name text); GRANT INSERT ON shop.told TO PUBLIC;
         CREATE FUNCTION shop.same() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
         CREATE TRIGGER same BEFORE INSERT ON shop.contact FOR EACH ROW EXECUTE FUNCTION shop.same();
         CREATE RULE tell AS ON INSERT TO shop.contact DO ALSO INSERT INTO shop.told VALUES (new.name)",
    );
    shop.within(ACCOUNT_A, |t| {
        let statement = "COPY shop.contact (id, name) FROM STDIN";
        copy(t, statement, "4\tann\n5\tabe\n").unwrap();
    });
    let told = "SELECT name FROM shop.told ORDER BY 1";
    assert_eq!(lines(&mut shop.db.superuser(), told), ["abe", "ann"]);
}

#[test]
fn child_is_loaded_under_its_own_parents_alone() {
    let shop = Shop::with(&format!(
        "CREATE TABLE shop.thread (id int PRIMARY KEY, account_id uuid);
         CREATE TABLE shop.message (id int GENERATED ALWAYS AS IDENTITY, thread_id int
             REFERENCES shop.thread, twice int GENERATED ALWAYS AS (thread_id * 2) STORED);
         INSERT INTO shop.thread VALUES (1, '{ACCOUNT_A}'), (2, '{ACCOUNT_B}');
         SELECT tenant_guard.protect('shop.thread');
         SELECT tenant_guard.protect('shop.message', via => 'thread_id')"
    ));
    shop.within(ACCOUNT_A, |t| {
        assert_eq!(
            copy(t, "COPY shop.message (thread_id) FROM STDIN", "1\n1\n").unwrap(),
            2
        );
        assert_eq!(
            copy(t, "COPY shop.message (id, thread_id) FROM STDIN", "7\t1\n").unwrap(),
            1
        );
        let rows = "SELECT id, thread_id, twice FROM shop.message ORDER BY 1";
        assert_eq!(lines(t, rows), ["1|1|2", "2|1|2", "7|1|2"]);
    });
    let mut session = shop.app();
    let mut t = session.transaction().unwrap();
    shop.issuer.sign_in(&mut t, ACCOUNT_A);
    let stolen = copy(&mut t, "COPY shop.message (thread_id) FROM STDIN", "1\n2\n");
    let message = "new row violates row-level security policy for table \
                   \"message\"";
    expect_error(stolen, "42501", message);
}

#[test]
fn partitions_are_loaded_through_their_parent() {
    let shop = Shop::with(
        "CREATE TABLE shop.message (account_id uuid, at date) PARTITION BY RANGE (at);
         CREATE TABLE shop.message_1 PARTITION OF shop.message
             FOR VALUES FROM ('2024-01-01') TO ('2024-02-01');
         CREATE TABLE shop.message_2 PARTITION OF shop.message
             FOR VALUES FROM ('2024-02-01') TO ('2024-03-01');
         SELECT tenant_guard.protect('shop.message')",
    );
    shop.within(ACCOUNT_A, |t| {
        let data = "2024-01-05\n2024-02-05\n";
        assert_eq!(
            copy(t, "COPY shop.message (at) FROM STDIN", data).unwrap(),
            2
        );
        assert_eq!(
            copy(t, "COPY shop.message_2 (at) FROM STDIN", "2024-02-06\n").unwrap(),
            1
        );
        assert_eq!(lines(t, "SELECT count(*) FROM shop.message"), ["3"]);
    });
}

#[test]
fn loading_without_identity_is_refused() {
    let shop = Shop::contacts();
    let mut session = shop.app();
    // Signing in once loads the library into the session.
    let mut first = session.transaction().unwrap();
    shop.issuer.sign_in(&mut first, ACCOUNT_A);
    first.commit().unwrap();
    for columns in ["(id, name)", "(id, account_id)"] {
        let mut t = session.transaction().unwrap();
        let data = format!("4\t{ACCOUNT_A}\n");
        let result = copy(
            &mut t,
            &format!("COPY shop.contact {columns} FROM STDIN"),
            &data,
        );
        expect_error(result, "28000", "no identity is bound to this transaction");
    }
}

#[test]
fn loading_without_the_right_to_insert_is_refused() {
    let shop = Shop::contacts();
    let mut superuser = shop.db.superuser();
    superuser
        .batch_execute(&format!(
            "REVOKE INSERT ON shop.contact FROM {0}; GRANT INSERT (id, account_id) ON shop.contact TO {0}",
            shop.app
        ))
        .unwrap();
    shop.within(ACCOUNT_A, |t| {
        assert_eq!(
            copy(t, "COPY shop.contact (id) FROM STDIN", "4\n").unwrap(),
            1
        );
    });
    let mut session = shop.app();
    let mut t = session.transaction().unwrap();
    shop.issuer.sign_in(&mut t, ACCOUNT_A);
    let result = copy(&mut t, "COPY shop.contact (id, name) FROM STDIN", "5\tx\n");
    expect_error(result, "42501", "permission denied for table contact");
}

#[test]
fn reading_columns_in_where_needs_the_right_to_select_them() {
    let shop = Shop::contacts();
    let mut superuser = shop.db.superuser();
    superuser
        .batch_execute(&format!(
            "REVOKE SELECT ON shop.contact FROM {0}; GRANT SELECT (id) ON shop.contact TO {0}",
            shop.app
        ))
        .unwrap();
    shop.within(ACCOUNT_A, |t| {
        let statement = "COPY shop.contact (id) FROM STDIN WHERE id > 4";
        assert_eq!(copy(t, statement, "4\n5\n").unwrap(), 1);
    });
    let mut session = shop.app();
    let mut t = session.transaction().unwrap();
    shop.issuer.sign_in(&mut t, ACCOUNT_A);
    let statement = "COPY shop.contact (id) FROM STDIN WHERE account_id IS NOT NULL";
    let result = copy(&mut t, statement, "6\n");
    expect_error(result, "42501", "permission denied for table contact");
}

#[test]
fn rows_become_inserts_with_the_right_to_the_columns_read_alone() {
    let shop = Shop::with(&format!(
        "CREATE TABLE shop.thread (id int PRIMARY KEY, account_id uuid);
         CREATE TABLE shop.message (id int GENERATED ALWAYS AS IDENTITY, thread_id int
             REFERENCES shop.thread, note text DEFAULT 'new');
         INSERT INTO shop.thread VALUES (1, '{ACCOUNT_A}');
         SELECT tenant_guard.protect('shop.thread');
         SELECT tenant_guard.protect('shop.message', via => 'thread_id')"
    ));
    let mut superuser = shop.db.superuser();
    superuser
        .batch_execute(&format!(
            "REVOKE INSERT ON shop.message FROM {0}; GRANT INSERT (thread_id) ON shop.message TO {0}",
            shop.app
        ))
        .unwrap();
    shop.within(ACCOUNT_A, |t| {
        let statement = "COPY shop.message (thread_id) FROM STDIN
             WHERE tableoid = 'shop.message'::regclass";
        assert_eq!(copy(t, statement, "1\n1\n").unwrap(), 2);
        let rows = "SELECT thread_id, note FROM shop.message";
        assert_eq!(lines(t, rows), ["1|new", "1|new"]);
    });
}

#[test]
fn rows_become_inserts_within_the_columns_a_role_of_the_product_may_have() {
    let shop = Shop::with(&format!(
        "CREATE TABLE shop.thread (id int PRIMARY KEY, account_id uuid);
         CREATE TABLE shop.message (thread_id int REFERENCES shop.thread, note text DEFAULT 'new');
         INSERT INTO shop.thread VALUES (1, '{ACCOUNT_A}');
         SELECT tenant_guard.protect('shop.thread');
         SELECT tenant_guard.protect('shop.message', via => 'thread_id');
         SELECT tenant_guard.define_role('clerk');
         SELECT tenant_guard.allow('clerk', 'shop.message', '{{insert}}', columns => '{{thread_id}}')"
    ));
    let act_as = "tenant_guard.act_as(text, text, text[], text)";
    shop.db
        .superuser()
        .batch_execute(&format!(
            "GRANT EXECUTE ON FUNCTION {act_as} TO {}",
            shop.app
        ))
        .unwrap();
    let mut session = shop.app();
    let mut t = session.transaction().unwrap();
    t.batch_execute(&format!(
        "SELECT tenant_guard.act_as('{ACCOUNT_A}', 'clara', '{{clerk}}', 'loading')"
    ))
    .unwrap();
    let statement = "COPY shop.message (thread_id) FROM STDIN";
    assert_eq!(copy(&mut t, statement, "1\n").unwrap(), 1);
    let statement = "COPY shop.message FROM STDIN";
    let denied = copy(&mut t, statement, "1\told\n").unwrap_err();
    assert_eq!(denied.code().unwrap().code(), "42501");
}

#[test]
fn operator_of_an_ordinary_role_is_never_run_in_the_name_of_the_extension() {
    let shop = Shop::contacts();
    let (database, mallory) = (shop.db.name(), shop.db.role("mallory"));
    shop.db
        .superuser()
        .batch_execute(&format!("GRANT CREATE ON DATABASE {database} TO {mallory}"))
        .unwrap();
    let mut session = shop.db.connect_as(&mallory);
    session
        .batch_execute(
            "CREATE SCHEMA mallory;
             CREATE FUNCTION mallory.grab(regclass, oid) RETURNS boolean LANGUAGE plpgsql AS $$
                 BEGIN RAISE EXCEPTION 'run by %', current_user; END $$;
             CREATE OPERATOR mallory.= (
                 LEFTARG = regclass, RIGHTARG = oid, FUNCTION = mallory.grab);
             CREATE TABLE mallory.t (a int);
             ALTER TABLE mallory.t ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
             SET search_path = mallory, pg_catalog;
             SELECT tenant_guard.is_authenticated()",
        )
        .unwrap();
    let mut t = session.transaction().unwrap();
    expect_error(
        copy(&mut t, "COPY mallory.t FROM STDIN", "1\n"),
        "0A000",
        "COPY FROM not supported with row-level security",
    );
}

#[test]
fn row_security_switched_off_is_an_error_for_who_has_the_right_to_insert() {
    let shop = Shop::contacts();
    shop.run(&format!(
        "CREATE TABLE shop.foreign (a int); ALTER TABLE shop.foreign ENABLE ROW LEVEL SECURITY;
         REVOKE ALL ON shop.foreign FROM {}",
        shop.app
    ));
    let tried = |relation: &str| {
        let mut session = shop.app();
        let mut t = session.transaction().unwrap();
        shop.issuer.sign_in(&mut t, ACCOUNT_A);
        t.batch_execute("SET LOCAL row_security = off").unwrap();
        copy(&mut t, &format!("COPY {relation} FROM STDIN"), "")
    };
    expect_error(
        tried("shop.contact"),
        "42501",
        "query would be affected by row-level security policy for table \"contact\"",
    );
    shop.run(&format!("REVOKE INSERT ON shop.contact FROM {}", shop.app));
    let denied = |relation| format!("permission denied for table {relation}");
    expect_error(tried("shop.contact"), "42501", &denied("contact"));
    expect_error(tried("shop.foreign"), "42501", &denied("foreign"));
}

#[test]
fn loading_in_a_read_only_transaction_is_refused() {
    let shop = Shop::contacts();
    let mut session = shop.app();
    let mut t = session.build_transaction().read_only(true).start().unwrap();
    shop.issuer.sign_in(&mut t, ACCOUNT_A);
    let result = copy(&mut t, "COPY shop.contact (id, name) FROM STDIN", "5\tx\n");
    expect_error(
        result,
        "25006",
        "cannot execute COPY FROM in a read-only transaction",
    );
}

#[test]
fn files_of_the_server_and_tables_of_others_are_left_to_postgresql() {
    let shop = Shop::contacts();
    let mut superuser = shop.db.superuser();
    superuser
        .batch_execute(&format!(
            "CREATE TABLE public.own (a int); ALTER TABLE public.own ENABLE ROW LEVEL SECURITY;
             CREATE POLICY p ON public.own USING (true); GRANT ALL ON public.own TO {0};
             GRANT pg_read_server_files TO {0}",
            shop.app
        ))
        .unwrap();
    for statement in [
        "COPY shop.contact FROM '/dev/null'",
        "COPY public.own FROM STDIN",
    ] {
        let mut session = shop.app();
        let mut t = session.transaction().unwrap();
        shop.issuer.sign_in(&mut t, ACCOUNT_A);
        let result = t.batch_execute(statement);
        expect_error(
            result,
            "0A000",
            "COPY FROM not supported with row-level security",
        );
    }
    // In every database of the cluster it would be found.
    superuser
        .batch_execute(&format!("REVOKE pg_read_server_files FROM {}", shop.app))
        .unwrap();
}

#[test]
fn policy_over_what_is_not_stored_yet_judges_the_stored_row() {
    let shop = Shop::with(
        "CREATE TABLE shop.t (account_id uuid, a int, twice int GENERATED ALWAYS AS (a * 2) STORED);
         SELECT tenant_guard.protect('shop.t');
         CREATE POLICY small ON shop.t AS RESTRICTIVE FOR INSERT WITH CHECK (twice < 10)",
    );
    shop.within(ACCOUNT_A, |t| {
        assert_eq!(copy(t, "COPY shop.t (a) FROM STDIN", "1\n4\n").unwrap(), 2);
    });
    let mut session = shop.app();
    let mut t = session.transaction().unwrap();
    shop.issuer.sign_in(&mut t, ACCOUNT_A);
    let message = "new row violates row-level security policy \"small\" for table \"t\"";
    expect_error(
        copy(&mut t, "COPY shop.t (a) FROM STDIN", "1\n5\n"),
        "42501",
        message,
    );
}

#[test]
fn errors_of_other_statements_keep_all_they_say() {
    let shop = Shop::contacts();
    shop.owner()
        .batch_execute(
            "CREATE FUNCTION shop.fail() RETURNS void LANGUAGE plpgsql AS $$ BEGIN
                 PERFORM 1 / 0; END $$",
        )
        .unwrap();
    shop.within(ACCOUNT_A, |t| {
        let mut said = |statement: &str| {
            let mut inner = t.transaction().unwrap();
            let error = inner.batch_execute(statement).unwrap_err();
            error.as_db_error().cloned().unwrap()
        };
        let context = said("DO $$ BEGIN PERFORM shop.fail(); END $$");
        assert_eq!(context.code().code(), "22012");
        assert_eq!(
            context.where_().unwrap(),
            "SQL statement \"SELECT 1 / 0\"\n\
             PL/pgSQL function shop.fail() line 2 at PERFORM\n\
             SQL statement \"SELECT shop.fail()\"\n\
             PL/pgSQL function inline_code_block line 1 at PERFORM"
        );
        let names =
            said("PREPARE again AS INSERT INTO shop.contact (id) VALUES (1); EXECUTE again");
        assert_eq!(names.code().code(), "23505");
        let named = (names.schema(), names.table(), names.constraint());
        assert_eq!(named, (Some("shop"), Some("contact"), Some("contact_pkey")));
    });
}
