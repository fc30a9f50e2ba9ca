//! check(): every broken fixture is found by its code, and its fix, pasted, mends it.

use tenant_guard_tests::{ACCOUNT_A, ACCOUNT_B, Database, expect_error, lines};

use super::Shop;

mod acceptance;
mod broken;
mod catalogue;
mod indexes;
mod leak;
mod mistakes;
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
         -- since 15 | CREATE VIEW shop.names WITH (security_invoker) AS SELECT name FROM shop.contact;
         -- before 15 | CREATE VIEW shop.names AS SELECT name FROM shop.contact;
         CREATE TABLE shop.currency (code text PRIMARY KEY);
         INSERT INTO shop.account VALUES ('{ACCOUNT_A}'), ('{ACCOUNT_B}');
         INSERT INTO shop.contact VALUES (1, '{ACCOUNT_A}', 'ann'), (2, '{ACCOUNT_A}', 'abe'),
             (3, '{ACCOUNT_B}', 'bob'), (4, '{ACCOUNT_B}', 'bea');
         INSERT INTO shop.booking VALUES (1, '{ACCOUNT_A}', 1), (3, '{ACCOUNT_B}', 3);
         INSERT INTO shop.message VALUES ('{ACCOUNT_A}', '2024-01-01'), ('{ACCOUNT_B}', '2024-01-03');
         SELECT tenant_guard.protect('shop.account', 'id');
         SELECT tenant_guard.protect_schema('shop')"
    );
    let major = shop.db.version();
    // A view that cannot run as its reader is sound as long as nobody else has rights on it.
    let rights = if major < 15 {
        format!("REVOKE ALL ON shop.names FROM {}", shop.app)
    } else {
        format!("GRANT SELECT ON shop.names TO {}", shop.app)
    };
    let ddl = [of_version(&ddl, major), rights].join(";\n");
    shop.owner().batch_execute(&ddl).unwrap();
    shop
}

/// A script without its lines for other versions: `-- since 15 | LINE` is `LINE` for PostgreSQL 15 and later
/// alone, `-- before 15 | LINE` for those before it; a line may have both.
fn of_version(text: &str, major: i32) -> String {
    let lines = text.lines().filter_map(|line| line_of_version(line, major));
    lines.collect::<Vec<_>>().join("\n")
}

fn line_of_version(line: &str, major: i32) -> Option<&str> {
    let text = line.trim_start();
    let since = text.strip_prefix("-- since ");
    let gated = since.or_else(|| text.strip_prefix("-- before "));
    let Some((gate, meant)) = gated.and_then(|gated| gated.split_once(" | ")) else {
        return Some(line);
    };
    let version: i32 = gate.parse().expect("a line is gated by a major version");
    if (major >= version) != since.is_some() {
        return None;
    }
    line_of_version(meant, major)
}

/// A script of tests/schemas, as it is meant for this database.
fn script(shop: &Shop, text: &str) -> String {
    let major = shop.db.version();
    of_version(text, major)
        .replace("ITSOWNER", &shop.owner)
        .replace("APP", &shop.app)
        .replace("DB", shop.db.name())
        .replace("MAJOR", &major.to_string())
        .replace("ACCOUNT_A", ACCOUNT_A)
        .replace("ACCOUNT_B", ACCOUNT_B)
        .replace(
            "SOCKETS",
            &shop.db.cluster().directory().display().to_string(),
        )
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

/// What one run of check() says: the findings, the codes of those without a fix, and the fixes.
struct Found {
    findings: Vec<String>,
    unfixed: Vec<String>,
    fixes: Vec<String>,
}

impl Found {
    fn by(shop: &Shop) -> Self {
        let findings = shop.query_of_findings("severity, code, object, fix", "true");
        let query = format!(
            "WITH found AS MATERIALIZED ({findings})
             SELECT 'finding', concat_ws('|', severity, code, object) FROM found
             UNION ALL SELECT DISTINCT 'unfixed', code FROM found WHERE fix = ''
             UNION ALL SELECT DISTINCT 'fix', fix FROM found WHERE fix <> ''"
        );
        let said = lines(&mut shop.db.superuser(), &query);
        let of_kind = |kind: &str| {
            let said = said.iter().filter_map(|line| line.split_once('|'));
            let said = said.filter(|(other, _)| *other == kind);
            said.map(|(_, text)| text.to_owned()).collect()
        };
        Self {
            findings: of_kind("finding"),
            unfixed: of_kind("unfixed"),
            fixes: of_kind("fix"),
        }
    }
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
    let found = Found::by(&shop);
    assert_eq!(found.findings, expected);
    let mut superuser = shop.db.superuser();
    for fix in found.fixes {
        superuser.batch_execute(&fix).unwrap();
    }
    assert_eq!(findings(&shop), [""; 0]);
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
fn row_12_table_was_forgotten() {
    let shop = sound();
    shop.unguarded_owner()
        .batch_execute("CREATE TABLE shop.forgotten (id int, account_id uuid)")
        .unwrap();
    assert_eq!(
        findings(&shop),
        ["error|12-row-security-not-enabled|shop.forgotten"]
    );
    // Nobody but its owner reads it.
    let revoke = format!("REVOKE SELECT ON shop.forgotten FROM {}", shop.app);
    shop.unguarded_owner().batch_execute(&revoke).unwrap();
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
fn row_12_nothing_is_protected_yet_in_the_schema_that_is_asked_for() {
    let shop = Shop::with(
        "CREATE TABLE shop.contact (id int, account_id uuid);
         CREATE TABLE shop.country (code text)",
    );
    let found = |schemas: &str| {
        let query = format!(
            "SELECT severity || '|' || object || '|' || detail FROM tenant_guard.check({schemas})
             WHERE code = '12-row-security-not-enabled'"
        );
        lines(&mut shop.db.superuser(), &query)
    };
    assert_eq!(
        found("'{shop}'"),
        ["error|shop.contact|has the account column account_id, but is not protected"]
    );
    assert_eq!(found("'{public}'"), [""; 0]);
    assert_eq!(found(""), [""; 0]);
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
    // A key that would set the account too stays, and triggers hold it.
    let kept = if shop.db.sets_some_columns() {
        "FOREIGN KEY (account_id, other) REFERENCES shop.contact(account_id, id) \
         ON DELETE SET NULL (other) DEFERRABLE"
    } else {
        "FOREIGN KEY (other) REFERENCES shop.contact(id) ON DELETE SET NULL DEFERRABLE"
    };
    assert_eq!(lines(&mut superuser, key), [kept]);
    assert_eq!(findings(&shop), [""; 0]);
}

#[test]
fn row_26_key_that_is_not_enforced_holds_nothing() {
    let shop = sound();
    if shop.db.version() < 18 {
        return;
    }
    let mut superuser = shop.unguarded();
    superuser
        .batch_execute(
            "ALTER TABLE shop.booking ADD COLUMN other int
                 CONSTRAINT other_fk REFERENCES shop.contact NOT ENFORCED",
        )
        .unwrap();
    assert_eq!(findings(&shop), [""; 0]);
    superuser
        .batch_execute(&format!(
            "CREATE TABLE shop.note (id uuid PRIMARY KEY, contact int);
             ALTER TABLE shop.note OWNER TO {};
             SELECT tenant_guard.protect('shop.note', via => 'contact', parent => 'shop.contact');
             ALTER TABLE shop.note ADD FOREIGN KEY (contact) REFERENCES shop.contact NOT ENFORCED",
            shop.owner
        ))
        .unwrap();
    assert_eq!(
        findings(&shop),
        ["warning|26-foreign-key-without-account|shop.note"]
    );
    for fix in shop.check("fix") {
        superuser.batch_execute(&fix).unwrap();
    }
    assert_eq!(findings(&shop), [""; 0]);
}

#[test]
fn row_41_not_null_that_was_never_validated_proves_nothing() {
    let shop = sound();
    if shop.db.version() < 18 {
        return;
    }
    let declared = "ALTER TABLE shop.contact ALTER account_id DROP NOT NULL;
        ALTER TABLE shop.contact ADD CONSTRAINT declared NOT NULL account_id NOT VALID";
    shop.unguarded().batch_execute(declared).unwrap();
    assert_eq!(
        findings(&shop),
        ["warning|41-account-nullable|shop.contact"]
    );
    for fix in shop.check("fix") {
        shop.db.superuser().batch_execute(&fix).unwrap();
    }
    assert_eq!(findings(&shop), [""; 0]);
    let mut owner = shop.unguarded_owner();
    owner
        .batch_execute(
            "CREATE TABLE shop.letter (id int PRIMARY KEY, account_id uuid);
             INSERT INTO shop.letter VALUES (1, NULL);
             ALTER TABLE shop.letter ADD CONSTRAINT declared NOT NULL account_id NOT VALID",
        )
        .unwrap();
    let outcome = owner.batch_execute("SELECT tenant_guard.protect('shop.letter')");
    expect_error(
        outcome,
        "23502",
        "column \"account_id\" has null values: 1 in shop.letter",
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
    let check = "SELECT object FROM tenant_guard.check()
                 WHERE severity = 'error' AND code NOT LIKE '58-%'";
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
