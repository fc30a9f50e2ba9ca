//! check(): every broken fixture is found by its code, and its fix, pasted, mends it.

use tenant_guard_tests::{ACCOUNT_A, Database, expect_error, lines};

use super::Shop;

mod acceptance;
mod broken;
mod server;
mod sound;

/// A schema in which everything is as it should be.
fn sound() -> Shop {
    sound_in(Database::new())
}

/// The same in a database of some cluster.
fn sound_in(db: Database) -> Shop {
    let shop = Shop::of(db);
    let ddl = format!(
        "CREATE TABLE shop.account (id uuid PRIMARY KEY);
         CREATE TABLE shop.contact (id int PRIMARY KEY, account_id uuid REFERENCES shop.account,
             name text, UNIQUE (account_id, id));
         CREATE TABLE shop.booking (id int PRIMARY KEY, account_id uuid, contact_id int,
             FOREIGN KEY (account_id, contact_id) REFERENCES shop.contact (account_id, id));
         CREATE TABLE shop.message (account_id uuid, at date) PARTITION BY RANGE (at);
         CREATE TABLE shop.message_1 PARTITION OF shop.message
             FOR VALUES FROM ('2024-01-01') TO ('2024-02-01');
         CREATE VIEW shop.names WITH (security_invoker) AS SELECT name FROM shop.contact;
         CREATE TABLE shop.currency (code text PRIMARY KEY);
         INSERT INTO shop.account VALUES ('{ACCOUNT_A}');
         SELECT tenant_guard.protect('shop.account', 'id');
         SELECT tenant_guard.protect_schema('shop')"
    );
    shop.owner().batch_execute(&ddl).unwrap();
    shop.owner()
        .batch_execute(&format!("GRANT SELECT ON shop.names TO {}", shop.app))
        .unwrap();
    shop
}

/// A script of tests/schemas, as it is meant for this database.
fn script(shop: &Shop, text: &str) -> String {
    text.replace("ITSOWNER", &shop.owner)
        .replace("APP", &shop.app)
        .replace("DB", shop.db.name())
}

/// The names of the scripts of a directory of tests/schemas.
fn scripts(directory: &str) -> Vec<String> {
    let directory = format!("{}/../schemas/{directory}", env!("CARGO_MANIFEST_DIR"));
    let name = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.unwrap().path();
        path.file_stem().unwrap().to_str().unwrap().to_owned()
    };
    let mut names: Vec<_> = std::fs::read_dir(directory).unwrap().map(name).collect();
    names.sort();
    names
}

fn findings(shop: &Shop) -> Vec<String> {
    shop.check("severity, code, object")
}

/// Breaks a sound schema, expects exactly these findings, pastes every fix, expects none.
#[track_caller]
fn found_and_mended(breakage: &str, expected: &[&str]) {
    let shop = sound();
    assert_eq!(findings(&shop), [""; 0]);
    let named = |text: &str| {
        text.replace("APP", &shop.app)
            .replace("ITSOWNER", &shop.owner)
    };
    shop.unguarded().batch_execute(&named(breakage)).unwrap();
    let expected: Vec<_> = expected.iter().map(|line| named(line)).collect();
    assert_eq!(findings(&shop), expected);
    let mut superuser = shop.db.superuser();
    for fix in shop.check("DISTINCT fix") {
        superuser.batch_execute(&fix).unwrap();
    }
    assert_eq!(findings(&shop), [""; 0]);
}

#[test]
fn row_01_owner_is_not_forced() {
    found_and_mended(
        "ALTER TABLE shop.contact NO FORCE ROW LEVEL SECURITY;
         CREATE TABLE public.other (); ALTER TABLE public.other ENABLE ROW LEVEL SECURITY;
         CREATE POLICY p ON public.other",
        &[
            "error|01-row-security-not-forced|shop.contact",
            "warning|01-row-security-not-forced|public.other",
        ],
    );
}

#[test]
fn row_02_role_bypasses() {
    found_and_mended(
        "ALTER ROLE APP BYPASSRLS",
        &["error|02-role-bypasses-row-security|APP"],
    );
}

#[test]
fn row_06_owner_can_log_in() {
    found_and_mended(
        "ALTER TABLE shop.booking OWNER TO APP",
        &["warning|06-owner-can-log-in|shop.booking"],
    );
}

#[test]
fn row_06_fix_takes_any_name_of_a_role() {
    found_and_mended(
        "CREATE ROLE \"o'wn\\er$fix$ BEGIN END $$ of everything, sixty-three bytes long\" LOGIN;
         ALTER TABLE shop.booking
             OWNER TO \"o'wn\\er$fix$ BEGIN END $$ of everything, sixty-three bytes long\"",
        &["warning|06-owner-can-log-in|shop.booking"],
    );
}

#[test]
fn row_07_foreign_permissive_policy() {
    found_and_mended(
        "CREATE POLICY \"Open wide\" ON shop.message_1 USING (true)",
        &["warning|07-foreign-permissive-policy|shop.message_1"],
    );
}

#[test]
fn row_12_row_security_is_off() {
    found_and_mended(
        "ALTER TABLE shop.contact DISABLE ROW LEVEL SECURITY;
         CREATE TABLE public.asleep (); CREATE POLICY p ON public.asleep;
         ALTER TABLE public.asleep FORCE ROW LEVEL SECURITY",
        &[
            "error|12-row-security-not-enabled|public.asleep",
            "error|12-row-security-not-enabled|shop.contact",
        ],
    );
}

#[test]
fn row_12_table_was_forgotten() {
    let shop = sound();
    shop.unguarded_owner()
        .batch_execute("CREATE TABLE shop.forgotten (id int, account_id uuid)")
        .unwrap();
    assert_eq!(
        findings(&shop),
        ["warning|12-row-security-not-enabled|shop.forgotten"]
    );
    assert_eq!(
        shop.check("fix"),
        ["SELECT tenant_guard.protect('shop.forgotten', account_column => 'account_id');"]
    );
}

#[test]
fn row_13_partition_or_child_is_open() {
    found_and_mended(
        "CREATE TABLE shop.message_2 PARTITION OF shop.message
             FOR VALUES FROM ('2024-02-01') TO ('2024-03-01');
         ALTER TABLE shop.message_2 OWNER TO ITSOWNER;
         CREATE TABLE shop.special () INHERITS (shop.booking);
         ALTER TABLE shop.special OWNER TO ITSOWNER",
        &[
            "error|13-child-not-protected|shop.message_2",
            "error|13-child-not-protected|shop.special",
        ],
    );
}

#[test]
fn row_18_materialized_view_is_readable() {
    let shop = sound();
    let mut superuser = shop.unguarded();
    superuser
        .batch_execute(&format!(
            "CREATE VIEW shop.inner_view WITH (security_invoker) AS SELECT * FROM shop.message;
             CREATE MATERIALIZED VIEW shop.copy AS TABLE shop.inner_view;
             GRANT SELECT ON shop.copy TO {}, PUBLIC",
            shop.app
        ))
        .unwrap();
    assert_eq!(findings(&shop), ["error|18-materialized-view|shop.copy"]);
    for fix in shop.check("fix") {
        superuser.batch_execute(&fix).unwrap();
    }
    assert_eq!(findings(&shop), ["info|18-materialized-view|shop.copy"]);
}

#[test]
fn row_19_view_runs_as_its_owner() {
    found_and_mended(
        "CREATE VIEW shop.everything AS TABLE shop.contact; GRANT SELECT ON shop.everything TO APP;
         CREATE VIEW shop.floored AS TABLE shop.names; ALTER VIEW shop.floored OWNER TO ITSOWNER;
         GRANT SELECT ON shop.floored TO APP",
        &[
            "error|19-view-runs-as-owner|shop.everything",
            "warning|19-view-runs-as-owner|shop.floored",
        ],
    );
}

#[test]
fn row_24_truncate_is_granted() {
    found_and_mended(
        "GRANT TRUNCATE ON shop.contact TO PUBLIC; GRANT REFERENCES (id) ON shop.booking TO APP",
        &[
            "error|24-truncate-granted|shop.contact",
            "warning|24-truncate-granted|shop.booking",
        ],
    );
}

#[test]
fn row_26_foreign_key_lacks_the_account() {
    found_and_mended(
        "ALTER TABLE shop.booking ADD COLUMN former int REFERENCES shop.booking ON DELETE SET NULL;
         ALTER TABLE shop.booking ADD COLUMN other int
             REFERENCES shop.contact ON DELETE CASCADE ON UPDATE CASCADE DEFERRABLE",
        &[
            "error|26-foreign-key-without-account|shop.booking",
            "error|26-foreign-key-without-account|shop.booking",
        ],
    );
}

#[test]
fn row_26_fix_keeps_what_the_key_did() {
    let shop = sound();
    let mut superuser = shop.db.superuser();
    superuser
        .batch_execute(
            "ALTER TABLE shop.booking ADD COLUMN other int
                 CONSTRAINT other_fk REFERENCES shop.contact ON DELETE SET NULL DEFERRABLE",
        )
        .unwrap();
    for fix in shop.check("fix") {
        superuser.batch_execute(&fix).unwrap();
    }
    let key = "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'other_fk'";
    assert_eq!(
        lines(&mut superuser, key),
        [
            "FOREIGN KEY (account_id, other) REFERENCES shop.contact(account_id, id) \
          ON DELETE SET NULL (other) DEFERRABLE"
        ]
    );
}

#[test]
fn row_37_floor_is_altered_or_gone() {
    for breakage in [
        "DROP POLICY tenant_guard_floor ON shop.contact",
        "ALTER POLICY tenant_guard_floor ON shop.contact USING (true)",
        "ALTER POLICY tenant_guard_floor ON shop.contact WITH CHECK (true)",
        "ALTER POLICY tenant_guard_floor ON shop.contact TO APP",
        "DROP POLICY tenant_guard_floor ON shop.contact;
         CREATE POLICY tenant_guard_floor ON shop.contact
             USING (account_id = tenant_guard.account_id())",
    ] {
        found_and_mended(breakage, &["error|37-floor-altered|shop.contact"]);
    }
    found_and_mended(
        "ALTER POLICY tenant_guard_access ON shop.message_1 USING (true)",
        &["warning|37-floor-altered|shop.message_1"],
    );
}

#[test]
fn row_41_account_may_be_null() {
    found_and_mended(
        "ALTER TABLE shop.booking ALTER account_id DROP NOT NULL",
        &["warning|41-account-nullable|shop.booking"],
    );
}

#[test]
fn row_70_setting_is_granted_or_planted() {
    found_and_mended(
        "GRANT SET ON PARAMETER tenant_guard.allow_session_identity TO APP;
         ALTER ROLE APP SET tenant_guard.on_missing_identity = 'empty'",
        &[
            "error|70-setting-planted|tenant_guard.allow_session_identity",
            "info|70-setting-planted|tenant_guard.on_missing_identity",
        ],
    );
}

#[test]
fn findings_can_be_asked_for_by_schema() {
    let shop = sound();
    shop.unguarded()
        .batch_execute("ALTER TABLE shop.contact DISABLE ROW LEVEL SECURITY")
        .unwrap();
    let count = |schemas: &str| {
        let query = format!(
            "SELECT count(*) FROM tenant_guard.check({schemas})
                             WHERE code = '12-row-security-not-enabled'"
        );
        lines(&mut shop.db.superuser(), &query)
    };
    assert_eq!(count("'{shop}'"), ["1"]);
    assert_eq!(count("'{public}'"), ["0"]);
    assert_eq!(count("NULL"), ["1"]);
}

#[test]
fn auditor_may_check_and_the_application_may_not() {
    let shop = sound();
    let auditor = shop.db.role("auditor");
    shop.unguarded()
        .batch_execute(&format!(
            "GRANT tenant_guard_auditor TO {auditor};
             ALTER TABLE shop.contact DISABLE ROW LEVEL SECURITY"
        ))
        .unwrap();
    let check = "SELECT object FROM tenant_guard.check() WHERE severity = 'error'";
    assert_eq!(
        lines(&mut shop.db.connect_as(&auditor), check),
        ["shop.contact"]
    );
    expect_error(
        shop.app().batch_execute(check),
        "42501",
        "permission denied for function check",
    );
}
