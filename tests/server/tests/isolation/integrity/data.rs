//! What check_data() finds in rows, and that it finds it whoever made them.

use tenant_guard_tests::{ACCOUNT_A, ACCOUNT_B, expect_error, lines};

use super::super::Shop;

pub(super) const CHECK: &str = "SELECT severity, code, object, detail, count, sample
    FROM tenant_guard.check_data() ORDER BY code, object, detail";
pub(super) const FOUND: &str = "SELECT severity, code, object, detail, count, sample
    FROM tenant_guard.data_check_finding ORDER BY code, object, detail";

/// Two accounts that exist, and rows of them: contact 1 is A's, contact 2 is B's.
pub(super) fn shop(ddl: &str) -> Shop {
    Shop::with(&format!(
        "CREATE TABLE shop.account (id uuid PRIMARY KEY);
         CREATE TABLE shop.contact (id int PRIMARY KEY, account_id uuid);
         CREATE TABLE shop.booking (id int PRIMARY KEY, account_id uuid,
             contact_id int CONSTRAINT k REFERENCES shop.contact);
         INSERT INTO shop.account VALUES ('{ACCOUNT_A}'), ('{ACCOUNT_B}');
         INSERT INTO shop.contact VALUES (1, '{ACCOUNT_A}'), (2, '{ACCOUNT_B}');
         INSERT INTO shop.booking VALUES (10, '{ACCOUNT_A}', 1);
         {ddl};
         SELECT tenant_guard.protect('shop.account', 'id'), tenant_guard.protect_schema('shop')"
    ))
}

pub(super) fn found(shop: &Shop) -> Vec<String> {
    lines(&mut shop.owner(), CHECK)
}

pub(super) fn damage(shop: &Shop, statements: &str) {
    let mut superuser = shop.db.superuser();
    superuser
        .batch_execute("SET session_replication_role = replica")
        .unwrap();
    superuser.batch_execute(statements).unwrap();
}

#[test]
fn sound_rows_give_no_finding() {
    let shop = shop("");
    assert_eq!(found(&shop), [""; 0]);
}

#[test]
fn rows_that_a_valid_key_lets_point_into_another_account_are_counted() {
    let shop = shop("");
    damage(
        &shop,
        &format!(
            "INSERT INTO shop.booking
                 SELECT n, '{ACCOUNT_A}', 2 FROM generate_series(11, 17) AS n;
             INSERT INTO shop.booking VALUES (20, '{ACCOUNT_B}', 99)"
        ),
    );
    assert_eq!(
        found(&shop),
        [
            "error|reference-dangling|shop.booking|rows refer to no row of shop.contact by foreign \
             key \"k\" (contact_id), marked valid|1|{20}",
            "error|reference-foreign-account|shop.booking|rows refer to rows of shop.contact of \
             another account by foreign key \"k\" (contact_id), marked valid|7|{11,12,13,14,15}",
        ]
    );
}

#[test]
fn a_column_that_only_looks_like_a_reference_is_said_to_be_inferred() {
    let shop = shop(
        "ALTER TABLE shop.booking DROP CONSTRAINT k;
         ALTER TABLE shop.contact ADD COLUMN booking_id bigint",
    );
    damage(
        &shop,
        "UPDATE shop.booking SET contact_id = 2; UPDATE shop.contact SET booking_id = 10",
    );
    assert_eq!(
        found(&shop),
        [
            "warning|reference-foreign-account|shop.booking|rows refer to rows of shop.contact of \
          another account by column contact_id, inferred from its name and type|1|{10}"
        ]
    );
}

#[test]
fn rows_of_nobodys_account_are_found() {
    let shop = shop("");
    let mut owner = shop.owner();
    owner
        .batch_execute(
            "SELECT tenant_guard.set_account_relation('shop.account', 'id');
             SELECT tenant_guard.protect('shop.contact', archetype => 'shared_defaults')",
        )
        .unwrap();
    damage(
        &shop,
        "INSERT INTO shop.booking VALUES (11, 'cccccccc-cccc-4ccc-8ccc-cccccccccccc');
         INSERT INTO shop.contact VALUES (3, NULL)",
    );
    let mut unguarded = shop.unguarded();
    unguarded
        .batch_execute(
            "ALTER TABLE shop.booking ALTER account_id DROP NOT NULL;
             INSERT INTO shop.booking VALUES (12, NULL)",
        )
        .unwrap();
    assert_eq!(
        found(&shop),
        [
            "error|account-missing|shop.booking|rows without an account|1|{12}",
            "error|account-unknown|shop.booking|rows of accounts that the declared relation of \
             accounts does not have|1|{11}",
        ]
    );
}

#[test]
fn an_account_without_its_settings_is_named() {
    let shop = shop("CREATE TABLE shop.settings (account_id uuid PRIMARY KEY)");
    let mut owner = shop.owner();
    owner
        .batch_execute(
            "SELECT tenant_guard.set_account_relation('shop.account', 'id');
             SELECT tenant_guard.require_account_row('shop.settings')",
        )
        .unwrap();
    damage(
        &shop,
        &format!("INSERT INTO shop.settings VALUES ('{ACCOUNT_A}')"),
    );
    assert_eq!(
        found(&shop),
        [format!(
            "warning|account-row-missing|shop.settings|accounts without a row in a relation where \
             each has one|1|{{{ACCOUNT_B}}}"
        )]
    );
    owner
        .batch_execute("SELECT tenant_guard.require_account_row('shop.settings', false)")
        .unwrap();
    assert_eq!(found(&shop), [""; 0]);
}

#[test]
fn a_path_in_another_accounts_folder_is_found() {
    let shop = shop("CREATE TABLE shop.file (name text, account_id uuid)");
    let mut owner = shop.owner();
    owner
        .batch_execute("SELECT tenant_guard.declare_path('shop.file', 'name', 'docs/{account}')")
        .unwrap();
    damage(
        &shop,
        &format!(
            "INSERT INTO shop.file (name, account_id) VALUES
                 ('docs/{ACCOUNT_A}/a', '{ACCOUNT_A}'), ('docs/{ACCOUNT_B}/a', '{ACCOUNT_A}'),
                 ('docs/{ACCOUNT_A}/../{ACCOUNT_B}/a', '{ACCOUNT_A}'), (NULL, '{ACCOUNT_A}')"
        ),
    );
    assert_eq!(
        found(&shop),
        [
            "error|path-foreign-account|shop.file|paths in column name are not the account's: \
          docs/{account}|2|{\"(0,2)\",\"(0,3)\"}"
        ]
    );
    let declare =
        |template| format!("SELECT tenant_guard.declare_path('shop.file', 'name', '{template}')");
    expect_error(
        owner.batch_execute(&declare("docs/")),
        "22023",
        "a segment of a path must not be empty",
    );
    expect_error(
        owner.batch_execute("SELECT tenant_guard.declare_path('shop.file', 'nome', '{account}')"),
        "42703",
        "column \"nome\" of relation shop.file does not exist",
    );
    expect_error(
        owner.batch_execute(
            "SELECT tenant_guard.declare_path('shop.file', 'account_id', '{account}')",
        ),
        "42804",
        "is not of type text",
    );
}

#[test]
fn children_and_parents_of_several_types_are_followed() {
    let shop = shop("");
    shop.run(
        "CREATE TABLE shop.line (id int PRIMARY KEY, booking_id int REFERENCES shop.booking,
             contact_id int CONSTRAINT c REFERENCES shop.contact);
         CREATE TABLE shop.note (id int PRIMARY KEY, about int, kind text);
         SELECT tenant_guard.protect('shop.line', via => 'booking_id'),
             tenant_guard.protect('shop.note', via => 'about', type_column => 'kind',
                 parents => '{\"contact\": \"shop.contact\", \"line\": \"shop.line\"}')",
    );
    damage(
        &shop,
        "INSERT INTO shop.line VALUES (1, 10, 1), (2, 10, 2);
         INSERT INTO shop.note VALUES (1, 1, 'contact'), (2, 2, 'line'), (3, 3, 'line'), (4, 3, 'x')",
    );
    assert_eq!(
        found(&shop),
        [
            "warning|reference-dangling|shop.note|rows refer to no row of shop.line by column about, \
             through which they find their account|1|{3}",
            "error|reference-foreign-account|shop.line|rows refer to rows of shop.contact of another \
             account by foreign key \"c\" (contact_id), marked valid|1|{2}",
        ]
    );
}

#[test]
fn a_kind_that_its_type_no_longer_knows_is_no_rows_kind() {
    let shop = shop("");
    shop.run(
        "CREATE TYPE shop.kind AS ENUM ('contact', 'booking');
         CREATE TABLE shop.note (id int PRIMARY KEY, about int, kind shop.kind);
         SELECT tenant_guard.protect('shop.note', via => 'about', type_column => 'kind',
             parents => '{\"contact\": \"shop.contact\", \"booking\": \"shop.booking\"}');
         ALTER TYPE shop.kind RENAME VALUE 'booking' TO 'visit'",
    );
    damage(
        &shop,
        "INSERT INTO shop.note VALUES (1, 1, 'contact'), (2, 99, 'contact')",
    );
    assert_eq!(
        found(&shop),
        [
            "warning|reference-dangling|shop.note|rows refer to no row of shop.contact by column \
             about, through which they find their account|1|{2}",
            "info|reference-not-compared|shop.note|values of a type that is not compared lead to \
             shop.booking by column about, through which they find their account|0|{}",
        ]
    );
}

#[test]
fn a_day_is_no_number_of_microseconds() {
    let shop = shop(
        "CREATE TABLE shop.slot (at timestamp PRIMARY KEY, account_id uuid);
         CREATE TABLE shop.visit (day date PRIMARY KEY, account_id uuid,
             contact_id int CONSTRAINT c REFERENCES shop.contact,
             FOREIGN KEY (day) REFERENCES shop.slot)",
    );
    damage(
        &shop,
        &format!(
            "INSERT INTO shop.slot VALUES ('2026-01-01', '{ACCOUNT_A}');
             INSERT INTO shop.visit VALUES ('2026-01-01', '{ACCOUNT_A}', 2)"
        ),
    );
    assert_eq!(
        found(&shop),
        [
            "error|reference-foreign-account|shop.visit|rows refer to rows of shop.contact of another \
             account by foreign key \"c\" (contact_id), marked valid|1|{2026-01-01}",
            "info|reference-not-compared|shop.visit|values of a type that is not compared lead to \
             shop.slot by foreign key \"visit_day_fkey\" (day), marked valid|0|{}",
        ]
    );
}

#[test]
fn code_of_a_tables_owner_is_not_run() {
    let shop = shop(
        "CREATE FUNCTION shop.bad(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
             'BEGIN IF current_setting(''test.armed'', true) = ''on'' THEN RAISE ''was run'';
                 END IF; RETURN $1; END';
         CREATE INDEX ON shop.contact (shop.bad(id));
         CREATE POLICY p ON shop.contact USING (shop.bad(id) > 0)",
    );
    let mut superuser = shop.db.superuser();
    superuser.batch_execute("SET test.armed = 'on'").unwrap();
    expect_error(
        superuser.batch_execute("SELECT FROM shop.contact WHERE shop.bad(id) = 1"),
        "P0001",
        "was run",
    );
    superuser.batch_execute(CHECK).unwrap();
    superuser
        .batch_execute("CALL tenant_guard.check_data_in_pieces()")
        .unwrap();
}

#[test]
fn pieces_find_what_the_whole_finds_and_say_how_far_they_are() {
    let shop = shop("");
    damage(
        &shop,
        &format!(
            "INSERT INTO shop.booking
                 SELECT n, '{ACCOUNT_A}', 1 + (n % 1000 = 0)::int FROM generate_series(11, 9999) AS n"
        ),
    );
    let whole = found(&shop);
    assert_eq!(whole.len(), 1);
    assert!(
        whole[0].ends_with("|9|{1000,2000,3000,4000,5000}"),
        "{whole:?}"
    );
    let mut owner = shop.owner();
    owner
        .batch_execute("CALL tenant_guard.check_data_in_pieces(blocks => 3)")
        .unwrap();
    assert_eq!(lines(&mut owner, FOUND), whole);
    let progress = "SELECT relation, done = blocks, finished FROM tenant_guard.check_data_progress
        ORDER BY relation::text";
    assert_eq!(
        lines(&mut owner, progress),
        ["shop.account|t|t", "shop.booking|t|t", "shop.contact|t|t"]
    );
    owner
        .batch_execute("CALL tenant_guard.check_data_in_pieces(resume => true)")
        .unwrap();
    assert_eq!(lines(&mut owner, FOUND), whole);
}

#[test]
fn a_run_that_was_cut_off_goes_on_where_it_stopped() {
    let shop = shop("");
    damage(
        &shop,
        &format!(
            "INSERT INTO shop.booking
                 SELECT n, '{ACCOUNT_A}', 1 + (n % 1000 = 0)::int FROM generate_series(11, 9999) AS n"
        ),
    );
    let whole = found(&shop);
    // Somebody else's lock stops it before the second table.
    let mut superuser = shop.db.superuser();
    let mut open = superuser.transaction().unwrap();
    open.batch_execute("LOCK TABLE shop.contact").unwrap();
    let mut owner = shop.owner();
    owner.batch_execute("SET lock_timeout = '100ms'").unwrap();
    let call = "CALL tenant_guard.check_data_in_pieces(blocks => 3)";
    expect_error(owner.batch_execute(call), "55P03", "lock timeout");
    // The run is let go of after the error was sent.
    owner.batch_execute("SELECT").unwrap();
    open.rollback().unwrap();
    // Half of a table is done.
    let mut superuser = shop.db.superuser();
    superuser
        .batch_execute("CALL tenant_guard.check_data_in_pieces(blocks => 3)")
        .unwrap();
    superuser
        .batch_execute(
            "UPDATE tenant_guard.data_check SET finished = false, done = 30
             WHERE relation = 'shop.booking'::regclass;
             UPDATE tenant_guard.data_check_finding SET count = 5",
        )
        .unwrap();
    owner
        .batch_execute("CALL tenant_guard.check_data_in_pieces(resume => true, blocks => 7)")
        .unwrap();
    let again = lines(
        &mut owner,
        "SELECT count FROM tenant_guard.data_check_finding",
    );
    let rest = lines(
        &mut superuser,
        "SELECT 5 + count(*) FROM shop.booking WHERE contact_id = 2 AND ctid >= '(30,0)'",
    );
    assert_eq!(again, rest);
    assert_eq!(whole.len(), 1);
}

#[test]
fn what_is_referred_to_is_looked_at_in_parts_where_memory_is_small() {
    let shop = shop("");
    damage(
        &shop,
        &format!(
            "INSERT INTO shop.contact SELECT n, '{ACCOUNT_A}' FROM generate_series(3, 70000) AS n;
             INSERT INTO shop.booking SELECT n, '{ACCOUNT_A}', n FROM generate_series(11, 70000) AS n;
             UPDATE shop.contact SET account_id = '{ACCOUNT_B}' WHERE id % 7000 = 0"
        ),
    );
    let mut owner = shop.owner();
    let whole = lines(&mut owner, CHECK);
    owner
        .batch_execute("SET maintenance_work_mem = '1MB'")
        .unwrap();
    let parts = lines(&mut owner, CHECK);
    assert!(whole[0].contains("marked valid|10|"), "{whole:?}");
    assert!(parts[0].contains("marked valid|10|"), "{parts:?}");
    owner
        .batch_execute("CALL tenant_guard.check_data_in_pieces(blocks => 100)")
        .unwrap();
    assert!(lines(&mut owner, FOUND)[0].contains("marked valid|10|"));
    let parts = "SELECT parts > 1 FROM tenant_guard.data_check
        WHERE relation = 'shop.booking'::regclass";
    assert_eq!(lines(&mut shop.db.superuser(), parts), ["t"]);
}

#[test]
fn keys_of_other_accounts_are_shown_to_the_admin_alone() {
    let shop = shop("");
    let auditor = shop.db.role("auditor");
    shop.db
        .superuser()
        .batch_execute(&format!("GRANT tenant_guard_auditor TO {auditor}"))
        .unwrap();
    let call = "CALL tenant_guard.check_data_in_pieces()";
    for mut session in [shop.app(), shop.db.connect_as(&auditor)] {
        expect_error(
            session.batch_execute(CHECK),
            "42501",
            "permission denied for function",
        );
        expect_error(
            session.batch_execute(call),
            "42501",
            "permission denied for procedure",
        );
        expect_error(
            session.batch_execute(FOUND),
            "42501",
            "permission denied for table",
        );
    }
    expect_error(
        shop.owner().batch_execute(&format!("BEGIN; {call}")),
        "25001",
        "check_data_in_pieces() cannot run inside a transaction block",
    );
    expect_error(
        shop.owner()
            .batch_execute("CALL tenant_guard.check_data_in_pieces(blocks => 0)"),
        "22023",
        "blocks does not fit: a piece has at least one",
    );
}
